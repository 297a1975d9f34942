"""Are the values in a dataclass of the types that its fields are declared with? For values made of bytes from outside.

Type hints are promises, which nobody keeps when a value was made of JSON: what is of another type is met far away, by
a database or in arithmetic. Pure.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Literal, Union, get_args, get_origin, get_type_hints

WHOLE_NUMBER_LIMIT = 1 << 63
"""Whole numbers reach up to there in SQLite; a float holds them too."""
Fits = Callable[[object], bool]


def require_field_types(value: object) -> None:
    """Given a dataclass or a plain value, raise TypeError where anything in it, at any depth, is of another type than
    its field says. A whole number counts as a float; one beyond 64 bits is none. Raise NotImplementedError for a type
    that has no rule here."""
    kind: object = type(value)
    if not _rule(kind)(value):
        raise TypeError(_first_problem(kind, value, type(value).__name__))


@cache
def _rule(hint: object) -> Fits:
    """Return the test for a type, made once: a commit holds many values of few types."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is int:
        return _is_whole_number
    if hint is float:
        return lambda value: isinstance(value, float) or _is_whole_number(value)
    if hint in (str, bool, types.NoneType):
        return lambda value: type(value) is hint
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in parts
    if isinstance(hint, type) and is_dataclass(hint):
        return _rule_of_dataclass(hint)
    if origin in (Union, types.UnionType):
        several = tuple(map(_rule, parts))
        return lambda value: any(fits(value) for fits in several)
    if origin is tuple:
        return _rule_of_tuple(parts)
    if origin is Mapping:
        key, item = map(_rule, parts)
        return lambda value: isinstance(value, Mapping) and all(key(one) and item(value[one]) for one in value)
    raise NotImplementedError(f"no rule for {hint}")


def _rule_of_dataclass(kind: type) -> Fits:
    rules = tuple((name, _rule(hint)) for name, hint in _hints(kind).items())
    return lambda value: isinstance(value, kind) and all(fits(getattr(value, name)) for name, fits in rules)


def _rule_of_tuple(parts: tuple[object, ...]) -> Fits:
    if parts[-1] is Ellipsis:
        each = _rule(parts[0])
        return lambda value: isinstance(value, tuple) and all(map(each, value))
    several = tuple(map(_rule, parts))
    return lambda value: (
        isinstance(value, tuple)
        and len(value) == len(several)
        and all(fits(part) for fits, part in zip(several, value, strict=True))
    )


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < WHOLE_NUMBER_LIMIT


def _first_problem(hint: object, value: object, place: str) -> str:
    """Say where in a value that does not fit its type the first thing is that does not, and what it is."""
    for part_hint, part, part_place in _parts_of(hint, value, place):
        if not _rule(part_hint)(part):
            return _first_problem(part_hint, part, part_place)
    return f"{place} is {value!r:.80}, expected {hint}"


def _parts_of(hint: object, value: object, place: str) -> Iterator[tuple[object, object, str]]:
    """Yield the type, value and place of each part of a value that is as large as its type says."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, hint):
        for name, part_hint in _hints(hint).items():
            yield part_hint, getattr(value, name), f"{place}.{name}"
    elif origin is tuple and isinstance(value, tuple) and (parts[-1] is Ellipsis or len(parts) == len(value)):
        for index, part in enumerate(value):
            yield parts[0 if parts[-1] is Ellipsis else index], part, f"{place}[{index}]"
    elif origin is Mapping and isinstance(value, Mapping):
        for key, part in value.items():
            yield parts[0], key, f"a key of {place}"
            yield parts[1], part, f"{place}[{key!r:.40}]"


def _hints(kind: type) -> Mapping[str, object]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
