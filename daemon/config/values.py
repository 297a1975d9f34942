"""The kinds of value that config.toml knows beside TOML's own: durations, sizes, names, paths, globs.

Each is an annotated type: how its text is read, what is said when it is wrong, and how it is written in the
generated example, schema and docs. Not for what keys exist: that is `daemon.config.schema`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

STRICT = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)
"""How every table is read: no unknown keys, no text for a number, no nan, the docstring below a field as its docs."""

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)")
_BYTES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_MACHINE_ADDRESS = r"[A-Za-z0-9_.:%\[\]-]{1,253}"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DEFAULT_CREDENTIALS = Path("/run/credentials/dfld.service")
"""Where systemd puts LoadCredential= files of dfld.service; used when no $CREDENTIALS_DIRECTORY says otherwise."""


def parse_duration(text: object) -> float:
    """Return the seconds that a text such as `10s`, `1.5h` or `250ms` names; raise ValueError for anything else."""
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError('a duration in quotes with its unit, such as "10s", "5m" or "1.5h" (ms, s, m, h, d)')
    return float(match[1]) * _SECONDS[match[2]]


def format_duration(seconds: float) -> str:
    """Return the shortest text that parse_duration reads as `seconds`."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:g}s"


def parse_size(text: object) -> int:
    """Return the bytes that a text such as `20GiB` or `500 MB` names; raise ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError('a size in quotes with its unit, such as "20GiB" or "500MB" (B, KiB … TiB, kB … TB)')
    return int(float(match[1]) * _BYTES[match[2]])


def format_size(count_bytes: int) -> str:
    """Return the shortest text that parse_size reads as `count_bytes`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count_bytes and count_bytes % _BYTES[unit] == 0:
            return f"{count_bytes // _BYTES[unit]}{unit}"
    return f"{count_bytes}B"


def resolve_path(text: str, folder: Path) -> Path:
    """Return the absolute path that `text` names in a file lying in `folder`; `~` is the home of who runs dfld."""
    if not text.strip() or _CONTROL.search(text):
        raise ValueError("a path without control characters")
    try:
        return Path(os.path.normpath(folder / Path(text).expanduser()))
    except RuntimeError as error:  # ~nobody-of-that-name
        raise ValueError("a path whose ~ names an existing user") from error


def parse_listen(text: str) -> tuple[str, int] | None:
    """Return host and port of a text such as `127.0.0.1:9770` or `[::1]:9770`; None for the empty text (off)."""
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not re.fullmatch(_MACHINE_ADDRESS, host) or (":" in bare and host == bare):
        raise ValueError('an address with a port, such as "127.0.0.1:9770" or "[::1]:9770", or "" for off')
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("a port from 0 to 65535 behind the last colon (0 = any free port)")
    return bare, int(port)


def _not_empty(text: object) -> object:
    """Refuse "", which would name the folder of the configuration file."""
    if isinstance(text, str) and not text.strip():
        raise ValueError("a path that is not empty")
    return text


def _resolve(path: Path, info: ValidationInfo) -> Path:
    return resolve_path(str(path), (info.context or {}).get("folder", Path.cwd()))


def _resolve_key(path: Path, info: ValidationInfo) -> Path:
    text = str(path)
    if not text.startswith("credential:"):
        return _resolve(path, info)
    name = text.removeprefix("credential:")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", name) or name in (".", ".."):
        raise ValueError('the name of a systemd credential behind "credential:"')
    return Path(os.environ.get("CREDENTIALS_DIRECTORY", DEFAULT_CREDENTIALS)) / name


def _listen(text: str) -> str:
    parse_listen(text)
    return text


def _glob(text: str) -> str:
    if not text or _CONTROL.search(text):
        raise ValueError('a file name pattern such as "*.part" (*, ? and [abc]; not a regular expression)')
    return text


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("one line of text without control characters")
    return text


Duration = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema({"type": "string", "format": "duration"})]
"""Seconds; written `"10s"`."""
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema({"type": "string", "format": "size"})]
"""Bytes; written `"20GiB"`."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""Becomes a folder name and a metric label: letters, digits, `_ . -`, at most 64, first a letter or digit."""
ConfigPath = Annotated[
    Path, BeforeValidator(_not_empty), AfterValidator(_resolve), WithJsonSchema({"type": "string", "format": "path"})
]
"""Absolute once read; relative ones are taken from the folder of the configuration file."""
KeyFile = Annotated[
    Path,
    BeforeValidator(_not_empty),
    AfterValidator(_resolve_key),
    WithJsonSchema({"type": "string", "format": "path"}),
]
"""A path, or `credential:NAME` for a file that systemd's LoadCredential= provides."""
Listen = Annotated[str, AfterValidator(_listen)]
Glob = Annotated[str, AfterValidator(_glob)]
Line = Annotated[str, Field(max_length=4096), AfterValidator(_one_line)]
"""One line of free text: a command, an address of a page, a sentence."""
RemotePath = Annotated[Line, Field(min_length=1)]
"""A path on a training machine; kept as it is written, since that machine may run Windows."""
Address = Annotated[str, Field(pattern=rf"^{_MACHINE_ADDRESS}$")]
