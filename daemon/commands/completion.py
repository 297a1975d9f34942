"""`dfld completion` and `dfld man`: what shells and `man` want to know, printed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SHELLS = ("bash", "zsh", "fish")


def add_commands(commands: _SubParsersAction[Any], root: argparse.ArgumentParser) -> None:
    """Add both. `root` is the parser of the whole command line, which they tell about."""
    completion = commands.add_parser(
        "completion",
        help="print the completion script of a shell",
        description="Print a script that completes commands and options. For bash: source <(dfld completion bash)",
    )
    completion.add_argument("shell", choices=SHELLS, help="which shell")
    completion.set_defaults(run=lambda options: run_completion(root, options.shell))
    man = commands.add_parser(
        "man", help="print the man page", description="Print the man page as roff. To read it: dfld man | man -l -"
    )
    man.set_defaults(run=lambda _options: run_man(root))


def run_completion(root: argparse.ArgumentParser, shell: str) -> int:
    """Print the script for one of SHELLS."""
    from daemon.commands.completion_scripts import SCRIPTS
    from daemon.commands.tree import command_tree

    print(SCRIPTS[shell](command_tree(root)), end="")
    return ExitCode.OK


def run_man(root: argparse.ArgumentParser) -> int:
    """Print the man page."""
    from importlib.metadata import version

    from daemon.commands.man_page import man_page
    from daemon.commands.tree import command_tree

    print(man_page(command_tree(root), version=version("dfld")), end="")
    return ExitCode.OK
