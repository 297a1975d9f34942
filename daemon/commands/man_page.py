"""dfld(1) as roff, made from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.commands.tree import Argument, Command

FILES = {
    "/etc/dfld/config.toml": "the configuration of the service; config.toml in the current folder comes first",
    "/var/lib/dfld": "state: the ledger (ledger.db), models, averages",
    "<video>.dfld.toml": "beside a video: what is different for this one file",
}


def man_page(root: Command, *, version: str) -> str:
    """Return the page for `man`: every command with its options."""
    lines = [f'.TH DFLD 1 "" "dfld {version}" "User Commands"', ".SH NAME", f"dfld \\- {_roff(_first_line(root))}"]
    lines += [".SH SYNOPSIS", ".B dfld", ".I COMMAND", "[options]"]
    lines += [".SH DESCRIPTION", *_paragraphs(root.description), ".SH OPTIONS", *_arguments(root)]
    lines.append(".SH COMMANDS")
    for command in root.walk():
        if command is not root:
            usage = " ".join(command.usage.split())
            lines += [f'.SS "{_roff(" ".join(command.path))}"', ".nh", ".B " + _roff(usage), ".hy", ".PP"]
            lines += [*_paragraphs(command.description or command.help), *_arguments(command)]
            lines += _verbatim(command.epilog)
    lines += [".SH EXIT STATUS", *_verbatim(root.epilog), ".SH FILES"]
    for path, meaning in FILES.items():
        lines += [".TP", f".I {_roff(path)}", _roff(meaning)]
    return "\n".join(lines) + "\n"


def _first_line(root: Command) -> str:
    text = root.description.partition(";")[0].rstrip(".")
    return text[:1].lower() + text[1:]


def _arguments(command: Command) -> Iterator[str]:
    for one in command.arguments:
        yield ".TP"
        yield _tag(one)
        yield _roff(one.help or "see above")


def _tag(argument: Argument) -> str:
    if not argument.flags:
        return f"\\fI{_roff(argument.value)}\\fR"
    flags = ", ".join(f"\\fB{_roff(flag)}\\fR" for flag in argument.flags)
    return f"{flags} \\fI{_roff(argument.value)}\\fR" if argument.value else flags


def _paragraphs(text: str) -> list[str]:
    return [_roff(" ".join(text.split())), ".PP"] if text else []


def _verbatim(text: str) -> list[str]:
    return [".PP", ".nf", *(_roff(line) for line in text.splitlines()), ".fi"] if text else []


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\(rs").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
