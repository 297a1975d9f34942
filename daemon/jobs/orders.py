"""What a worker is told about one job: configuration, sidecar and job put together."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

from daemon.config.schema import Config, InboxConfig
from daemon.ledger.jobs import Job
from daemon.worker.messages import Failure, Order


def make_order(job: Job, inbox: InboxConfig, config: Config, *, now_s: float) -> Order | Failure:
    """Return what the worker is told, or why the file's own sidecar forbids it."""
    sidecar: dict[str, Any] = json.loads(job.sidecar) if job.sidecar else {}
    if "problem" in sidecar:
        return Failure("file", "sidecar", sidecar["problem"], "correct the sidecar and put both back into the inbox")
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
        references=tuple(str(path) for path in (sidecar.get("references") or inbox.references)),
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
        notes={key: text for key, text in notes.items() if text},
        take_incomplete=now_s - job.arrived_s >= config.watch.unreadable_grace_s,
    )
