"""Face parsers that the user added: checked once, copied, and known by their hash from then on.

ROOT/parsers/NAME.onnx    the file as it was brought
ROOT/parsers/NAME.json    its SHA-256, size and family, as they were found when it was added
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import make_folder, replace_file, sync_folder
from core.opening import read_regular
from engine.errors import ModelError, OutputError, SettingsError
from engine.masks.parser import open_parser
from engine.models.graph_facts import read_graph
from engine.models.model_files import hash_of_model_file

FOLDER = "parsers"
NOTE_BYTES_MAX = 1 << 16
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class KeptParser:
    """A parser that was added."""

    name: str
    sha256: str
    """Of its file when it was added, hex."""
    size_bytes: int
    family: str
    """`ParserFamily.name`."""


def parser_file(root: Path, name: str) -> Path:
    """Return where the parser of that name lies under the folder of models, whether it is there or not."""
    return root / FOLDER / f"{name}.onnx"


def add_parser(root: Path, given: Path, name: str | None = None) -> KeptParser:
    """Check an ONNX file and keep a copy under `name` (None: after the file); adding the same again changes nothing.

    Raise ModelError for a file that is no parser of a known family, SettingsError for a name that is taken or is none,
    OutputError where the copy cannot be written.
    """
    name = given.stem.lower() if name is None else name
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is no name for a parser", hint="--name: small letters, digits, . _ and -")
    content, facts = read_graph(given)
    parser = open_parser(given)
    kept = KeptParser(name, facts.sha256, facts.size_bytes, parser.family.name)
    there = next((one for one in kept_parsers(root) if one.name == name), None)
    if there is not None and there.sha256 != kept.sha256:
        raise SettingsError(f"another parser is called {name} already", hint="give this one another --name")
    target = parser_file(root, name)
    try:
        make_folder(target.parent)
        replace_file(target, content)
        replace_file(target.with_suffix(".json"), json.dumps(asdict(kept), indent=1).encode())
        sync_folder(target.parent)
    except OSError as problem:
        raise OutputError(f"parser {name} cannot be written to {target}: {problem.strerror}") from problem
    return kept


def kept_parsers(root: Path) -> Sequence[KeptParser]:
    """Return the parsers that were added under the folder of models, by name. Raise ModelError for a broken note."""
    return [_read_note(note) for note in sorted((root / FOLDER).glob("*.json"))]


def check_parser(root: Path, kept: KeptParser) -> str:
    """Say what is wrong with the file of a parser that was added; "" where it is what it was and can be run."""
    path = parser_file(root, kept.name)
    try:
        found = hash_of_model_file(path)
        if found != kept.sha256:
            return f"{path} is not the file that was added: its hash begins with {found[:12]}, not {kept.sha256[:12]}"
        open_parser(path)
    except ModelError as problem:
        return problem.message
    return ""


def _read_note(path: Path) -> KeptParser:
    hint = "delete it and add the parser again"
    try:
        fields = json.loads(read_regular(path, within=None, max_bytes=NOTE_BYTES_MAX))
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelError(f"the note {path} cannot be read: {problem}", hint=hint) from problem
    kinds = {"name": str, "sha256": str, "size_bytes": int, "family": str}
    if not isinstance(fields, dict) or any(type(fields.get(key)) is not kind for key, kind in kinds.items()):
        raise ModelError(f"the note {path} is not what was written there", hint=hint)
    kept = KeptParser(**{key: fields[key] for key in kinds})
    if not _NAME.fullmatch(kept.name) or kept.name != path.stem:
        raise ModelError(f"the note {path} names the parser {kept.name!r:.80}", hint=hint)
    return kept
