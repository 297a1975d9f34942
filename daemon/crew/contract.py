"""Who does a job: the contract between the service and its workers, wherever they run.

A `Crew` opens links; a `Link` is one worker, which does one job after another. What both say to each other is
`daemon.crew.messages`. Local child processes are `daemon.crew.local`; a cluster would be a file beside it.
tests/daemon/test_crew_contract.py runs over every crew.

What every crew keeps:

* A worker that dies, at any moment, is a WorkerDiedError of the next call; what it had not handed over is done again.
* Nothing that is sent or received waits for a worker longer than the caller says.
* Messages come in the order in which they were sent, each whole, or not at all.
* What a worker says waits in bounded memory until it is taken: of progress the newest alone, and the worker waits once
  there is no more room.
* A worker ends with its service: what is not committed by then is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from daemon.crew.messages import FromWorker, ToWorker
from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import Needs


class WorkerDiedError(WorkerError):
    """The worker is gone."""

    def __init__(self, how: str, last_words: Sequence[str], *, killed_by: int = 0) -> None:
        """`killed_by`: the signal that ended it; 0 where it ended itself, or nobody knows."""
        self.signal = killed_by
        self.last_words = tuple(last_words)
        said = next((line for line in reversed(self.last_words) if line.strip()), "")
        super().__init__(f"the worker {how}" + (f": {said.strip()}" if said else ""))


class WorkerSaidError(Exception):
    """What a worker said last, as the cause of its death: so its traceback stands in the service's log."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n" + "\n".join(lines))


class Link(Protocol):
    """One worker, as its service sees it. All but `kill` belong to one thread, which lives as long as the worker."""

    @property
    def is_alive(self) -> bool: ...

    def send(self, message: ToWorker) -> int:
        """Send one message, as much of it as the worker takes at once; `flush` sends the rest.

        Return how many bytes it did not take. Raise WorkerDiedError.
        """
        ...

    def flush(self, timeout_s: float) -> int:
        """Send what is left as far as the worker takes it in the time; return how many bytes it did not take.

        Raise WorkerDiedError.
        """
        ...

    def receive(self, timeout_s: float) -> FromWorker | None:
        """Return the next message, None when none came in time. Raise WorkerDiedError, or WorkerError for nonsense."""
        ...

    def resident_bytes(self) -> int:
        """Return how much memory it uses now; 0 when it is gone, or nobody knows."""
        ...

    def kill(self) -> None:
        """End it at once. Any thread."""
        ...

    def close(self) -> None:
        """Let it end by itself, and clean up behind it."""
        ...


class Crew(Protocol):
    """Opens links to workers."""

    def open_link(self, slot: int, needs: Needs, memory_bytes: int) -> Link:
        """Start a worker for a slot of the service (0, 1, …), or get one, that has what a job needs.

        `memory_bytes`: more than that it must not use. Raise WorkerError when there is none.
        """
        ...
