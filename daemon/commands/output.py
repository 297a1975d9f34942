"""What a command prints: results, JSON and errors, on any terminal and in any locale.

File names come from strangers and may be no text at all. None of them can steer a terminal, because the streams
themselves let no control character through but line breaks and tabs, whoever writes to them; none forges a line where
it is printed through `shown`; and none ends the program because the terminal has no letter for it.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from core.errors import DfldError
from core.text import escaped
from daemon.commands.hints import with_config
from daemon.errors import ExitCode, exit_code_of


class HarmlessStream:
    """Writes to a stream, with every character escaped that could steer a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.steerable = stream
        """The stream itself, for what draws on the terminal on purpose (progress bars)."""

    def write(self, text: str) -> int:
        self.steerable.write(harmless(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.steerable, name)


@contextmanager
def prepared_streams() -> Iterator[None]:
    """Make standard output and error harmless within the block.

    Characters that the terminal's encoding lacks are written as `\\u2192` instead of raising.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is not None:  # started with a closed descriptor
        sys.stdout = cast("TextIO", HarmlessStream(sys.stdout))
    if sys.stderr is not None:
        sys.stderr = cast("TextIO", HarmlessStream(sys.stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def steerable(stream: TextIO) -> TextIO:
    """Return the stream behind a harmless one. Whoever draws on it escapes what comes from strangers itself."""
    return stream.steerable if isinstance(stream, HarmlessStream) else stream


def harmless(text: str) -> str:
    """Escape all that could steer a terminal, leaving line breaks and tabs."""
    return "".join(part if part in ("\n", "\t") else escaped(part) for part in re.split(r"([\n\t])", text))


def shown(value: object) -> str:
    """Return a path or text as it may stand within a line."""
    return escaped(str(value))


def print_json(value: object) -> int:
    """Print `value` as JSON, in ASCII, so that every locale can carry it; return success."""
    print(json.dumps(value, indent=2))
    return ExitCode.OK


def print_error(problem: DfldError, *, as_json: bool, config: str | None = None) -> ExitCode:
    """Print an error for a person or a program; return its exit code.

    `config`: what the command line named as configuration; commands that are advised name it too.
    """
    code = exit_code_of(problem)
    message, hint = with_config(problem.message, config), with_config(problem.hint, config)
    if as_json:
        print(json.dumps({"error": message, "hint": hint, "exit_code": int(code)}))
        return code
    lines = message.split("\n") if getattr(problem, "several_lines", False) else [message]
    print("dfld: " + "\n".join(map(escaped, lines)), file=sys.stderr)
    if hint:
        print(f"  → {escaped(hint)}", file=sys.stderr)
    return code
