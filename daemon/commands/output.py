"""What a command prints: results, JSON and errors, on any terminal and in any locale.

File names come from strangers and may be no text at all. Here none of them can forge a line, steer a terminal, or
end the program because the terminal has no letter for it.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from core.errors import DfldError
from core.text import escaped
from daemon.commands.hints import with_config
from daemon.errors import ExitCode, exit_code_of


def prepare_streams() -> None:
    """Have characters that the terminal's encoding lacks written as `\\u2192` instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def shown(value: object) -> str:
    """Return a path or text as it may stand within a line."""
    return escaped(str(value))


def print_json(value: Any) -> int:
    """Print `value` as JSON, in ASCII, so that every locale can carry it; return success."""
    print(json.dumps(value, indent=2))
    return ExitCode.OK


def tell_error(problem: DfldError, *, as_json: bool, config: str | None = None) -> ExitCode:
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
