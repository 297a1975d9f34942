"""Commands in what dfld says to a person: they carry the `--config` that was given, so that they can be copied.

Messages and hints come from everywhere (sync, engine, daemon), where nobody knows how dfld was called. Here alone,
where they are printed, `dfld machines trust gpu1` becomes `dfld machines --config my.toml trust gpu1`.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence

COMMANDS_WITH_CONFIG = (
    *("run", "sync", "rounds", "rollback", "machines", "doctor"),
    *("status", "jobs", "quarantine", "pause", "drain", "resume", "scan", "reload", "forget", "verify", "curate"),
    *("sort", "pack", "unpack", "meta", "refine", "mask"),
)
"""Tested against the parser."""
_COMMAND = re.compile(rf"\bdfld (?P<command>{'|'.join(COMMANDS_WITH_CONFIG)})\b(?! (?:[^\s]+ )*?--config\b)")


def with_config(text: str, config: str | None) -> str:
    """Return `text` with `--config` in every command of dfld that takes it; as it is where none was given. Pure."""
    if not config:
        return text
    return _COMMAND.sub(lambda found: f"{found[0]} --config {shlex.quote(config)}", text)


def config_of(options: argparse.Namespace) -> str | None:
    """Return the configuration that the command line named, as it was written there."""
    given = getattr(options, "config", None)
    return None if given is None else str(given)


def config_in(arguments: Sequence[str]) -> str | None:
    """Return the same from a command line, also from one that could not be read."""
    for place, word in enumerate(arguments):
        if word == "--config" and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith("--config="):
            return word.partition("=")[2]
    return None
