"""The child process that owns models and decoders: `python -m daemon.worker.extractor`, started by `link`.

Videos are hostile input to a large body of C code: what can hang or crash does so here, and costs one process. The
worker dies with its parent (the kernel sends SIGKILL, and the pipe ends), is told what to do on its standard input
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
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Protocol

from daemon.crew.messages import (
    Failure,
    Message,
    Order,
    commit_messages,
    failed_message,
    order_of,
    progress_message,
    read_message,
    records_of,
    resume_of_message,
    write_message,
)
from daemon.worker.failures import failure_from
from engine.types import Commit, ExtractReport, FaceRecord, Progress, Resume

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>: the signal that the kernel sends when the parent dies."""
UMASK = 0o027
"""Faces are biometric data: nobody but owner and group."""
EXIT_PARENT_GONE = 3
NVIDIA_CONTROL = Path("/dev/nvidiactl")


class IncompleteError(Exception):
    """The file promises more than is there, or does not open yet; it may still be arriving."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Extractor(Protocol):
    """What a worker does; the real one is `daemon.worker.extractor`."""

    def try_file(self, order: Order) -> None:
        """Open the source. Raise IncompleteError when it may still be arriving, DfldError when it cannot be used."""
        ...

    def load(self, order: Order) -> str:
        """Load models and identity; return the basis: what decides how the faces come out. Raise DfldError."""
        ...

    def extract(
        self,
        order: Order,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[Commit], None],
        resume: Resume | None,
    ) -> ExtractReport:
        """Extract the clip. Without `resume`, what an earlier run left is cleared first, except what a hand decided."""
        ...


class _Service:
    """The other end of the pipe. Its reading thread sorts what arrives: `stop` acts at once, the rest queues."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self.stop = threading.Event()
        self._incoming = incoming
        self._outgoing = outgoing
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="service", daemon=True).start()

    def send(self, message: Message) -> None:
        try:
            write_message(self._outgoing, message)
        except OSError:
            os._exit(EXIT_PARENT_GONE)

    def receive(self) -> Message:
        return self._messages.get()

    def _listen(self) -> None:
        while (message := read_message(self._incoming)) is not None:
            if message["type"] == "stop":
                self.stop.set()
                continue
            if message["type"] == "order":  # here, in the order of the pipe: a stop may follow at its heels
                self.stop.clear()
            self._messages.put(message)
        os._exit(EXIT_PARENT_GONE)  # the service is gone: whatever is not committed is done again


def main(extractor: Extractor, arguments: list[str] | None = None) -> None:
    """Serve orders until the service goes away."""
    parser = argparse.ArgumentParser(prog="python -m daemon.worker.extractor")
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
    service.send({"type": "ready", "pid": os.getpid()})
    while True:
        message = service.receive()
        if message["type"] == "order":
            _work(order_of(message), extractor, service)


def _work(order: Order, extractor: Extractor, service: _Service) -> None:
    """Do one order; tell the outcome."""
    try:
        extractor.try_file(order)
        service.send({"type": "readable"})
        service.send({"type": "opened", "basis": extractor.load(order)})
        resume = _begin(service)
        report = extractor.extract(
            order,
            stop=service.stop,
            on_progress=lambda progress: service.send(progress_message(progress)),
            on_commit=lambda commit: _hand_over(commit, service),
            resume=resume,
        )
    except IncompleteError as problem:
        service.send(failed_message(Failure("incomplete", "incomplete", problem.message)))
    except Exception as problem:
        failure = failure_from(problem)
        if failure is None:
            raise
        service.send(failed_message(failure))
    else:
        service.send({"type": "done", "report": _report(report)})


def _begin(service: _Service) -> Resume | None:
    records: list[FaceRecord] = []
    while (message := service.receive())["type"] == "records":
        records.extend(records_of(message))
    return resume_of_message(message, records)


def _hand_over(commit: Commit, service: _Service) -> None:
    """Send a finished piece and wait until it is stored: at most one piece is ever done twice."""
    for message in commit_messages(commit):
        service.send(message)
    service.receive()


def _report(report: ExtractReport) -> Message:
    return {
        "frames_total": report.frames_total,
        "frames_decoded": report.frames_decoded,
        "frames_examined": report.frames_examined,
        "packets_damaged": report.packets_damaged,
        "faces_found": report.faces_found,
        "faces_kept": report.faces_kept,
        "reasons": dict(report.reasons),
        "stage_seconds": dict(report.stage_seconds),
        "queue_fill": dict(report.queue_fill),
        "log_path": str(report.log_path),
        "preview_path": str(report.preview_path) if report.preview_path else None,
        "warnings": list(report.warnings),
        "completed": report.completed,
        "verdict": asdict(report.verdict),
        "faces_in_review": report.faces_in_review,
    }


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the service dies, also while C code holds the interpreter."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(EXIT_PARENT_GONE)


def limit_memory(limit_bytes: int) -> None:
    """Limit private writable memory; address space is not limited, since runtimes reserve far more than they use.

    CUDA maps even what lies on the device as private memory, so on a machine with a GPU the service's own look at the
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
