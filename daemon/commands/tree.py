"""The command line as plain values, read off the argparse parser: what completions and the man page are made from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from daemon.commands.options import path_argument

Completes = Literal["", "choice", "file", "folder"]


@dataclass(frozen=True)
class Argument:
    """An option, or a positional argument."""

    flags: tuple[str, ...]
    """`--reference`; empty for a positional argument."""
    value: str
    """What a person writes for its value, as `PATH`; empty for a switch."""
    help: str
    choices: tuple[str, ...] = ()
    completes: Completes = ""
    """How a shell completes its value."""
    repeats: bool = False


@dataclass(frozen=True)
class Command:
    """`dfld`, or one of its commands."""

    path: tuple[str, ...]
    """("dfld", "extract")."""
    help: str
    description: str
    epilog: str
    usage: str
    arguments: tuple[Argument, ...]
    commands: tuple[Command, ...]

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def options(self) -> tuple[Argument, ...]:
        return tuple(one for one in self.arguments if one.flags)

    @property
    def positionals(self) -> tuple[Argument, ...]:
        return tuple(one for one in self.arguments if not one.flags)

    def walk(self) -> Iterator[Command]:
        """This command and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def command_tree(parser: argparse.ArgumentParser, path: tuple[str, ...] = ("dfld",), help_text: str = "") -> Command:
    """Return the commands and arguments of `parser`."""
    commands: list[Command] = []
    arguments = []
    for action in parser._actions:  # argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            commands += [
                command_tree(inner, (*path, name), helps.get(name, "")) for name, inner in action.choices.items()
            ]
        elif action.help != argparse.SUPPRESS:
            arguments.append(_argument(action, parser.prog))
    return Command(
        path=path,
        help=help_text,
        description=parser.description or "",
        epilog=parser.epilog or "",
        usage=parser.format_usage().removeprefix("usage: ").strip(),
        arguments=tuple(arguments),
        commands=tuple(commands),
    )


def _argument(action: argparse.Action, program: str) -> Argument:
    choices = tuple(map(str, action.choices or ()))
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    value = "" if action.nargs == 0 else metavar or "|".join(choices) or action.dest.upper()
    completes: Completes = "choice" if choices else ""
    if action.type is path_argument:
        completes = "folder" if metavar == "DIR" else "file"
    return Argument(
        flags=tuple(action.option_strings),
        value=value,
        help=(action.help or "") % {**vars(action), "prog": program},
        choices=choices,
        completes=completes,
        repeats=action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction),
    )
