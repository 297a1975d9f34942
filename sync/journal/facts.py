"""Pure: the facts of a journal's line, read one by one out of JSON; what is of another kind is damage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

Json = Mapping[str, object]
T = TypeVar("T")


class Facts:
    """The facts of one line, read one by one. Raise ValueError where one is missing or of another kind."""

    def __init__(self, values: Json) -> None:
        self._values = values

    def has(self, name: str) -> bool:
        """Whether a fact is there and is not null."""
        return self._values.get(name) is not None

    def text(self, name: str) -> str:
        return typed(str, self._values.get(name), name)

    def whole(self, name: str) -> int:
        return typed(int, self._values.get(name), name)

    def number(self, name: str) -> float:
        return a_number(self._values.get(name), name)

    def flag(self, name: str) -> bool:
        return typed(bool, self._values.get(name), name)

    def numbers(self, name: str) -> tuple[float, ...]:
        return tuple(a_number(one, name) for one in typed(list, self._values.get(name), name))

    def optional(self, read: Callable[[str], T], name: str) -> T | None:
        """Return what `read` makes of a fact; None where it is not there."""
        return read(name) if self.has(name) else None

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(typed(str, one, name) for one in typed(list, self._values.get(name), name))

    def table(self, name: str, read: Callable[[object, str], T]) -> Mapping[str, T]:
        """Return a table whose values are what `read` makes of them."""
        found = typed(dict, self._values.get(name), name)
        return MappingProxyType({str(key): read(value, name) for key, value in found.items()})


def typed(kind: type[T], value: object, name: str) -> T:
    """Return a value that is of this kind. Raise ValueError for another; a truth value is no number."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{name} is a {type(value).__name__}, expected {kind.__name__}")
    return value


def a_number(value: object, name: str) -> float:
    """Return a number, whole or not."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return typed(float, value, name)


def a_whole_number(value: object, name: str) -> int:
    """Return a whole number."""
    return typed(int, value, name)


def a_text(value: object, name: str) -> str:
    """Return a text."""
    return typed(str, value, name)


def a_flag(value: object, name: str) -> bool:
    """Return a truth value."""
    return typed(bool, value, name)


def some_numbers(value: object, name: str) -> Mapping[str, float]:
    """Return a table of numbers."""
    found = typed(dict, value, name)
    return MappingProxyType({str(key): a_number(one, name) for key, one in found.items()})


def one_of(known: tuple[T, ...], value: object) -> T:
    """Return the known value that this is. Raise ValueError where it is none."""
    for one in known:
        if one == value:
            return one
    raise ValueError(f"{value!r} is none of {', '.join(map(str, known))}")
