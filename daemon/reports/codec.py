"""A report as JSON, and back. One codec for every report: the names of the fields are the keys.

Service and client may be of different versions, so a reader passes over keys that it does not know, and a field with a
default may be missing. A word from a fixed list is read as any text: a newer service may know one more. What is missing
without a default, or of another type, is a ReportError: nothing of such an answer is used.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from daemon.errors import ControlError

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

T = TypeVar("T")


class ReportError(ControlError):
    """An answer is not the report that was asked for: the other side is another program, or much older or newer."""


def encoded(value: object) -> Json:
    """Return a report, or plain values with reports among them, as what json.dumps takes."""
    if value is None or isinstance(value, str | int | float):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: encoded(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encoded(part) for key, part in value.items()}
    if isinstance(value, Sequence):
        return [encoded(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form as JSON")


def decoded(kind: type[T], value: object) -> T:
    """Return what was read from JSON as the report that it is. Raise ReportError."""
    return cast("T", _read(kind, value, kind.__name__))


def decoded_list(kind: type[T], value: object) -> tuple[T, ...]:
    """Return a list that was read from JSON as reports. Raise ReportError."""
    return tuple(decoded(kind, part) for part in _list(value, f"list of {kind.__name__}"))


def decoded_texts(value: object) -> dict[str, str]:
    """Return a table of texts that was read from JSON. Raise ReportError."""
    return cast("dict[str, str]", _read(Mapping[str, str], value, "table"))


def _read(hint: object, value: object, place: str) -> object:
    kind, parts = get_origin(hint), get_args(hint)
    if hint is object:
        return value
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint, value, place)
    if kind in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        (rest,) = (part for part in parts if part is not type(None))  # reports know no other union
        return _read(rest, value, place)
    if kind is tuple:
        return tuple(_read(parts[0], part, f"{place}[{index}]") for index, part in enumerate(_list(value, place)))
    if kind is Mapping:
        return {key: _read(parts[1], part, f"{place}.{key}") for key, part in _table(value, place).items()}
    expected = str if kind is Literal else hint
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(expected, type) and isinstance(value, expected) and isinstance(value, bool) == (expected is bool):
        return value
    raise ReportError(f"{place} is {value!r:.80}, expected {getattr(expected, '__name__', expected)}")


def _record(kind: type, value: object, place: str) -> object:
    table, hints = _table(value, place), _hints(kind)
    given = {}
    for field in fields(kind):
        if field.name in table:
            given[field.name] = _read(hints[field.name], table[field.name], f"{place}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ReportError(f"{place} has no {field.name}: is the service of another version?")
    return kind(**given)


@cache
def _hints(kind: type) -> Mapping[str, object]:
    return get_type_hints(kind)


def _table(value: object, place: str) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    raise ReportError(f"{place} is {value!r:.80}, expected a table")


def _list(value: object, place: str) -> Sequence[object]:
    if isinstance(value, list):
        return value
    raise ReportError(f"{place} is {value!r:.80}, expected a list")
