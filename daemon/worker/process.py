"""The child process that owns models and decoders: `python -m daemon.worker`, started by daemon.crew.local.

Videos are hostile input to a large body of C code: what can hang or crash does so here, and costs one process. The
worker dies with its parent (the kernel sends SIGKILL, and the pipe ends), is given its orders on its standard input
and answers on its standard output; libraries that print go to standard error. It knows no inbox and no ledger.

An error that nobody foresaw is not caught: the worker dies of it with a traceback on standard error, and the service
counts that against the file as it counts any other death.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

from daemon.crew import messages
from daemon.crew.messages import FromWorker, Message, Task, in_pieces, read_message, write_message
from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import Failure, Piece
from daemon.worker.contract import AnyWorkerKind, IncompleteError
from daemon.worker.failures import failure_from
from engine.errors import SettingsError

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>: the signal that the kernel sends when the parent dies."""
UMASK = 0o027
"""Faces are biometric data: nobody but owner and group."""
EXIT_PARENT_GONE = 3
NVIDIA_CONTROL = Path("/dev/nvidiactl")

A = TypeVar("A", bound=messages.AboutTask)


class _AttemptOverError(Exception):
    """The service wants nothing more of this attempt: another one has begun, or the job was ended."""


class _OutOfTurnError(Exception):
    """The service said what cannot follow here. Nobody foresees that: the worker dies of it."""


class _Service:
    """The other end of the pipe. Its reading thread sorts what arrives: `stop` acts at once, the rest queues."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self.stop = threading.Event()
        self._incoming = incoming
        self._outgoing = outgoing
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def start_listening(self) -> None:
        threading.Thread(target=self._listen, name="service", daemon=True).start()

    def send(self, message: FromWorker) -> None:
        try:
            write_message(self._outgoing, message)
        except OSError:
            os._exit(EXIT_PARENT_GONE)

    def send_all(self, several: Iterable[FromWorker]) -> None:
        for message in several:
            self.send(message)

    def receive(self) -> Message:
        return self._messages.get()

    def receive_whole(self) -> tuple[list[Piece], Message]:
        """Return the next message, and the pieces that came before it."""
        pieces: list[Piece] = []
        while isinstance(message := self.receive(), messages.PieceSent):
            pieces.append(message.value)
        return pieces, message

    def _listen(self) -> None:
        try:
            self._sort()
        finally:  # the service is gone, or cannot be understood: whatever is not committed is done again
            if sys.exc_info()[0] is not None:  # so it stands in the service's log
                traceback.print_exc()
            os._exit(EXIT_PARENT_GONE)

    def _sort(self) -> None:
        while (message := read_message(self._incoming)) is not None:
            if isinstance(message, messages.Stop):
                self.stop.set()
                continue
            if isinstance(message, messages.Order):  # here, in the order of the pipe: a stop may follow it at once
                self.stop.clear()
            self._messages.put(message)


def main(worker_kinds: Mapping[str, AnyWorkerKind], arguments: list[str] | None = None) -> None:
    """Serve orders until the service goes away. `worker_kinds`: who does what, by the name of the kind."""
    parser = argparse.ArgumentParser(prog="python -m daemon.worker")
    parser.add_argument("--parent", type=int, required=True, help="process id of the service")
    parser.add_argument("--memory-bytes", type=int, default=0, help="limit of private memory; 0 = none")
    options = parser.parse_args(arguments)
    die_with(options.parent)
    limit_memory(options.memory_bytes)
    os.umask(UMASK)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # so does systemd's stop: the service drains its workers
    incoming, outgoing = _take_over_standard_streams()
    service = _Service(incoming, outgoing)
    service.send(messages.Ready(os.getpid()))  # before it listens: a service of another version learns that first
    service.start_listening()
    while True:
        pieces, message = service.receive_whole()
        if isinstance(message, messages.Order):
            _work(message, pieces, worker_kinds, service)


def _work(
    order: messages.Order, request: Sequence[Piece], worker_kinds: Mapping[str, AnyWorkerKind], service: _Service
) -> None:
    """Do one order; say how it ended."""
    task, kind = order.task, order.kind
    try:
        if kind not in worker_kinds:
            raise SettingsError(
                f"this worker does no job of kind {kind!r}", hint="service and worker differ in version"
            )
        assignment = worker_kinds[kind].assignment(request)
        assignment.try_source()
        service.send(messages.Readable(task))
        service.send(messages.Opened(task, assignment.load()))
        resume, answer = service.receive_whole()
        begin = _required(answer, task, messages.Begin)
        result = assignment.work(
            stop=service.stop,
            on_progress=lambda progress: service.send(messages.ProgressMade(task, progress)),
            on_commit=lambda commit: _hand_over(task, commit, service),
            resume=resume if begin.resumes else None,
        )
    except IncompleteError as problem:
        service.send(messages.JobFailed(task, Failure("incomplete", "incomplete", problem.message)))
    except _AttemptOverError:
        pass
    except WorkerError:
        raise  # the request is none: service and worker do not fit together
    except Exception as problem:
        failure = failure_from(problem)
        if failure is None:
            raise
        service.send(messages.JobFailed(task, failure))
    else:
        service.send_all(in_pieces(task, result, messages.JobDone(task)))


def _hand_over(task: Task, commit: Sequence[Piece], service: _Service) -> None:
    """Send a finished piece and wait until it is stored: at most one piece is ever done twice."""
    service.send_all(in_pieces(task, commit, messages.CommitMade(task)))
    _required(service.receive(), task, messages.Ack)


def _required(message: Message, task: Task, expected: type[A]) -> A:
    """Return a message that is the answer a job waits for. Raise _AttemptOverError where it is a refusal."""
    if message == messages.Refuse(task):
        raise _AttemptOverError
    if not isinstance(message, expected) or message.task != task:
        raise _OutOfTurnError(f"{task} waits for {expected.__name__} or Refuse, and was sent {message}")
    return message


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the service dies, also while C code holds the interpreter."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(EXIT_PARENT_GONE)


def limit_memory(limit_bytes: int) -> None:
    """Limit private writable memory; address space is not limited, since runtimes reserve far more than they use.

    CUDA maps even what lies on the device as private memory, so on a machine with a GPU the service's own check of the
    worker's resident memory has to do.
    """
    if limit_bytes and not NVIDIA_CONTROL.exists():
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def _take_over_standard_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Keep the pipes to the service for messages alone; what libraries print goes to standard error."""
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return os.fdopen(incoming, "rb"), os.fdopen(outgoing, "wb")
