"""The whole service: its inboxes, the work in hand, what it lacks. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from daemon.reports.models import ModelReport


@dataclass(frozen=True)
class CheckReport:
    """One thing that was looked at for readiness."""

    name: str
    ok: bool
    detail: str = ""
    """Why it is not, where it is not."""


@dataclass(frozen=True)
class HoldReport:
    """Why no job of an inbox starts now."""

    kind: Literal["operator", "drain", "disk", "folder"]
    message: str


@dataclass(frozen=True)
class LostFootage:
    """Sources of an inbox that lack footage and have no whole copy yet."""

    files: int = 0
    seconds: float = 0.0
    """As far as that can be said."""


@dataclass(frozen=True)
class InboxReport:
    """One inbox: is it watched, what arrives, what holds it back."""

    name: str
    path: str
    workspace: str
    up: bool = False
    trouble: str = ""
    """Why its folder cannot be used."""
    read_only: bool = False
    mode: str = ""
    """events or poll; empty before it is watched."""
    pending: int = 0
    """Files and folders that have not settled yet."""
    waiting_for: tuple[tuple[str, ...], ...] = ()
    """(path, obstacle) of the first few of them."""
    last_scan_s: float | None = None
    """When the last full scan ended."""
    scan_seconds: float = 0.0
    settling: int = 0
    """Files that have arrived and have no job yet."""
    held: HoldReport | None = None
    lost_footage: LostFootage = field(default_factory=LostFootage)
    jobs: Mapping[str, int] = field(default_factory=dict)
    """State → jobs in it."""


@dataclass(frozen=True)
class RunningReport:
    """A running job, its speed, and the time that is left; None where that cannot be said yet."""

    job: int
    inbox: str
    path: str
    phase: str
    since_s: float
    frames_done: int = 0
    frames_total: int | None = None
    faces_kept: int = 0
    faces_rejected: int = 0
    faces_undecided: int = 0
    """Seen in what is not committed yet: a long shot is decided at its end."""
    frames_at_start: int = 0
    """Where this run began or went on."""
    working_since_s: float | None = None
    moved_s: float | None = None
    """When the last frame was done."""
    held: str = ""
    """Why a finished piece cannot be stored now."""
    frames_per_s: float | None = None
    faces_per_s: float | None = None
    eta_s: float | None = None
    job_kind: str = "extract"
    unit: str = "frames"
    """What `frames_done` and `frames_total` count."""


@dataclass(frozen=True)
class ServiceReport:
    """Everything that `dfld status` shows."""

    pid: int
    started_s: float
    now_s: float
    state: Literal["running", "draining"]
    pauses: Mapping[str, str] = field(default_factory=dict)
    """Inbox, or `*` for all → pause or drain."""
    running: tuple[RunningReport, ...] = ()
    inboxes: tuple[InboxReport, ...] = ()
    models: tuple[ModelReport, ...] = ()
    jobs: Mapping[str, int] = field(default_factory=dict)
    """State → jobs in it, of all inboxes."""
    checks: tuple[CheckReport, ...] = ()

    @property
    def is_ready(self) -> bool:
        return all(check.ok for check in self.checks)
