"""One request on the control socket: what it asks for, and its details, each taken only if it is of the right type."""

from __future__ import annotations

import json
from collections.abc import Mapping

from daemon.errors import ControlError

NUMBER_END = 1 << 63
"""SQLite's integers end there."""
SHOWN_LENGTH = 80


class Request:
    """A request as a program sent it. Every method raises ControlError for a detail of another type."""

    def __init__(self, details: Mapping[str, object]) -> None:
        self._details = details

    @property
    def do(self) -> object:
        return self._details.get("do")

    def flag(self, key: str) -> bool:
        return bool(self._details.get(key))

    def text(self, key: str) -> str | None:
        """Return a text; None where there is none."""
        value = self._details.get(key)
        if value is not None and not isinstance(value, str):
            raise ControlError(f"{key} is {_shown(value)}, expected a text")
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of texts; an empty one where there is none."""
        value = self._details.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ControlError(f"{key} is {_shown(value)}, expected a list of texts")
        return value

    def table(self, key: str) -> Mapping[str, object]:
        """Return a table of details; an empty one where there is none."""
        value = self._details.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ControlError(f"{key} is {_shown(value)}, expected a table")
        return value

    def number(self, key: str) -> int | None:
        """Return a whole number from 0; None where there is none."""
        value = self._details.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < NUMBER_END:
            raise ControlError(f"{key} is {_shown(value)}, expected a number from 0")
        return value


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"
