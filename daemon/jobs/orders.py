"""What a worker is told about one job: configuration, sidecar and job put together.

A sidecar comes from whoever may write into the inbox, so it may only choose among what the configuration gives this
inbox: photos in the inbox itself, in its own references, and in `sidecar_references`. Those of another inbox's person
stay out of reach even where they lie in one of these. The worker asks again of every photo that it opens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.opening import RefusedFileError, lies_within, open_regular
from daemon.config.schema import Config, InboxConfig
from daemon.crew.messages import Failure, Order
from daemon.ledger.jobs import Job

SIDECAR_HINT = "correct the sidecar and put both back into the inbox"


def make_order(job: Job, inbox: InboxConfig, config: Config, *, now_s: float) -> Order | Failure:
    """Return what the worker is told, or why the file's own sidecar forbids it."""
    sidecar: dict[str, Any] = json.loads(job.sidecar) if job.sidecar else {}
    if "problem" in sidecar:
        return Failure("file", "sidecar", sidecar["problem"], SIDECAR_HINT)
    chosen = [Path(one) for one in sidecar.get("references", ())]
    within, outside = sidecar_folders(inbox, config)
    for path in chosen:
        if why_not := _refusal(path, within, outside):
            return Failure("file", "sidecar", f"its sidecar names {path} as reference, which {why_not}", SIDECAR_HINT)
    notes = {
        "inbox": inbox.name,
        "file": os.fsdecode(job.path),
        "sha256": job.sha256,
        "consent": inbox.consent,
        "job": str(job.id),
        "start_s": str(sidecar.get("start_s", "")),
        "end_s": str(sidecar.get("end_s", "")),
    }
    return Order(
        job=job.id,
        source=str(inbox.path / os.fsdecode(job.path)),
        workspace=job.workspace,
        role=job.role,
        slug=job.slug,
        person=inbox.name,
        references=tuple(str(path) for path in (chosen or inbox.references)),
        negatives=tuple(str(path) for path in inbox.negatives),
        other_age=tuple(str(path) for path in inbox.other_age),
        allow_mixed=inbox.allow_mixed,
        largest_face=inbox.largest_face,
        backend=inbox.backend,
        model_root=str(config.model_root),
        model_pack=inbox.model_pack,
        settings=asdict(inbox.extract),
        start_s=sidecar.get("start_s"),
        end_s=sidecar.get("end_s"),
        source_within=tuple(map(str, inbox.footage_folders)),
        references_within=tuple(map(str, within)) if chosen else None,
        references_outside=tuple(map(str, outside)) if chosen else (),
        notes={key: text for key, text in notes.items() if text},
        take_incomplete=now_s - job.arrived_s >= config.watch.unreadable_grace_s,
        discard=job.discard,
        basis=job.basis,
    )


def sidecar_folders(inbox: InboxConfig, config: Config) -> tuple[list[Path], list[Path]]:
    """Return where the references that a sidecar names must lie, and where they must not: at other people's."""
    own = [inbox.path, *inbox.references, *inbox.sidecar_references]
    others = [path for other in config.inboxes if other.name != inbox.name for path in other.references]
    shared = {_real(path) for path in inbox.references}
    outside = [
        path for path in others if _real(path) not in shared and not lies_within(_real(path), inbox.sidecar_references)
    ]
    return own, outside


def _refusal(path: Path, within: Sequence[Path], outside: Sequence[Path]) -> str:
    """Say why a sidecar may not name `path`; "" when it may, as far as one look tells."""
    real = _real(path)
    if not lies_within(real, within):
        return "is neither in the inbox nor among its references; sidecar_references may allow more folders"
    if lies_within(real, outside):
        return "is among the references of another inbox"
    if os.path.isdir(real):  # noqa: PTH112 -- Path.is_dir raises where a folder above is closed to us
        return ""
    try:
        open_regular(path, within=within, outside=outside).close()
    except RefusedFileError as problem:
        return str(problem.strerror)
    except OSError:
        return ""  # it may pass; the worker says what it is
    return ""


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
