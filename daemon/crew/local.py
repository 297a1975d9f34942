"""Workers that are child processes: start one, talk to it, see how it is, end it. Nothing about jobs.

A worker is started, used and ended by one thread, which must live as long as the worker does: the kernel takes the
death of the thread that forked for the death of the parent. Two threads of its own read what the worker says. What
goes to the worker waits here while its pipe is full: a worker that reads nothing holds up nobody.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from core.boundary import boundary
from daemon.crew.contract import WorkerDiedError
from daemon.crew.gpu import VISIBLE
from daemon.crew.messages import FromWorker, MessageReader, ToWorker, message_bytes
from daemon.crew.unread import Ended, Unread
from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import Needs

WORKER_COMMAND = (sys.executable, "-m", "daemon.worker")
NO_GPU = ""
"""Of `CUDA_VISIBLE_DEVICES`: such a worker takes no memory of a GPU."""
ERROR_LINES_KEPT = 40
ERROR_LINE_CHARS_MAX = 500
PIECE_BYTES = 64 << 10
"""Written at a time: what a pipe of Linux holds, pipe(7)."""
END_WAIT_S = 5.0
"""After SIGKILL only an unresponsive disk keeps a process; it is not waited for any longer."""


class LocalCrew:
    """Child processes of this machine."""

    def __init__(
        self,
        *,
        command: Sequence[str] = WORKER_COMMAND,
        keep_open: Sequence[int] = (),
        gpus: Callable[[int], str | None] = lambda _slot: None,
        on_error_line: Callable[[str], None] | None = None,
    ) -> None:
        """`keep_open`: descriptors that each worker holds as long as it lives (the lock of the state folder).
        `gpus(slot)`: the one GPU that the worker of a slot sees where its jobs need one; None leaves that as it is for
        the service.
        """
        self._command = command
        self._keep_open = keep_open
        self._gpus = gpus
        self._on_error_line = on_error_line

    def open_link(self, slot: int, needs: Needs, memory_bytes: int) -> LocalLink:
        return LocalLink(
            command=self._command,
            memory_bytes=memory_bytes,
            keep_open=self._keep_open,
            gpu=self._gpus(slot) if needs.gpu else NO_GPU,
            on_error_line=self._on_error_line,
        )


class LocalLink:
    """A running child process: a `daemon.crew.contract.Link`."""

    def __init__(
        self,
        *,
        command: Sequence[str] = WORKER_COMMAND,
        memory_bytes: int = 0,
        keep_open: Sequence[int] = (),
        gpu: str | None = None,
        on_error_line: Callable[[str], None] | None = None,
    ) -> None:
        """Start a worker. `keep_open`: descriptors that it holds as long as it lives (the lock of the state folder).
        `gpu`: the one GPU it sees; None leaves that as it is for the service.

        Raise WorkerError when it cannot be started.
        """
        arguments = [*command, "--parent", str(os.getpid()), "--memory-bytes", str(memory_bytes)]
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_environment() | ({} if gpu is None else {VISIBLE: gpu}),
                pass_fds=tuple(keep_open),
                start_new_session=True,
            )
        except OSError as problem:
            raise WorkerError(f"cannot start a worker: {problem}") from problem
        assert self._process.stdin is not None, "a pipe was asked for"
        os.set_blocking(self._process.stdin.fileno(), False)
        self._unsent = bytearray()
        self._sending = threading.Lock()
        """Held by whoever writes to the pipe or closes it: `kill` may come from another thread."""
        self._last_words: deque[str] = deque(maxlen=ERROR_LINES_KEPT)
        self._unread = Unread()
        self._on_error_line = on_error_line
        self._readers = [
            threading.Thread(target=self._read_messages, name=f"worker-{self.pid}", daemon=True),
            threading.Thread(target=self._read_errors, name=f"worker-{self.pid}-errors", daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: ToWorker) -> int:
        """Send one message, as much of it as the worker takes at once; `flush` sends the rest.

        Return how many bytes it did not take. Raise WorkerDiedError when the worker is gone.
        """
        with self._sending:
            self._unsent += message_bytes(message)
        return self.flush(0.0)

    def flush(self, timeout_s: float) -> int:
        """Send what is left as far as the worker takes it in the time; return how many bytes it did not take.

        Raise WorkerDiedError when the worker is gone.
        """
        assert self._process.stdin is not None, "a pipe was asked for"
        ends_at_s = time.monotonic() + timeout_s
        with self._sending:
            if self._unsent and self._process.stdin.closed:
                raise self._died()
            try:
                while self._unsent:
                    if not _write_some(self._process.stdin.fileno(), self._unsent):
                        left_s = ends_at_s - time.monotonic()
                        if left_s <= 0 or not _takes_more(self._process.stdin.fileno(), left_s):
                            break
            except OSError as problem:
                raise self._died() from problem
            return len(self._unsent)

    def receive(self, timeout_s: float) -> FromWorker | None:
        """Return the next message, None when none came in time. Raise WorkerDiedError, or WorkerError for nonsense."""
        message = self._unread.take(timeout_s)
        if isinstance(message, Ended):
            raise self._died()
        if isinstance(message, WorkerError):
            self.kill()
            raise message
        return message

    def resident_bytes(self) -> int:
        """Return how much memory it uses now; 0 when it is gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """End it at once. What it had not handed over is done again by the next one."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Let it end by closing its input, and clean up behind it."""
        assert self._process.stdin is not None, "a pipe was asked for"
        self._unread.close()
        with self._sending:
            self._process.stdin.close()
        try:
            self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            try:
                self._process.wait(END_WAIT_S)
            except subprocess.TimeoutExpired:
                return  # stuck in the kernel, on a disk that does not answer
        for reader in self._readers:
            reader.join(END_WAIT_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _died(self) -> WorkerDiedError:
        try:
            status = self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on
            self._process.kill()
            status = self._process.wait(END_WAIT_S)
        self._readers[1].join(END_WAIT_S)
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"exited with status {status}"
        return WorkerDiedError(how, tuple(self._last_words), killed_by=max(0, -status))

    def _read_messages(self) -> None:
        assert self._process.stdout is not None, "a pipe was asked for"
        reader = MessageReader(self._process.stdout)
        try:
            with boundary("thread", f"reading what worker {self.pid} says", self._reading_failed):
                while (message := reader.read()) is not None:
                    if not isinstance(message, FromWorker):
                        raise WorkerError(f"a worker does not say {type(message).__name__}; the worker is replaced")
                    self._unread.put(message)
        finally:
            self._unread.put(Ended())

    def _read_errors(self) -> None:
        assert self._process.stderr is not None, "a pipe was asked for"
        with boundary("thread", f"reading the error lines of worker {self.pid}", self._reading_failed):
            while line := self._process.stderr.readline(ERROR_LINE_CHARS_MAX):
                text = line.decode("utf-8", "backslashreplace").rstrip("\n")
                self._last_words.append(text)
                if self._on_error_line is not None:
                    self._on_error_line(text)

    def _reading_failed(self, error: Exception) -> None:
        """Hand the failure to `receive`, which ends the worker: nobody else would read what it says."""
        if isinstance(error, WorkerError):
            self._unread.put(error)
            return
        what = f"{type(error).__name__}: {error}"
        problem = WorkerError(f"what the worker says cannot be read ({what}); the worker is replaced")
        problem.__cause__ = error
        self._unread.put(problem)


def _write_some(pipe: int, data: bytearray) -> bool:
    """Write the first bytes of `data` and take them off; False when the pipe is full."""
    try:
        written = os.write(pipe, data[:PIECE_BYTES])
    except BlockingIOError:
        return False
    del data[:written]
    return True


def _takes_more(pipe: int, timeout_s: float) -> bool:
    """Wait until the pipe has room, or nobody reads from it any more: the next write shows it. False after the time."""
    poll = select.poll()
    poll.register(pipe, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))


def child_environment() -> dict[str, str]:
    """Return the environment in which a child finds this very program, whatever the folder dfld was started in."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
