"""What every crew keeps, whoever its workers are: run over local child processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from daemon.crew.contract import Crew, Link, WorkerDiedError
from daemon.crew.local import LocalCrew
from daemon.crew.messages import VERSION, Message, Task, about, in_pieces, is_about
from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import Needs
from daemon.jobs.kinds.extract import EXTRACT_CODECS, ExtractRequest
from engine.types import ExtractSettings
from tests.daemon_rig import FAKE_WORKER, wait_until
from tests.fake_worker import fake_video

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


def next_message(link: Link) -> Message:
    found: list[Message] = []

    def received() -> bool:
        message = link.receive(0.05)
        if message is not None:
            found.append(message)
        return bool(found)

    wait_until(received, "the worker says nothing")
    return found[0]


def until(link: Link, *kinds: str) -> Message:
    """Return the next message of these kinds."""
    while (message := next_message(link))["type"] not in kinds:
        assert message["version"] == VERSION
    return message


def drain(link: Link) -> None:
    """Receive until that raises."""
    while True:
        link.receive(0.05)


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
        settings=asdict(ExtractSettings()),
    )
    for message in in_pieces(task, EXTRACT_CODECS.request.encode(request), about(task, "order", kind=kind)):
        link.send(message)
    link.flush(5.0)


def test_a_worker_says_that_it_is_up_then_does_its_job_piece_by_piece(link: Link, tmp_path: Path) -> None:
    task = Task(1, 4)
    assert next_message(link)["type"] == "ready"
    order(link, task, tmp_path, frames=30)
    said = [next_message(link), next_message(link)]
    assert [one["type"] for one in said] == ["readable", "opened"]
    link.send(about(task, "begin", resumes=False))
    commits = []
    while (message := until(link, "commit", "done"))["type"] == "commit":
        assert is_about(message, task), "it says of which job and attempt it speaks"
        commits.append(message)
        assert link.receive(0.1) is None, "it waits until the piece is stored"
        link.send(about(task, "ack"))
    assert len(commits) == 3
    assert is_about(message, task)


def test_a_worker_ends_the_piece_in_hand_when_it_is_asked_to_stop(link: Link, tmp_path: Path) -> None:
    task = Task(1, 1)
    order(link, task, tmp_path, frames=1000, pause_s=0.01)
    until(link, "opened")
    link.send(about(task, "begin", resumes=False))
    until(link, "progress")
    link.send(about(task, "stop"))
    until(link, "commit")
    link.send(about(task, "ack"))
    pieces = [until(link, "piece", "done")]
    while pieces[-1]["type"] == "piece":
        pieces.append(next_message(link))
    assert EXTRACT_CODECS.result.decode([one["value"] for one in pieces[:-1]]).completed is False


def test_a_worker_whose_commit_is_refused_drops_the_job_and_takes_the_next(link: Link, tmp_path: Path) -> None:
    stale, task = Task(1, 1), Task(2, 1)
    order(link, stale, tmp_path, frames=1000)
    until(link, "opened")
    link.send(about(stale, "begin", resumes=False))
    until(link, "commit")
    link.send(about(stale, "refuse"))
    order(link, task, tmp_path, frames=5)
    assert is_about(until(link, "opened", "commit", "done", "failed"), task), "nothing more is said of the other"


@pytest.mark.parametrize(
    ("answer", "attempt"), [("order", 2), ("ack", 2), ("begin", 1)], ids=["an order", "of another attempt", "no answer"]
)
def test_a_worker_takes_nothing_but_the_answer_to_its_own_commit_for_one(
    link: Link, tmp_path: Path, answer: str, attempt: int
) -> None:
    task = Task(1, 1)
    order(link, task, tmp_path, frames=1000)
    until(link, "opened")
    link.send(about(task, "begin", resumes=False))
    until(link, "commit")
    link.send(about(Task(1, attempt), answer, kind="extract", resumes=False))
    with pytest.raises(WorkerDiedError, match="waits for ack or refuse"):
        drain(link)


def test_a_worker_refuses_a_kind_that_it_does_not_know_and_lives_on(link: Link, tmp_path: Path) -> None:
    order(link, Task(1, 1), tmp_path, kind="dance", frames=5)
    refusal = until(link, "failed")
    assert (refusal["outlook"], "dance" in refusal["message"]) == ("setup", True)
    order(link, Task(2, 1), tmp_path, frames=5)
    until(link, "opened")


def test_a_worker_that_is_killed_is_dead_for_every_call(link: Link) -> None:
    next_message(link)
    assert link.is_alive
    link.kill()
    assert not link.is_alive
    with pytest.raises(WorkerDiedError):
        drain(link)
    with pytest.raises(WorkerDiedError):
        link.send({"type": "order"})
    assert link.resident_bytes() == 0


def test_a_worker_that_dies_of_its_job_says_how(link: Link, tmp_path: Path) -> None:
    task = Task(1, 1)
    order(link, task, tmp_path, frames=30, die_at=3, signal=11)
    until(link, "opened")
    link.send(about(task, "begin", resumes=False))
    with pytest.raises(WorkerDiedError, match="SIGSEGV") as death:
        drain(link)
    assert death.value.signal == 11


SAYS = "import sys, time; sys.stdout.write({!r} + chr(10)); sys.stdout.flush(); sys.stdin.read()"


@pytest.mark.parametrize("line", ["nonsense", '{"type": "ready", "version": 1}', '{"type": "ready"}'])
def test_a_worker_that_says_what_is_no_message_of_this_version_is_ended(
    hire: Callable[[tuple[str, ...]], Crew], line: str
) -> None:
    link = hire((sys.executable, "-c", SAYS.format(line))).open_link(0, NEEDS, 0)
    with pytest.raises(WorkerError, match="the worker is replaced"):
        next_message(link)
    assert not link.is_alive


def test_a_worker_ends_by_itself_when_its_link_is_closed(link: Link) -> None:
    next_message(link)
    link.close()
    assert not link.is_alive
