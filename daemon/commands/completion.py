"""`dfld completion` and `dfld man`: what shells and `man` want to know, printed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SHELLS = ("bash", "zsh", "fish")


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    completion = commands.add_parser(
        "completion",
        help="print the completion script of a shell",
        description="Print a script that completes commands and options. For bash: source <(dfld completion bash)",
    )
    completion.add_argument("shell", choices=SHELLS, help="which shell")
    completion.set_defaults(run=run_completion)
    man = commands.add_parser(
        "man", help="print the man page", description="Print the man page as roff. To read it: dfld man | man -l -"
    )
    man.set_defaults(run=run_man)


def run_completion(options: argparse.Namespace) -> int:
    """Print the script for one shell."""
    from daemon.cli import build_parser
    from daemon.commands.completion_scripts import SCRIPTS
    from daemon.commands.tree import command_tree

    print(SCRIPTS[options.shell](command_tree(build_parser())), end="")
    return ExitCode.OK


def run_man(options: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes its options
    """Print the man page."""
    from importlib.metadata import version

    from daemon.cli import build_parser
    from daemon.commands.man_page import man_page
    from daemon.commands.tree import command_tree

    print(man_page(command_tree(build_parser()), version=version("dfld")), end="")
    return ExitCode.OK
