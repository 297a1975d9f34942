"""On which line of a TOML text each key stands.

tomllib gives values without places. This scanner walks a text *that tomllib has accepted*, so it needs to
distinguish keys, strings, brackets and comments but never to judge them. Not for parsing values.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]
"""`("inbox", 1, "extract", "output_size")`: names, and 0-based places in arrays."""

_BLANK = re.compile(r"[ \t]*")
_BLANK_AND_COMMENTS = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^\s,\]}#]+(?: [0-9:][^\s,\]}#]*)?")


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """Given a text that tomllib accepts, return the 1-based line of every key, table and array element.

    A table that only dotted keys or deeper headers imply gets the line that implies it first.
    """
    scanner = _Scanner(text)
    scanner.run()
    return scanner.lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path`, or of the nearest table round it that stands in the file; 1 if none does."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 1


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._counted_to, self._line = 0, 1
        self._array_sizes: dict[KeyPath, int] = {}

    def run(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK_AND_COMMENTS)
        while self.at < len(self.text):
            if self.text.startswith("[[", self.at):
                table = self._header(2)
            elif self.text[self.at] == "[":
                table = self._header(1)
            else:
                self._key_and_value(table)
            self._skip(_BLANK_AND_COMMENTS)

    def _header(self, brackets: int) -> KeyPath:
        line = self._line_here()
        self.at += brackets
        names = self._dotted_key()
        self.at += brackets
        path: KeyPath = ()
        for name in names[:-1]:
            path = self._into_last_element((*path, name), line)
        path = (*path, names[-1])
        self.lines.setdefault(path, line)
        if brackets == 1:
            return path
        index = self._array_sizes.get(path, 0)
        self._array_sizes[path] = index + 1
        path = (*path, index)
        self.lines[path] = line
        return path

    def _into_last_element(self, path: KeyPath, line: int) -> KeyPath:
        self.lines.setdefault(path, line)
        size = self._array_sizes.get(path, 0)
        return (*path, size - 1) if size else path

    def _key_and_value(self, table: KeyPath) -> None:
        line = self._line_here()
        path = table
        for name in self._dotted_key():
            path = (*path, name)
            self.lines.setdefault(path, line)
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _dotted_key(self) -> list[str]:
        names = []
        while True:
            self._skip(_BLANK)
            quoted = self.text[self.at] in "\"'"
            match = (_STRING if quoted else _BARE_KEY).match(self.text, self.at)
            if match is None:
                raise ValueError(f"no key at position {self.at}")
            self.at = match.end()
            names.append(_unquoted(match.group()) if quoted else match.group())
            self._skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return names
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        first = self.text[self.at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            match = (_STRING if first in "\"'" else _SCALAR).match(self.text, self.at)
            if match is None:
                raise ValueError(f"no value at position {self.at}")
            self.at = match.end()

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANK_AND_COMMENTS)
            if self.text[self.at] == "]":
                self.at += 1
                return
            self.lines[(*path, index)] = self._line_here()
            self._value((*path, index))
            index += 1
            self._skip(_BLANK_AND_COMMENTS)
            self.at += self.text[self.at] == ","

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while True:
            self._skip(_BLANK_AND_COMMENTS)
            if self.text[self.at] == "}":
                self.at += 1
                return
            self._key_and_value(path)
            self._skip(_BLANK_AND_COMMENTS)
            self.at += self.text[self.at] == ","

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()

    def _line_here(self) -> int:
        self._line += self.text.count("\n", self._counted_to, self.at)
        self._counted_to = self.at
        return self._line


def _unquoted(quoted: str) -> str:
    """Return what a quoted key says, by the rules of tomllib itself."""
    return next(iter(tomllib.loads(f"{quoted} = 0")))
