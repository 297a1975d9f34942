"""What does one kind of job: `Worker`; and how it is served, whatever its values are: `WorkerKind`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from daemon.jobs.kinds.contract import C, Codecs, Piece, Q, R, S
from engine.types import Progress

Q_in = TypeVar("Q_in", contravariant=True)
S_in = TypeVar("S_in", contravariant=True)
C_out = TypeVar("C_out", covariant=True)
R_out = TypeVar("R_out", covariant=True)


class IncompleteError(Exception):
    """The file promises more than is there, or does not open yet; it may still be arriving."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Worker(Protocol[Q_in, S_in, C_out, R_out]):
    """Does one kind of job, one job at a time, in one thread; what it loaded it may keep for the next."""

    def try_source(self, request: Q_in) -> None:
        """Open what the job works on. Raise IncompleteError when it may still be arriving, DfldError when it cannot be
        used."""
        ...

    def load(self, request: Q_in) -> str:
        """Load what the job needs; return the basis: what decides the outcome. Raise DfldError."""
        ...

    def work(
        self,
        request: Q_in,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[C_out], None],
        resume: S_in | None,
    ) -> R_out:
        """Do the job, from where earlier commits left it. `on_commit` returns once the piece is stored."""
        ...


class Assignment(Protocol):
    """One job for one worker, with its values as pieces."""

    def try_source(self) -> None: ...

    def load(self) -> str: ...

    def work(
        self,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[Sequence[Piece]], None],
        resume: Sequence[Piece] | None,
    ) -> Sequence[Piece]: ...


class WorkerKind(Generic[Q, S, C, R]):
    """One kind of job as a worker knows it: how its values travel, and who does it."""

    def __init__(self, codecs: Codecs[Q, S, C, R], make: Callable[[], Worker[Q, S, C, R]]) -> None:
        """`make` is called once, before the first job: what it imports may be heavy."""
        self._codecs = codecs
        self._make = make
        self._worker: Worker[Q, S, C, R] | None = None

    def assignment(self, request: Sequence[Piece]) -> Assignment:
        """Return one job of this kind."""
        if self._worker is None:
            self._worker = self._make()
        return _Assignment(self._codecs, self._worker, self._codecs.request.decode(request))


class AnyWorkerKind(Protocol):
    """A `WorkerKind`, whatever the types of its values are."""

    def assignment(self, request: Sequence[Piece]) -> Assignment: ...


class _Assignment(Generic[Q, S, C, R]):
    def __init__(self, codecs: Codecs[Q, S, C, R], worker: Worker[Q, S, C, R], request: Q) -> None:
        self._codecs = codecs
        self._worker = worker
        self._request = request

    def try_source(self) -> None:
        self._worker.try_source(self._request)

    def load(self) -> str:
        return self._worker.load(self._request)

    def work(
        self,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[Sequence[Piece]], None],
        resume: Sequence[Piece] | None,
    ) -> Sequence[Piece]:
        result = self._worker.work(
            self._request,
            stop=stop,
            on_progress=on_progress,
            on_commit=lambda commit: on_commit(tuple(self._codecs.commit.encode(commit))),
            resume=None if resume is None else self._codecs.resume.decode(resume),
        )
        return tuple(self._codecs.result.encode(result))
