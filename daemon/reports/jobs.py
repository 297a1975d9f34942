"""Jobs as a person or a program sees them. Times are Unix seconds; file names are text, with undecodable bytes as
surrogates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class JobReport:
    """One job of the ledger."""

    id: int
    inbox: str
    path: str
    """Of the source, within its inbox."""
    kind: str
    """Of its source: video or folder."""
    sha256: str
    size_bytes: int
    identity: str
    """The state of the source's files when they were claimed."""
    workspace: str
    role: str
    slug: str
    priority: int
    rank: float
    state: str
    reason: str
    message: str
    hint: str
    attempts: int
    deaths: int
    """Workers that died of it since it last got on."""
    death_frame: int | None
    not_before_s: float
    arrived_s: float
    started_s: float | None
    finished_s: float | None
    basis: str
    """What made its faces: models, settings, revision."""
    next_frame: int
    last_pts: int | None
    counts: Mapping[str, object]
    """What its finished pieces hold so far."""
    frames_total: int | None
    original: str
    """Where the source is: in_inbox, done, quarantined, deleted …"""
    original_path: str | None
    verdict: str = ""
    missing_s: float | None = None
    missing_share: float | None = None
    mark: str = ""
    discard: str = ""
    job_kind: str = "extract"
    """What is done: daemon.jobs.kinds."""
    subject: int | None = None
    """The job that it is about; None: it is about its own source."""


@dataclass(frozen=True)
class JobDetails(JobReport):
    """A job with all that was made and set for it."""

    report: object = None
    """What came of it; None before it is done."""
    sidecar: Mapping[str, object] = field(default_factory=dict)
    request: Mapping[str, object] = field(default_factory=dict)
    """What was asked for."""


@dataclass(frozen=True)
class RetriedJob(JobReport):
    """A job that is tried again."""

    replaced: str = ""
    """What of its workspace goes first, in words."""
