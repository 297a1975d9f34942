"""What a worker has said and nobody has taken yet, in bounded memory.

One thread reads the worker's pipe and puts messages here, another takes them. The one that takes them may be held up
for minutes (a ledger without space), while the worker says how far it is many times a second.
"""

from __future__ import annotations

import threading
from collections import deque

from daemon.crew.messages import CommitMade, FromWorker, JobDone, JobFailed, ProgressMade
from daemon.errors import WorkerError

UNREAD_MAX = 1000
"""So many messages wait at most; then the pipe fills, and the worker waits."""
LAST_WORDS = (CommitMade, JobDone, JobFailed)
"""A worker waits for the answer to these. Nothing is read behind one: what its pieces come to is limited already
(`daemon.crew.messages`), what one commit after another comes to would not be."""


class Ended:
    """The worker says nothing more."""


Said = FromWorker | WorkerError | Ended


class Unread:
    """Messages in their order; of progress at a job the newest alone."""

    def __init__(self) -> None:
        self._said: deque[Said] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, said: Said) -> None:
        """Add what was said; wait while there is no room. After `close` that never waits."""
        with self._changed:
            last = self._said[-1] if self._said else None
            if isinstance(said, ProgressMade) and isinstance(last, ProgressMade) and said.task == last.task:
                self._said[-1] = said
                return
            self._changed.wait_for(self._has_room)
            self._said.append(said)
            self._changed.notify_all()

    def _has_room(self) -> bool:
        is_answered = not self._said or not isinstance(self._said[-1], LAST_WORDS)
        return self._closed or (is_answered and len(self._said) < UNREAD_MAX)

    def take(self, timeout_s: float) -> Said | None:
        """Return what was said first; None when nothing came in time. That it ended is said again and again."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._said), timeout_s):
                return None
            said = self._said[0]
            if not isinstance(said, Ended):
                self._said.popleft()
            self._changed.notify_all()
            return said

    def close(self) -> None:
        """Let nobody wait for room any more: nobody takes anything."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
