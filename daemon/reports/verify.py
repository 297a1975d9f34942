"""What reading back the faces of clips has shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FaceFinding:
    """A face that is not whole. The words of `finding` are those of engine.results.checked_face."""

    name: str
    finding: str
    why: str
    file: str = ""
    """Where it is now, below the workspace; "" where it is nowhere."""
    stays: bool = False
    """It is damaged, and a person may have changed it: a redo of the clip leaves it as it is."""


@dataclass(frozen=True)
class ClipVerification:
    """One clip, and what of its faces was read back so far."""

    clip: str
    """Path of its source below the inbox; the slug where no service knows it."""
    state: str
    """Of the job that reads it back; `done` without a service."""
    faces_done: int
    faces_total: int | None
    counts: Mapping[str, int]
    """Finding → faces."""
    findings: tuple[FaceFinding, ...] = ()
    message: str = ""
    hint: str = ""
    job: int | None = None
    """The one that reads it back; None without a service."""
    subject: int | None = None
    """The job that made its faces."""
    redo: bool = False
    """That job does the clip once more."""
    not_finished: str = ""
    """Without a service: how far the run is that makes its faces, by the manifest; "" where that came to its end."""


@dataclass(frozen=True)
class ClipNotDone:
    """A clip whose job is not done, so that its faces are not read back."""

    clip: str
    job: int
    state: str
    frames_done: int
    frames_total: int | None


@dataclass(frozen=True)
class VerificationStarted:
    """What an order to verify an inbox has begun."""

    inbox: str
    jobs: tuple[int, ...]
    """One for each clip that is done."""
    retried: tuple[int, ...] = ()
    """Jobs that had failed, and are tried again."""
    unfinished: Mapping[str, int] = field(default_factory=dict)
    """State → clips that are not done, and are not read back."""
    not_done: tuple[ClipNotDone, ...] = ()
    """These by name, the first of them where there are many."""


@dataclass(frozen=True)
class VerificationReport:
    """Everything that `dfld verify` shows."""

    subject: str
    """The inbox, or the workspace."""
    clips: tuple[ClipVerification, ...]
    retried: tuple[int, ...] = ()
    unfinished: Mapping[str, int] = field(default_factory=dict)
    not_done: tuple[ClipNotDone, ...] = ()
