"""What every crew keeps, whoever its workers are: run over local child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from daemon.crew.contract import Crew, Link, WorkerDiedError
from daemon.crew.local import LocalCrew, child_environment
from daemon.crew.messages import (
    AboutTask,
    Ack,
    Begin,
    CommitMade,
    FromWorker,
    JobDone,
    JobFailed,
    Opened,
    Order,
    PieceSent,
    ProgressMade,
    Readable,
    Ready,
    Refuse,
    Stop,
    Task,
    ToWorker,
    in_pieces,
    read_message,
)
from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import Needs
from daemon.jobs.kinds.extract import EXTRACT_CODECS, ExtractRequest
from daemon.worker.process import EXIT_PARENT_GONE
from engine.types import ExtractSettings
from tests.daemon_rig import FAKE_WORKER, wait_until
from tests.fake_worker import fake_video

T = TypeVar("T", bound=AboutTask)

NEEDS = Needs(models=False, gpu=False)
CREWS: dict[str, Callable[[tuple[str, ...]], Crew]] = {"local": lambda command: LocalCrew(command=command)}
"""How to have a crew whose workers run a program; a cluster would be a line here."""


@pytest.fixture(params=CREWS)
def hire(request: pytest.FixtureRequest) -> Callable[[tuple[str, ...]], Crew]:
    return CREWS[request.param]


@pytest.fixture
def link(hire: Callable[[tuple[str, ...]], Crew]) -> Iterator[Link]:
    one = hire(FAKE_WORKER).open_link(0, NEEDS, 0)
    yield one
    one.kill()


def next_message(link: Link) -> FromWorker:
    found: list[FromWorker] = []

    def received() -> bool:
        message = link.receive(0.05)
        if message is not None:
            found.append(message)
        return bool(found)

    wait_until(received, "the worker says nothing")
    return found[0]


def until(link: Link, *types: type[T]) -> T:
    """Return the next message of these types."""
    while not isinstance(message := next_message(link), types):
        pass
    return message


def drain(link: Link, said: list[FromWorker | None] | None = None) -> None:
    """Receive, into `said`, until that raises."""
    said = [] if said is None else said
    while True:
        said.append(link.receive(0.05))


def order(link: Link, task: Task, folder: Path, *, kind: str = "extract", **video: Any) -> None:
    source = folder / f"clip-{task.job}.mp4"
    source.write_bytes(fake_video(**video))
    request = ExtractRequest(
        source=str(source),
        workspace=str(folder / "ws"),
        role="src",
        slug=f"clip-{task.job}",
        person="alice",
        references=(),
        negatives=(),
        backend="dlib",
        model_root="",
        model_pack="",
        settings=ExtractSettings(),
    )
    for message in in_pieces(task, EXTRACT_CODECS.request.encode(request), Order(task, kind)):
        link.send(message)
    link.flush(5.0)


def test_a_worker_says_that_it_is_up_then_does_its_job_piece_by_piece(link: Link, tmp_path: Path) -> None:
    task = Task(1, 4)
    assert isinstance(next_message(link), Ready)
    order(link, task, tmp_path, frames=30)
    said = [next_message(link), next_message(link)]
    assert [type(one) for one in said] == [Readable, Opened]
    link.send(Begin(task, resumes=False))
    commits = []
    while isinstance(message := until(link, CommitMade, JobDone), CommitMade):
        assert message.task == task, "it says of which job and attempt it speaks"
        commits.append(message)
        assert link.receive(0.1) is None, "it waits until the piece is stored"
        link.send(Ack(task))
    assert len(commits) == 3
    assert message == JobDone(task)


FLOOD = (
    sys.executable,
    "-c",
    "import sys; from daemon.crew.messages import *; from engine.types import Progress; say = sys.stdout.buffer.write;"
    " say(message_bytes(Ready(1)));"
    " [say(message_bytes(ProgressMade(Task(1, 1), Progress(n, None, 0, 0, {})))) for n in range(20000)]",
)


def test_of_a_flood_of_progress_that_nobody_takes_the_newest_is_kept(hire: Callable[[tuple[str, ...]], Crew]) -> None:
    link = hire(FLOOD).open_link(0, NEEDS, 0)
    wait_until(lambda: not link.is_alive, "it waits although there is room")
    said: list[FromWorker | None] = []
    with pytest.raises(WorkerDiedError):
        drain(link, said)
    link.close()
    progress = [one.progress.frames_done for one in said if isinstance(one, ProgressMade)]
    assert said[0] == Ready(1)
    assert progress[-1] == 19999
    assert len(progress) < 1000, "what its pipe held as it ended, at most"


def test_a_worker_ends_the_piece_in_hand_when_it_is_asked_to_stop(link: Link, tmp_path: Path) -> None:
    task = Task(1, 1)
    order(link, task, tmp_path, frames=1000, pause_s=0.01)
    until(link, Opened)
    link.send(Begin(task, resumes=False))
    until(link, ProgressMade)
    link.send(Stop(task))
    until(link, CommitMade)
    link.send(Ack(task))
    pieces = []
    while isinstance(message := until(link, PieceSent, JobDone), PieceSent):
        pieces.append(message.value)
    assert EXTRACT_CODECS.result.decode(pieces).completed is False


def test_a_worker_whose_commit_is_refused_drops_the_job_and_takes_the_next(link: Link, tmp_path: Path) -> None:
    stale, task = Task(1, 1), Task(2, 1)
    order(link, stale, tmp_path, frames=1000)
    until(link, Opened)
    link.send(Begin(stale, resumes=False))
    until(link, CommitMade)
    link.send(Refuse(stale))
    order(link, task, tmp_path, frames=5)
    assert until(link, Opened, CommitMade, JobDone, JobFailed).task == task, "nothing more is said of the other"


@pytest.mark.parametrize("answer", [Order(Task(1, 2), "extract"), Ack(Task(1, 2)), Begin(Task(1, 1), resumes=False)])
def test_a_worker_takes_nothing_but_the_answer_to_its_own_commit_for_one(
    link: Link, tmp_path: Path, answer: ToWorker
) -> None:
    task = Task(1, 1)
    order(link, task, tmp_path, frames=1000)
    until(link, Opened)
    link.send(Begin(task, resumes=False))
    until(link, CommitMade)
    link.send(answer)
    with pytest.raises(WorkerDiedError, match="waits for Ack or Refuse"):
        drain(link)


def test_a_worker_refuses_a_kind_that_it_does_not_know_and_lives_on(link: Link, tmp_path: Path) -> None:
    order(link, Task(1, 1), tmp_path, kind="dance", frames=5)
    refusal = until(link, JobFailed)
    assert (refusal.failure.outlook, "dance" in refusal.failure.message) == ("setup", True)
    order(link, Task(2, 1), tmp_path, frames=5)
    until(link, Opened)


def test_a_worker_that_is_killed_is_dead_for_every_call(link: Link) -> None:
    next_message(link)
    assert link.is_alive
    link.kill()
    assert not link.is_alive
    with pytest.raises(WorkerDiedError):
        drain(link)
    with pytest.raises(WorkerDiedError):
        link.send(Order(Task(1, 1), "extract"))
    assert link.resident_bytes() == 0


def test_a_worker_that_dies_of_its_job_says_how(link: Link, tmp_path: Path) -> None:
    task = Task(1, 1)
    order(link, task, tmp_path, frames=30, die_at=3, signal=11)
    until(link, Opened)
    link.send(Begin(task, resumes=False))
    with pytest.raises(WorkerDiedError, match="SIGSEGV") as death:
        drain(link)
    assert death.value.signal == 11


SAYS = "import sys, time; sys.stdout.write({!r} + chr(10)); sys.stdout.flush(); sys.stdin.read()"


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        '{"type": "ready", "version": 1, "pid": 5}',
        '{"type": "ready", "pid": 5}',
        '{"type": "ready", "version": 2}',
        '{"type": "stop", "version": 2, "job": 1, "attempt": 1}',
    ],
)
def test_a_worker_that_says_what_is_no_message_of_this_version_is_ended(
    hire: Callable[[tuple[str, ...]], Crew], line: str
) -> None:
    link = hire((sys.executable, "-c", SAYS.format(line))).open_link(0, NEEDS, 0)
    with pytest.raises(WorkerError, match="the worker is replaced"):
        next_message(link)
    assert not link.is_alive


FLOODS = """
import sys
from daemon.crew import messages
piece = messages.message_bytes(messages.PieceSent(messages.Task(1, 1), {"a": "x" * 10_000}))
for _ in range(1000):
    sys.stdout.buffer.write(piece)
"""


def test_a_worker_that_sends_pieces_without_end_is_ended_at_the_limit(
    hire: Callable[[tuple[str, ...]], Crew], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.crew.messages.PIECES_BYTES_MAX", 1 << 20)
    link = hire((sys.executable, "-c", FLOODS)).open_link(0, NEEDS, 0)
    with pytest.raises(WorkerError, match="the worker is replaced"):
        drain(link)
    assert not link.is_alive


@pytest.mark.parametrize("line", [b"nonsense", b'{"type": "order", "version": 99}'])
def test_a_worker_that_does_not_understand_its_service_says_that_it_is_up_and_ends(line: bytes) -> None:
    command = [*FAKE_WORKER, "--parent", str(os.getpid())]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, env=child_environment()) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stderr is not None
        worker.stdin.write(line + b"\n")
        worker.stdin.flush()  # and it stays open: the worker has to end by itself
        assert worker.wait(30) == EXIT_PARENT_GONE
        assert isinstance(read_message(worker.stdout), Ready), "so its service learns of another version"
        assert b"WorkerError" in (said := worker.stderr.read()) or b"OtherVersionError" in said


def test_a_worker_ends_by_itself_when_its_link_is_closed(link: Link) -> None:
    next_message(link)
    link.close()
    assert not link.is_alive
