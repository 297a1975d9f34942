"""config.toml -> frozen Config, or every problem in it at once.

    text → tomllib → daemon.config.schema (types, ranges) → daemon.config.checks (between keys, on disk) → Config

Each problem carries file and line (daemon.config.lines), the dotted key, the offending text, what was expected and
the valid key that an unknown one looks like. Places in arrays are counted from 1, as people do: `inbox[2]` is
the second [[inbox]]. Whatever the file holds, the outcome is a Config or a ConfigError.
"""

from __future__ import annotations

import codecs
import copy
import datetime
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from core.opening import read_regular
from core.text import escaped
from daemon.config import checks
from daemon.config.lines import KeyPath, key_lines, line_of
from daemon.config.schema import Config, SidecarConfig
from daemon.config.schema_nodes import Node
from daemon.config.words import Finding, finding_of, shown
from daemon.errors import ConfigError, ConfigProblem

MAX_CONFIG_BYTES = 1 << 20
"""A thousand inboxes fit; anything larger is not a configuration."""
T = TypeVar("T")
_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)|\(at end of document\)")


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration, and what is worth reporting about it at start."""

    config: Config
    path: Path
    warnings: tuple[str, ...]


def read_config(path: Path, *, missing_files: str = "error") -> LoadedConfig:
    """Read and check `path`; return its Config with warnings. Raise ConfigError with every problem.

    missing_files: "error" refuses a configuration that names reference photos which are not there; "warn" takes it
    and says so, for a service whose shares may be mounted later than it starts.
    """
    source = _parsed(path, _content(path, lambda: _read(path)))
    config, findings = _validated(source, config_adapter())
    missing: list[Finding] = []
    if config is not None:
        known = {finding.path for finding in findings}
        missing = list(checks.check_files(config))
        between = [*checks.check_keys(config), *(missing if missing_files == "error" else ())]
        findings += [one for one in between if not _repeats(one, known)]
    if findings or config is None:
        raise source.error(findings)
    late = [str(source.problem(one)) for one in missing]
    return LoadedConfig(config, path, (*checks.warnings(config), *late))


def read_sidecar(path: Path, *, within: Sequence[Path] | None = None) -> SidecarConfig:
    """Read `<video>.dfld.toml`, which must be a regular file in these folders (None = where it lies), and no link.

    Raise ConfigError with every problem.
    """
    folders = [path.parent] if within is None else within
    source = _parsed(path, _content(path, lambda: read_regular(path, within=folders, max_bytes=MAX_CONFIG_BYTES)))
    sidecar, findings = _validated(source, sidecar_adapter())
    if findings or sidecar is None:
        raise source.error(findings)
    return sidecar


@dataclass(frozen=True)
class _Source:
    """A file that is TOML, with the line of each of its keys."""

    path: Path
    document: dict[str, object]
    lines: Mapping[KeyPath, int]

    def problem(self, finding: Finding) -> ConfigProblem:
        line = line_of(self.lines, finding.path)
        key = dotted(finding.path)
        # Names of files are part of both, and they may hold what steers a terminal.
        return ConfigProblem(self.path, line, key, escaped(finding.found), escaped(finding.expected), finding.closest)

    def error(self, findings: Sequence[Finding]) -> ConfigError:
        return ConfigError(sorted(map(self.problem, findings), key=lambda problem: problem.line))


def _read(path: Path) -> bytes:
    """Read what the operator named; that may also be a pipe."""
    with path.open("rb") as file:
        return file.read(MAX_CONFIG_BYTES + 1)


def _content(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        content = read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            [ConfigProblem(path, 0, "", reason, "a file that can be read")],
            hint="config.example.toml is a file to start from",
        ) from error
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigError([ConfigProblem(path, 0, "", "a larger file", f"at most {MAX_CONFIG_BYTES} bytes")])
    return content


def _parsed(path: Path, content: bytes) -> _Source:
    """Return the file's TOML. The byte order mark that editors on Windows put in front of UTF-8 is passed over."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError([ConfigProblem(path, 1, "", "text in UTF-16", "text in UTF-8; save it with that encoding")])
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = shown(content.removeprefix(codecs.BOM_UTF8)[error.start : error.start + 1].hex())
        raise ConfigError([ConfigProblem(path, line, "", f"byte {found}", "text in UTF-8")]) from error
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
        return _Source(path, document, key_lines(text))
    except RecursionError as error:
        raise ConfigError([ConfigProblem(path, 1, "", "brackets nested very deeply", "TOML")]) from error
    except ValueError as error:
        raise ConfigError([_syntax_problem(path, text, str(error))]) from error


def _syntax_problem(path: Path, text: str, message: str) -> ConfigProblem:
    place = _TOML_PLACE.search(message)
    lines = text.split("\n")
    number = int(place[1]) if place and place[1] else len(lines)
    while not (place and place[1]) and number > 1 and not lines[number - 1].strip():
        number -= 1
    line = lines[number - 1] if number <= len(lines) else ""
    reason = _TOML_PLACE.sub("", message).strip()
    column = f" in column {place[2]}" if place and place[2] else ""
    return ConfigProblem(path, number, "", shown(line.strip()) + column, f"TOML ({reason[:200]})")


def _validated(source: _Source, adapter: TypeAdapter[T]) -> tuple[T, list[Finding]] | tuple[None, list[Finding]]:
    """Return what the file says and what is wrong with it.

    With wrong keys the value is what the file would say without them, so that what holds between the others can be
    checked in the same breath; None where a table cannot do without them.
    """
    value, findings = _validate(source.document, source.path, adapter)
    known = {finding.path for finding in findings}
    findings += [
        Finding(path, shown(date), "text in quotes: no key here is a date or a time")
        for path, date in _dates(source.document, ())
        if path not in known
    ]
    if value is None:
        value, _ = _validate(_without(source.document, [one.path for one in findings]), source.path, adapter)
    return (None, findings) if value is None else (value, findings)


def _validate(
    document: dict[str, object], path: Path, adapter: TypeAdapter[T]
) -> tuple[T, list[Finding]] | tuple[None, list[Finding]]:
    try:
        # Through JSON, since pydantic's strict mode reads tables, arrays and paths from JSON only.
        content = json.dumps(document, default=str)
        return adapter.validate_json(content, context={"folder": path.absolute().parent}), []
    except ValidationError as error:
        schema = _schema_of(adapter)
        errors = error.errors(include_url=False)
        places = [one["loc"] for one in errors]
        # An array whose entries are wrong is said to have none: that is no second problem.
        return None, [
            finding_of(schema, dict(one))
            for one in errors
            if one["type"] != "too_short" or not any(place[:-1] == one["loc"] for place in places)
        ]


@cache
def _schema_of(adapter: TypeAdapter[T]) -> Node:
    """Return the schema that findings take their words from; made once for each of the two adapters."""
    return adapter.json_schema()


def _without(document: dict[str, object], paths: Sequence[KeyPath]) -> dict[str, object]:
    """Return a copy of `document` without these keys; the key of an array goes when one of its elements would."""
    rest = copy.deepcopy(document)
    for path in paths:
        while path and isinstance(path[-1], int):
            path = path[:-1]
        table: Any = rest
        try:
            for part in path[:-1]:
                table = table[part]
            del table[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # a missing key, or one inside what has gone already
    return rest


def _repeats(finding: Finding, known: Set[KeyPath]) -> bool:
    """Say whether a key that was left out as wrong explains `finding`."""
    return any(path[: len(finding.path)] == finding.path or finding.path[: len(path)] == path for path in known)


def _dates(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _dates(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _dates(inner, (*path, index))
    elif isinstance(value, datetime.date | datetime.time):
        yield path, value


def dotted(path: KeyPath) -> str:
    """Return `inbox[2].extract.output_size` for ("inbox", 1, "extract", "output_size")."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", part) else shown(part)
            text += f".{name}" if text else name
    return text


@cache
def config_adapter() -> TypeAdapter[Config]:
    """Return what validates a Config; made once, since that takes a tenth of a second."""
    return TypeAdapter(Config)


@cache
def sidecar_adapter() -> TypeAdapter[SidecarConfig]:
    """Return what validates a SidecarConfig."""
    return TypeAdapter(SidecarConfig)
