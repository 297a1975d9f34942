"""[inbox.extract]: the fields of engine.types.ExtractSettings as a table of config.toml.

Derived from that dataclass, so a setting that the engine gains is a key here at once: its type, its default and
the docstring below it become type, default and docs. Ranges are the engine's own: each value is tried on a
settings object by itself, so every wrong key is reported, not the first.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    WithJsonSchema,
    create_model,
)
from pydantic_core import CoreSchema, core_schema

from engine.errors import SettingsError
from engine.types import ExtractSettings

EXAMPLES = {"face_type": "whole_face", "margin_factor": 0.4}
"""Shown for settings that have no default of their own: what dfld does without them."""
AUTO = "auto"
"""How the file writes the None of a setting that the backend chooses itself."""


def field_docstrings(owner: type) -> dict[str, str]:
    """Return the text that stands below each field of a dataclass, as one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            texts[field.target.id] = " ".join(after.value.value.split())
    return texts


def _settings(values: Mapping[str, Any]) -> ExtractSettings:
    """Put values of the file into the engine's settings, which check them. Raise SettingsError."""
    return ExtractSettings(**values)


def _in_range(name: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        try:
            # A plain crop allows every margin; whether this table asks for one is seen when it is put together.
            _settings({"plain_crop": True, name: value})
        except SettingsError as error:
            raise ValueError(error.message.partition("expected ")[2] or error.message) from error
        return value

    return check


def _auto_or_number(value: object) -> object:
    if value == AUTO:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('"auto" or a number')
    return value


def _extract_model() -> type[BaseModel]:
    hints = get_type_hints(ExtractSettings)
    texts = field_docstrings(ExtractSettings)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(ExtractSettings):
        hint: Any = Annotated[hints[field.name], AfterValidator(_in_range(field.name))]
        if field.name == "similarity_threshold":
            schema = {"anyOf": [{"const": AUTO}, {"type": "number"}]}
            hint = Annotated[hint, BeforeValidator(_auto_or_number), WithJsonSchema(schema)]
        text = texts.get(field.name, "").replace('None ("auto")', '"auto"').replace("None =", "left out =")
        examples = [EXAMPLES[field.name]] if field.name in EXAMPLES else None
        fields[field.name] = (hint, Field(default=field.default, description=text, examples=examples))
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
    return create_model("ExtractTable", __config__=strict, **fields)


def _to_settings(table: BaseModel) -> ExtractSettings:
    try:
        return _settings({name: getattr(table, name) for name in type(table).model_fields})
    except SettingsError as error:  # values that contradict each other
        raise ValueError(f"settings that agree: {error.message}{f' ({error.hint})' if error.hint else ''}") from error


def _schema(_source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
    return core_schema.no_info_after_validator_function(_to_settings, handler.generate_schema(_extract_model()))


ExtractTable = Annotated[ExtractSettings, GetPydanticSchema(_schema)]
