"""The workers of one slot: each kept for the next job that needs what it has, and ended when memory is short."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daemon.crew.contract import Link
from daemon.crew.kept_links import KeptLinks
from daemon.crew.messages import FromWorker, ToWorker
from daemon.jobs.kinds.contract import Needs

MODELS, SMALL, TINY = (Needs(models=True, gpu=True), Needs(models=False, gpu=False), Needs(False, False, 1))
LIMIT = 1000


class FakeLink:
    """A worker that only has a size and an end."""

    def __init__(self, size: int) -> None:
        self.size, self.is_alive = size, True

    def send(self, message: ToWorker) -> int:
        raise NotImplementedError

    def flush(self, timeout_s: float) -> int:
        raise NotImplementedError

    def receive(self, timeout_s: float) -> FromWorker | None:
        raise NotImplementedError

    def resident_bytes(self) -> int:
        return self.size if self.is_alive else 0

    def kill(self) -> None:
        self.is_alive = False

    def close(self) -> None:
        self.is_alive = False


class FakeCrew:
    def __init__(self) -> None:
        self.opened: list[tuple[Needs, FakeLink]] = []

    def open_link(self, slot: int, needs: Needs, memory_bytes: int) -> Link:  # noqa: ARG002
        link = FakeLink(400)
        self.opened.append((needs, link))
        return link


@pytest.fixture
def crew() -> FakeCrew:
    return FakeCrew()


@pytest.fixture
def kept(crew: FakeCrew) -> KeptLinks:
    return KeptLinks(crew, 0)


def test_jobs_that_need_the_same_have_one_worker_and_another_job_in_between_does_not_end_it(
    crew: FakeCrew, kept: KeptLinks
) -> None:
    first = kept.use(MODELS, LIMIT)
    kept.use(SMALL, LIMIT)
    assert kept.use(MODELS, LIMIT) is first
    assert [needs for needs, _ in crew.opened] == [MODELS, SMALL]


def test_idle_workers_are_ended_before_the_running_job_has_too_little_memory(crew: FakeCrew, kept: KeptLinks) -> None:
    for needs in (MODELS, TINY, SMALL):
        kept.use(needs, LIMIT)
    assert kept.drop_idle_above(LIMIT, busy=SMALL) == 1
    assert [link.is_alive for _, link in crew.opened] == [False, True, True], "the one that was idle longest"
    crew.opened[2][1].size = 5 * LIMIT
    assert kept.drop_idle_above(LIMIT, busy=SMALL) == 1
    assert kept.drop_idle_above(LIMIT, busy=SMALL) == 0, "the busy one is its own job's business"
    assert [link.is_alive for _, link in crew.opened] == [False, False, True]


@pytest.mark.parametrize("end", [KeptLinks.drop_all, KeptLinks.close_all])
def test_all_are_ended_together(end: Callable[[KeptLinks], int], crew: FakeCrew, kept: KeptLinks) -> None:
    for needs in (MODELS, SMALL):
        kept.use(needs, LIMIT)
    assert end(kept) == 2
    assert not any(link.is_alive for _, link in crew.opened)
    assert kept.find(MODELS) is None


def test_one_that_is_dropped_gives_its_place_to_a_new_one(crew: FakeCrew, kept: KeptLinks) -> None:
    first = kept.use(MODELS, LIMIT)
    assert kept.drop(MODELS)
    assert not kept.drop(MODELS)
    assert kept.use(MODELS, LIMIT) is not first
    assert not first.link.is_alive


def test_another_thread_may_kill_all_and_the_slot_finds_them_dead(crew: FakeCrew, kept: KeptLinks) -> None:
    kept.use(MODELS, LIMIT)
    kept.kill_all()
    found = kept.find(MODELS)
    assert found is not None
    assert not found.link.is_alive
