"""`dfld completion` and `dfld man`: what shells and `man` want to know, printed.

The files are generated from the parser by `make docs` (docs/command_line.py) and come with the program.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction

GENERATED = Path(__file__).with_name("generated-files")
SCRIPTS = {"bash": "dfld.bash", "zsh": "dfld.zsh", "fish": "dfld.fish"}
"""Shell -> its completion script in GENERATED."""
MAN_PAGE = "dfld.1"


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    completion = commands.add_parser(
        "completion",
        help="print the completion script of a shell",
        description="Print a script that completes commands and options. For bash: source <(dfld completion bash)",
    )
    completion.add_argument("shell", choices=tuple(SCRIPTS), help="which shell")
    completion.set_defaults(run=lambda options: print_generated(SCRIPTS[options.shell]))
    man = commands.add_parser(
        "man", help="print the man page", description="Print the man page as roff. To read it: dfld man | man -l -"
    )
    man.set_defaults(run=lambda _options: print_generated(MAN_PAGE))


def print_generated(name: str) -> int:
    """Print one file of GENERATED."""
    print((GENERATED / name).read_text(encoding="utf-8"), end="")
    return ExitCode.OK
