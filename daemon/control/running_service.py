"""The service as whoever answers a request sees it: what can be asked or steered, and what a request names."""

from __future__ import annotations

from typing import Protocol

from daemon.averaging import Averaging
from daemon.config.schema import Config, InboxConfig
from daemon.control.request import Request
from daemon.errors import ControlError
from daemon.events.event import Notify
from daemon.health import Health
from daemon.inboxes.inbox_threads import Inboxes
from daemon.jobs.job_queue import JobQueue
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger


class RunningService(Protocol):
    """The parts of a service that can be asked or steered."""

    config: Config
    ledger: Ledger
    queue: JobQueue
    inboxes: Inboxes
    averaging: Averaging
    health: Health
    notify: Notify
    started_s: float

    def reload(self) -> list[str]: ...

    def recycle_workers(self) -> None: ...

    def stop_reading(self) -> None: ...


def job_of(service: RunningService, request: Request) -> Job:
    """Return the job that a request names. Raise ControlError where there is none."""
    number = request.number("id")
    job = None
    if number is not None:
        job = service.ledger.read(lambda reader: table.job_by_id(reader, number))
    if job is None:
        raise ControlError(f"there is no job {number!r}", hint="`dfld jobs` lists them")
    return job


def inbox_of(service: RunningService, name: str) -> InboxConfig:
    """Return the inbox of this name. Raise ControlError where the configuration has none."""
    names = [inbox.name for inbox in service.config.inboxes]
    for inbox in service.config.inboxes:
        if inbox.name == name:
            return inbox
    raise ControlError(f"there is no inbox {name!r}, expected one of {', '.join(names)}")


def inboxes_of(service: RunningService, request: Request) -> list[InboxConfig]:
    """Return the inbox that a request names, or all. Raise ControlError as `inbox_of` does."""
    name = request.text("inbox")
    return list(service.config.inboxes) if name is None else [inbox_of(service, name)]
