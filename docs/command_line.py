"""Writes the completion scripts and the man page: `python -m docs.command_line [FOLDER]` (`make docs`).

shtab and argparse-manpage read them off the parser. `dfld completion` and `dfld man` print the files made here, so that
an installation needs neither library; a test compares each file with what this module would write.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from daemon.cli import build_parser
from daemon.commands.completion import GENERATED, MAN_PAGE, SCRIPTS
from daemon.commands.options import path_argument

ROOT = Path(__file__).parents[1]
# Of shtab's own completion of paths, bash's splits a path at its spaces and fish's does not know a quoted one.
BASH_PATHS = """
_dfld_files() { compgen -f -- "$1"; }
_dfld_dirs() { compgen -d -- "$1"; }
"""
FILE = {**shtab.FILE, "bash": "_dfld_files", "fish": "(__fish_complete_suffix '')", "preamble": {"bash": BASH_PATHS}}
FOLDER = {**shtab.DIRECTORY, "bash": "_dfld_dirs", "preamble": {"bash": BASH_PATHS}}
ZSH_CORRECTIONS = {
    '\n  "(*):': '\n  "*:',  # an argument that repeats: shtab completes only the first
    "== eval ]]": "== (eval|file) ]]",  # `source` reads the script as well as `eval`
}
UNWRAPPED = 10_000
"""Columns: roff fills lines itself, and where argparse breaks them differs between versions of Python."""
LAYOUT = (".nh", ".ad l")
"""No hyphens that somebody would type, no gaps."""
TEXT = "\0"
"""Stands before a line that roff would take for a request."""
FILES = {
    "/etc/dfld/config.toml": "the configuration of the service; config.toml in the current folder comes first",
    "/var/lib/dfld": "state: the ledger (ledger.db), models, averages",
    "<video>.dfld.toml": "beside a video: what is different for this one file",
}


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of one shell of SCRIPTS. Changes `parser`, which is of no use afterwards."""
    for action in (action for one in all_parsers(parser) for action in one._actions):
        if action.type is path_argument:
            action.complete = FOLDER if action.metavar == "DIR" else FILE  # type: ignore[attr-defined]
        if shell == "zsh" and action.nargs != 0:  # --format=jpg as well as --format jpg
            action.option_strings = [f"{flag}=" if flag.startswith("--") else flag for flag in action.option_strings]
    script = shtab.complete(parser, shell).rstrip()
    for wrong, right in ZSH_CORRECTIONS.items() if shell == "zsh" else ():
        script = script.replace(wrong, right)
    return "\n".join(line.rstrip() for line in script.splitlines()) + "\n"


def man_page(parser: argparse.ArgumentParser, version: str) -> str:
    """Return dfld(1) as roff. Changes `parser`, which is of no use afterwards."""
    exit_codes, parser.epilog = parser.epilog or "", None
    for one in all_parsers(parser):
        # argparse's stubs want a class that is called with the program alone.
        one.formatter_class = partial(argparse.RawDescriptionHelpFormatter, width=UNWRAPPED)  # type: ignore[assignment]
        if one.epilog:  # argparse-manpage leaves it out
            one.description = f"{one.description}\n{verbatim(one.epilog)}"
    name = (parser.description or "").partition(";")[0]
    page = Manpage(
        parser,
        {
            "description": name[:1].lower() + name[1:],
            "project_name": f"dfld {version}",
            "date": " ",  # none: the file would change every day
            "manual_title": "User Commands",
        },
        format="single-commands-section",
    )
    page.add_section("exit status", "=", escaped(verbatim(exit_codes)))
    page.add_section("files", "=", escaped("\n".join(f".TP\n.I {path}\n{FILES[path]}" for path in FILES)))
    head, _, body = str(page).replace(TEXT, "\\&").partition("\n")
    return "\n".join(line.rstrip() for line in [head, *LAYOUT, *body.splitlines()]) + "\n"


def verbatim(text: str) -> str:
    """Return `text` between the requests of roff that keep its lines. What argparse-manpage escapes is left to it."""
    lines = (f"{TEXT}{line}" if line.startswith((".", "'")) else line for line in text.splitlines())
    return "\n".join([".PP", ".nf", *lines, ".fi"])


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("-", "\\-")


def all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser, and those of its commands at any depth."""
    yield parser
    for action in parser._actions:  # argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from all_parsers(inner)


def generated_files() -> dict[str, str]:
    """Return the text of every generated file by its name in GENERATED."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    scripts = {name: completion_script(build_parser(), shell) for shell, name in SCRIPTS.items()}
    return {**scripts, MAN_PAGE: man_page(build_parser(), version)}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else GENERATED
    folder.mkdir(exist_ok=True)
    for name, text in generated_files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
