"""A conversation obeys the ledger: an attempt that another one has followed stores nothing more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from daemon.crew.contract import Link
from daemon.crew.local import LocalCrew
from daemon.crew.messages import CommitMade, FromWorker, Opened, PieceSent, Readable, Task, ToWorker
from daemon.errors import WorkerError
from daemon.events.event import Event
from daemon.jobs.conversation import Conversation, Done, RunState, StoppedError
from daemon.jobs.disk import DiskGuard
from daemon.jobs.kinds.contract import Needs
from daemon.jobs.kinds.registry import OF_ARRIVALS
from daemon.jobs.running_job import Running
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.faces import written_faces
from daemon.ledger.jobs import Job, NoTransitionError, StaleAttemptError
from daemon.ledger.ledger import Ledger
from daemon.ledger.transitions import JobEvent
from tests.daemon_rig import FAKE_WORKER, Rig, wait_until
from tests.fake_worker import fake_video


@pytest.fixture
def ledger(rig: Rig) -> Iterator[Ledger]:
    (rig.base / "state").mkdir()
    one = Ledger(rig.base / "state" / "ledger.db")
    yield one
    one.close()


@pytest.fixture
def link() -> Iterator[Link]:
    one = LocalCrew(command=FAKE_WORKER).open_link(0, Needs(models=False, gpu=False), 0)
    yield one
    one.kill()


def started(rig: Rig, ledger: Ledger, **video: object) -> Job:
    """Claim a pretended video and start its job."""
    (rig.inbox / "clip.mp4").write_bytes(fake_video(**video))
    arrival = Arrival(
        kind=OF_ARRIVALS.name,
        inbox="alice",
        path=b"clip.mp4",
        source_kind="video",
        file_state="i1",
        sha256="c" * 64,
        size_bytes=5,
        arrived_s=1.0,
        workspace=str(rig.workspace),
        role="src",
        slugs=("clip",),
        priority=5,
    )
    ledger.write(lambda writer: claim(writer, arrival, now_s=1.0, on_duplicate="skip", earlier_is_there=True))
    return started_again(ledger)


def started_again(ledger: Ledger) -> Job:
    job = ledger.write(lambda writer: table.start_next(writer, now_s=2.0, inboxes=["alice"], longest_wait_s=60.0))
    assert job is not None
    return job


def hold(rig: Rig, ledger: Ledger, link: Link, job: Job, wanted: threading.Event | None = None) -> object:
    """Hold the conversation; return how it ended, an exception as a value. `wanted`: set when the job is to stop."""
    config = rig.config
    (inbox,) = config.inboxes
    request = OF_ARRIVALS.request
    order = ledger.read(lambda reader: request(job, inbox, config, reader, now_s=3.0))
    assert isinstance(order, tuple)
    state = RunState(monotonic=lambda: 0.0)
    state.running = Running(job.id, inbox.name, "clip.mp4", "trying", 0.0, kind="extract", unit="frames")

    def notify(_event: Event) -> None:
        pass

    conversation = Conversation(
        link=link,
        job=job,
        kind=OF_ARRIVALS,
        config=config,
        workspace=inbox.workspace,
        request=lambda: "stop" if wanted is not None and wanted.is_set() else "",
        ledger=ledger,
        guard=DiskGuard(config.disk),
        notify=notify,
        state=state,
        stopping=threading.Event(),
    )
    try:
        return conversation.hold(order)
    except (StaleAttemptError, NoTransitionError, StoppedError) as end:
        return end


def test_a_job_is_seen_through_and_its_pieces_are_stored(rig: Rig, ledger: Ledger, link: Link) -> None:
    job = started(rig, ledger, frames=30)
    ended = hold(rig, ledger, link, job)
    assert isinstance(ended, Done)
    assert OF_ARRIVALS.ending(job, ended.result).completed
    assert len(ledger.read(lambda reader: written_faces(reader, job.id))) == 30


def test_a_commit_is_refused_once_another_attempt_has_begun_and_the_worker_lives_on(
    rig: Rig, ledger: Ledger, link: Link
) -> None:
    first = started(rig, ledger, frames=60, pause_s=0.03)
    ends: list[object] = []
    talk = threading.Thread(target=lambda: ends.append(hold(rig, ledger, link, first)))
    talk.start()
    wait_until(lambda: len(ledger.read(lambda reader: written_faces(reader, first.id))) == 10, "the first piece")
    ledger.write(lambda writer: table.apply(writer, first.id, JobEvent.GIVE_BACK))
    second = started_again(ledger)
    talk.join(30)
    assert isinstance(ends[0], StaleAttemptError)
    assert len(ledger.read(lambda reader: written_faces(reader, first.id))) == 10, "nothing more was stored"
    assert isinstance(hold(rig, ledger, link, second), Done), "the same worker does the attempt that holds"
    assert len(ledger.read(lambda reader: written_faces(reader, first.id))) == 60


def test_a_commit_of_a_job_that_was_ended_is_refused_and_the_worker_takes_the_next(
    rig: Rig, ledger: Ledger, link: Link
) -> None:
    job = started(rig, ledger, frames=60, pause_s=0.03)
    ends: list[object] = []
    talk = threading.Thread(target=lambda: ends.append(hold(rig, ledger, link, job)))
    talk.start()
    wait_until(lambda: len(ledger.read(lambda reader: written_faces(reader, job.id))) == 10, "the first piece")
    ledger.write(lambda writer: table.cancel(writer, job.id, now_s=3.0))
    talk.join(30)
    assert isinstance(ends[0], NoTransitionError)
    assert len(ledger.read(lambda reader: written_faces(reader, job.id))) == 10, "nothing more was stored"
    ledger.write(lambda writer: table.apply(writer, job.id, JobEvent.RETRY))
    again = started_again(ledger)
    assert isinstance(hold(rig, ledger, link, again), Done)
    assert len(ledger.read(lambda reader: written_faces(reader, job.id))) == 60


class Scripted:
    """A link whose worker says what it was given to say."""

    is_alive = True

    def __init__(self, *says: FromWorker) -> None:
        self._says = list(says)

    def send(self, _message: ToWorker) -> int:
        return 0

    def flush(self, _timeout_s: float) -> int:
        return 0

    def receive(self, _timeout_s: float) -> FromWorker | None:
        return self._says.pop(0) if self._says else None

    def resident_bytes(self) -> int:
        return 0

    def kill(self) -> None:
        self.is_alive = False

    def close(self) -> None:
        self.is_alive = False


def test_a_commit_that_is_none_is_the_fault_of_its_worker_and_nothing_is_stored(rig: Rig, ledger: Ledger) -> None:
    job = started(rig, ledger, frames=30)
    task = Task(job.id, job.attempt)
    says = (Readable(task), Opened(task, "b"), PieceSent(task, {"cursor": {"no": 1}}), CommitMade(task))
    with pytest.raises(WorkerError, match="the worker is replaced"):
        hold(rig, ledger, Scripted(*says), job)
    after = ledger.read(lambda reader: table.job_by_id(reader, job.id))
    assert after is not None
    assert (after.next_frame, after.state) == (0, job.state)


def test_a_stop_ends_at_a_piece_and_leaves_the_worker_free(rig: Rig, ledger: Ledger, link: Link) -> None:
    job, wanted = started(rig, ledger, frames=1000, pause_s=0.01), threading.Event()
    wanted.set()
    ended = hold(rig, ledger, link, job, wanted)
    assert isinstance(ended, StoppedError)
    assert (ended.request, ended.worker_is_free, link.is_alive) == ("stop", True, True)


def test_an_attempt_that_is_over_before_it_begins_takes_nothing_away(rig: Rig, ledger: Ledger, link: Link) -> None:
    first = started(rig, ledger, frames=30)
    ledger.write(lambda writer: table.apply(writer, first.id, JobEvent.GIVE_BACK))
    second = started_again(ledger)
    assert isinstance(hold(rig, ledger, link, second), Done)
    another = LocalCrew(command=FAKE_WORKER).open_link(1, Needs(models=False, gpu=False), 0)
    try:
        assert isinstance(hold(rig, ledger, another, first), StaleAttemptError)
    finally:
        another.kill()
    assert len(ledger.read(lambda reader: written_faces(reader, first.id))) == 30
