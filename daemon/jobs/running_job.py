"""The running job as everybody may see it: for status, metrics and systemd. Who works is `daemon.jobs.runner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Phase = Literal["trying", "loading", "working", "finishing"]


@dataclass(frozen=True)
class Running:
    """The running job, for status and metrics; replaced whole, so any thread may read it."""

    job: int
    inbox: str
    path: str
    phase: Phase
    since_s: float
    kind: str
    unit: str
    """What is counted in `frames_done` and `frames_total`."""
    frames_done: int = 0
    frames_total: int | None = None
    faces_kept: int = 0
    faces_rejected: int = 0
    faces_undecided: int = 0
    """Seen in what is not committed yet: a long shot is decided at its end."""
    frames_at_start: int = 0
    """Where this run began; rates count from there."""
    working_since_s: float | None = None
    moved_s: float | None = None
    """When the last frame was reported, Unix seconds."""
    held: str = ""
    """Why a finished piece cannot be stored at the moment."""
