"""`.dfld/curation.json`: what the last curation decided of each face, and against which limits, for who asks later.

Written whole, for the owner alone; what it says is not needed to take a curation back: that is in the journal
(engine.facesets.changing.rename_journal).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from core.files import replace_file
from core.opening import read_regular
from engine.facesets.curation.curate import Curation
from engine.facesets.curation.settings import CurationSettings
from engine.facesets.curation.verdicts import Reason
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.state_folder import make_state_folder
from engine.workspace.output_files import as_output_error

RECORD_NAME = "curation.json"
RECORD_BYTES_MAX = 1 << 30
"""A face has about 250 bytes."""
FORMAT = 1


def record_path(folder: FacesetFolder) -> Path:
    return folder.state / RECORD_NAME


def write_record(folder: FacesetFolder, curation: Curation, settings: CurationSettings) -> None:
    """Put the record in place. Raise OutputError."""
    document = record_document(curation, settings)
    path = record_path(folder)
    with as_output_error("write", path):
        make_state_folder(folder)
        replace_file(path, json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii"))


def record_document(curation: Curation, settings: CurationSettings) -> dict[str, object]:
    """Return a curation as values that JSON has; a limit that refuses nothing is None."""
    return {
        "format": FORMAT,
        "settings": asdict(settings),
        "limits": _finite(asdict(curation.limits)),
        "verdicts": [_finite(asdict(one)) for one in curation.verdicts],
    }


def _finite(values: dict[str, object]) -> dict[str, object]:
    """Put None in the place of numbers that JSON does not have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def remove_record(folder: FacesetFolder) -> None:
    """Remove the record, which may not be there. Raise OutputError."""
    with as_output_error("remove", record_path(folder)):
        record_path(folder).unlink(missing_ok=True)


def aside_reasons(folder: FacesetFolder) -> tuple[tuple[Reason, int], ...]:
    """Return how many faces the last curation set aside for each reason, the most frequent first; none where there was
    no curation, or its record makes no sense. Raise OutputError where it lies there and cannot be read."""
    path = record_path(folder)
    with as_output_error("read", path):
        try:
            data = read_regular(path, within=None, max_bytes=RECORD_BYTES_MAX)
        except (FileNotFoundError, NotADirectoryError):
            return ()
    try:
        reasons = [str(one["reason"]) for one in json.loads(data)["verdicts"] if one["place"] == "aside"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    known: dict[str, Reason] = {reason: reason for reason in get_args(Reason)}
    counts = Counter(known[reason] for reason in reasons if reason in known)
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
