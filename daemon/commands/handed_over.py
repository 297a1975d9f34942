"""A command about a faceset that the running service fills: handed over to it, and its end waited for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.output import shown
from daemon.errors import ControlError, ServiceError

if TYPE_CHECKING:
    from daemon.reports.jobs import JobDetails
    from engine.facesets.faceset_folder import FacesetFolder

POLL_S = 0.5


@dataclass(frozen=True)
class HandedOver:
    """A faceset that the service worked on, and its job, which is done."""

    folder: FacesetFolder
    job: JobDetails

    @property
    def lines(self) -> Sequence[str]:
        """Return what a person reads of it."""
        return [shown(self.folder.sentence), f"  {shown(self.job.message)} (job {self.job.id} of the daemon)"]

    @property
    def values(self) -> Mapping[str, object]:
        """Return what a program reads of it."""
        return {"aligned": str(self.folder.aligned), "job": self.job.id, "report": self.job.report}


def hand_over(
    state_dir: Path,
    folders: Sequence[FacesetFolder],
    do: str,
    asked: Callable[[FacesetFolder], Mapping[str, object]],
    *,
    quiet: bool,
) -> Sequence[HandedOver]:
    """Have the service do what is asked on those of the facesets that it fills, and wait for the end; return these. The
    others, and all where no service runs, the command does itself.

    Ctrl-C ends the waiting, not the jobs. Raise ControlError where the service refuses, ServiceError where a job ends
    otherwise than done.
    """
    found = ((one, _handed_over(state_dir, one, do, asked(one), quiet=quiet)) for one in folders)
    return [HandedOver(folder, job) for folder, job in found if job is not None]


def _handed_over(
    state_dir: Path, folder: FacesetFolder, do: str, asked: Mapping[str, object], *, quiet: bool
) -> JobDetails | None:
    from daemon.control.client import ask
    from daemon.reports.codec import decoded
    from daemon.reports.jobs import JobReport

    if folder.role is None or not _is_filled_by_service(state_dir, folder):
        return None
    details = {"workspace": str(folder.parent.parent), "role": folder.role, "asked": asked}
    answer = ask(state_dir, do, details)
    if answer is None:
        return None
    number = decoded(JobReport, answer).id
    if not quiet:
        print(f"dfld: the daemon does it: job {number}; Ctrl-C leaves it to it", file=sys.stderr, flush=True)
    return _ended(state_dir, number, quiet=quiet)


def _ended(state_dir: Path, number: int, *, quiet: bool) -> JobDetails:
    """Wait for the end of a job; say once for what it waits itself."""
    from daemon.control.client import ask
    from daemon.ledger.transitions import UNFINISHED, State
    from daemon.reports.codec import decoded
    from daemon.reports.jobs import JobDetails

    said = ""
    while True:
        job = decoded(JobDetails, ask(state_dir, "job", {"id": number}))
        if job.state not in UNFINISHED:
            break
        if job.state == State.WAITING and job.reason != said:
            said = job.reason
            print(f"dfld: it waits: {shown(job.message)}", file=sys.stderr, flush=True)
        _show_progress(job, quiet=quiet)
        time.sleep(POLL_S)
    _show_progress(None, quiet=quiet)
    if job.state != State.DONE:
        raise ServiceError(f"job {number} is {job.state}: {job.message}", hint=job.hint)
    return job


def _is_filled_by_service(state_dir: Path, folder: FacesetFolder) -> bool:
    from daemon.control.client import ask
    from daemon.reports.codec import decoded
    from daemon.reports.service import ServiceReport

    try:
        status = decoded(ServiceReport, ask(state_dir, "status"))
    except ControlError:
        return False
    workspace = folder.parent.parent.resolve()
    for inbox in status.inboxes:
        if Path(inbox.workspace).resolve() == workspace:
            if inbox.held is not None:
                print(f"dfld: the daemon waits: {shown(inbox.held.message)}", file=sys.stderr, flush=True)
            return True
    return False


def _show_progress(job: JobDetails | None, *, quiet: bool) -> None:
    """Show how far a job is on a terminal; clear that with None."""
    if not quiet and sys.stderr.isatty():
        text = "" if job is None or not job.frames_total else f"{job.next_frame} of {job.frames_total} faces"
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)
