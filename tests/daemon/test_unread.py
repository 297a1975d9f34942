"""What a worker said waits in bounded memory, in its order."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from daemon.crew.messages import CommitMade, JobDone, Opened, ProgressMade, Readable, Task
from daemon.crew.unread import Ended, Said, Unread
from daemon.errors import WorkerError
from engine.types import Progress

TASK = Task(1, 1)


def progress(frames: int, task: Task = TASK) -> ProgressMade:
    return ProgressMade(task, Progress(frames, None, 0, 0, {}))


def taken(unread: Unread) -> list[Said]:
    found = []
    while (said := unread.take(0.0)) is not None and not isinstance(said, Ended):
        found.append(said)
    return found


def test_of_progress_in_a_row_the_newest_alone_is_kept_and_nothing_changes_its_place() -> None:
    unread = Unread()
    said = [progress(1), progress(2), Readable(TASK), progress(3), progress(4, Task(2, 1)), progress(5)]
    for one in said:
        unread.put(one)
    assert taken(unread) == said[1:]


def later(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("answered", [CommitMade(TASK), JobDone(TASK)])
def test_nothing_is_read_behind_what_a_worker_waits_for_an_answer_to(answered: Said) -> None:
    unread = Unread()
    unread.put(answered)
    reader = later(lambda: unread.put(Readable(TASK)))
    assert unread.take(10.0) == answered
    reader.join(10.0)
    assert taken(unread) == [Readable(TASK)]


def test_a_flood_of_other_messages_waits_for_room_and_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.crew.unread.UNREAD_MAX", 3)
    unread = Unread()
    said = [Opened(TASK, str(number)) for number in range(100)]
    reader = later(lambda: [unread.put(one) for one in said])
    assert [unread.take(10.0) for _ in said] == said
    reader.join(10.0)


def test_who_waits_for_room_goes_on_once_nobody_takes_anything() -> None:
    unread = Unread()
    unread.put(CommitMade(TASK))
    reader = later(lambda: unread.put(Ended()))
    unread.close()
    reader.join(10.0)
    assert not reader.is_alive()


def test_that_a_worker_ended_is_said_again_and_again() -> None:
    unread = Unread()
    problem = WorkerError("nonsense")
    unread.put(problem)
    unread.put(Ended())
    assert unread.take(0.0) is problem
    assert isinstance(unread.take(0.0), Ended)
    assert isinstance(unread.take(0.0), Ended)
    assert Unread().take(0.0) is None
