"""Content becomes a job, jobs run in order, faces and cursor move together."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.jobs.kinds.registry import KINDS
from daemon.ledger import extraction, faces
from daemon.ledger import jobs as table
from daemon.ledger.claims import AGEING_S, Arrival, Claim, claim, forget_files, holder_of_dst, known_files, rank
from daemon.ledger.faces import written_faces
from daemon.ledger.jobs import Job, NoTransitionError, StaleAttemptError
from daemon.ledger.ledger import Ledger
from daemon.ledger.totals import totals
from daemon.ledger.transitions import JobEvent
from engine.face_record import FaceRecord
from engine.types import Commit, Counts, Cursor
from tests.ledger_rows import set_row

NOW = 1_000_000.0
CLIP = Arrival(
    inbox="alice",
    path=b"clip.mp4",
    kind="extract",
    source_kind="video",
    file_state="i1",
    sha256="c" * 64,
    size_bytes=5,
    arrived_s=NOW - 60,
    workspace="/ws",
    role="src",
    slugs=("clip", "clip-2"),
    priority=5,
)
Policy = Literal["skip", "reprocess", "quarantine"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    one = Ledger(tmp_path / "ledger.db")
    yield one
    one.close()


def arrive(ledger: Ledger, arrival: Arrival, policy: Policy = "skip", *, earlier_is_there: bool = True) -> Claim:
    return ledger.write(
        lambda writer: claim(writer, arrival, now_s=NOW, on_duplicate=policy, earlier_is_there=earlier_is_there)
    )


def next_job(ledger: Ledger, now_s: float = NOW, inboxes: tuple[str, ...] = ("alice", "bob")) -> Job | None:
    return ledger.write(lambda writer: table.start_next(writer, now_s=now_s, inboxes=inboxes, longest_wait_s=60.0))


def begun(ledger: Ledger, arrival: Arrival) -> Job:
    arrive(ledger, arrival)
    job = next_job(ledger)
    assert job is not None
    return job


def face(frame: int, file: str | None = None) -> FaceRecord:
    return FaceRecord(frame, frame * 40, 0, (0.1, 1 / 3, 2.5, 7.0), 0.9, 1 / 7, file is not None, "accepted", file)


def test_new_content_becomes_a_job(ledger: Ledger) -> None:
    made = arrive(ledger, CLIP)
    assert (made.outcome, made.job.state, made.job.slug) == ("queued", "queued", "clip")
    assert ledger.read(lambda reader: known_files(reader, "alice")) == {b"clip.mp4": "i1"}


def test_a_touched_file_is_known(ledger: Ledger) -> None:
    arrive(ledger, CLIP)
    assert arrive(ledger, replace(CLIP, file_state="i2")).outcome == "known"
    assert ledger.read(lambda reader: known_files(reader, "alice")) == {b"clip.mp4": "i2"}


def test_the_same_content_is_another_job_in_another_inbox(ledger: Ledger) -> None:
    arrive(ledger, CLIP)
    assert arrive(ledger, replace(CLIP, inbox="bob", workspace="/ws2")).outcome == "queued"


def test_other_content_of_the_same_name_gets_a_slug_of_its_own(ledger: Ledger) -> None:
    arrive(ledger, CLIP)
    second = arrive(ledger, replace(CLIP, file_state="i2", sha256="d" * 64))
    third = arrive(ledger, replace(CLIP, file_state="i3", sha256="e" * 64))
    assert (second.job.slug, third.job.slug) == ("clip-2", "clip-eeeeeeeeeeee")


def test_a_second_copy_is_a_duplicate_that_names_the_earlier_job(ledger: Ledger) -> None:
    first = arrive(ledger, CLIP)
    second = arrive(ledger, replace(CLIP, path=b"copy.mp4", file_state="i2"))
    assert (second.outcome, second.job.id) == ("duplicate", first.job.id)
    assert f"job {first.job.id}" in second.message


@pytest.mark.parametrize(("policy", "outcome"), [("skip", "back"), ("quarantine", "duplicate")])
def test_an_original_that_was_moved_and_is_back_is_no_copy_of_itself(
    ledger: Ledger, policy: Policy, outcome: str
) -> None:
    job = arrive(ledger, CLIP).job
    set_row(ledger, job.id, state="done", original="moved")
    back = arrive(ledger, replace(CLIP, file_state="i2"), policy)
    assert back.outcome == outcome
    if outcome == "back":
        assert back.job.file_state == "i2", "a retry takes it as it is now"


def test_a_job_follows_its_file_to_a_new_name(ledger: Ledger) -> None:
    arrive(ledger, CLIP)
    moved = arrive(ledger, replace(CLIP, path=b"renamed.mp4"), earlier_is_there=False)
    assert (moved.outcome, moved.job.path) == ("moved", b"renamed.mp4")


@pytest.mark.parametrize("state", ["failed", "quarantined", "cancelled", "gone"])
def test_content_that_had_no_success_is_tried_again_when_it_comes_back(ledger: Ledger, state: str) -> None:
    first = arrive(ledger, CLIP)
    set_row(ledger, first.job.id, state=state, deaths=3, attempts=8)
    ledger.write(lambda writer: forget_files(writer, "alice", [b"clip.mp4"]))
    again = arrive(ledger, CLIP)
    assert (again.outcome, again.job.id, again.job.state) == ("again", first.job.id, "queued")
    assert (again.job.deaths, again.job.attempts) == (0, 0)


def test_done_content_is_done_once_more_only_where_that_is_wanted(ledger: Ledger) -> None:
    first = arrive(ledger, CLIP)
    set_row(ledger, first.job.id, state="done", basis="b")
    copy = replace(CLIP, path=b"copy.mp4", file_state="i2")
    assert arrive(ledger, copy, "quarantine").outcome == "duplicate"
    ledger.write(lambda writer: forget_files(writer, "alice", [b"copy.mp4"]))
    again = arrive(ledger, copy, "reprocess")
    assert (again.outcome, again.job.state, again.job.path) == ("reprocess", "queued", b"copy.mp4")
    assert again.job.basis != "b", "it begins at the beginning"


def test_a_dst_workspace_takes_one_clip_until_that_is_given_up(ledger: Ledger) -> None:
    first = arrive(ledger, replace(CLIP, role="dst"))
    second = arrive(ledger, replace(CLIP, role="dst", sha256="d" * 64, path=b"b.mp4", slugs=("b",)))
    assert (second.outcome, second.job.state, second.job.reason) == ("refused", "failed", "workspace_taken")
    set_row(ledger, first.job.id, state="cancelled")
    third = arrive(ledger, replace(CLIP, role="dst", sha256="e" * 64, path=b"c.mp4", slugs=("c",)))
    assert third.outcome == "queued"


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 100)), min_size=2, max_size=8), st.floats(2e5, 3e5))
def test_the_order_is_priority_plus_one_for_each_spell_of_waiting(
    waiting: list[tuple[float, int]], now_s: float
) -> None:
    def effective(one: tuple[float, int]) -> float:
        return one[1] + (now_s - one[0]) / AGEING_S

    by_rank = sorted(waiting, key=lambda one: rank(*one))
    assert all(effective(a) >= effective(b) - 1e-6 for a, b in pairwise(by_rank))


def test_high_priority_goes_first_oldest_first_within_and_nothing_starves(ledger: Ledger) -> None:
    day = 86_400.0
    made = [("low, a day old", 0, NOW - day), ("high", 9, NOW), ("high, older", 9, NOW - 1), ("normal", 5, NOW - 2)]
    for number, (name, priority, arrived_s) in enumerate(made):
        arrive(
            ledger,
            replace(CLIP, path=name.encode(), sha256=f"{number}", slugs=(f"s{number}",), priority=priority,
                    arrived_s=arrived_s),
        )  # fmt: skip
    order = []
    while (job := next_job(ledger)) is not None:
        order.append(job.path.decode())
        set_row(ledger, job.id, state="done")
    assert order == ["low, a day old", "high, older", "high", "normal"]


def test_an_inbox_with_a_running_job_lets_the_others_go_first(ledger: Ledger) -> None:
    made = [("alice", 5, 9), ("alice", 5, 8), ("alice", 5, 7), ("bob", 0, 1), ("bob", 0, 0)]
    for number, (inbox, priority, age_s) in enumerate(made):
        arrive(
            ledger,
            replace(CLIP, inbox=inbox, path=f"{number}".encode(), sha256=f"{number}", slugs=(f"s{number}",),
                    priority=priority, arrived_s=NOW - age_s),
        )  # fmt: skip
    order = []
    while (job := next_job(ledger)) is not None:  # every one stays running, as with as many workers
        order.append(job.inbox)
    assert order == ["alice", "bob", "alice", "bob", "alice"]


def test_a_job_that_waits_starts_when_its_time_has_come_and_only_for_inboxes_that_may(ledger: Ledger) -> None:
    job = arrive(ledger, CLIP).job
    set_row(ledger, job.id, state="waiting", not_before_s=NOW + 30)
    assert next_job(ledger) is None
    assert next_job(ledger, NOW + 30, inboxes=("bob",)) is None
    started = next_job(ledger, NOW + 30)
    assert started is not None
    assert (started.id, started.state, started.started_s) == (job.id, "running", NOW + 30)
    assert ledger.write(table.interrupted_to_queue) == 1
    assert next_job(ledger, NOW + 31) is not None


@pytest.mark.parametrize("back_s", [0.0, 59.0, 3600.0, 86_400.0 * 365])
def test_no_job_waits_longer_than_the_longest_wait_however_far_the_clock_is_set_back(
    ledger: Ledger, back_s: float
) -> None:
    job = arrive(ledger, CLIP).job
    set_row(ledger, job.id, state="waiting", not_before_s=NOW + 30)
    now_s = NOW - back_s
    assert next_job(ledger, now_s) or next_job(ledger, now_s + 60)


def test_commits_are_handed_back_exactly_and_in_order(ledger: Ledger) -> None:
    job = begun(ledger, CLIP)
    assert ledger.read(lambda reader: extraction.resume_of(reader, job)) is None
    commits = [
        Commit(Cursor(64, 2520), (face(3, "clip-00000003_0.jpg"), face(5)), Counts(64, 64, 1), "carry 1"),
        Commit(Cursor(128, None), (face(70, "clip-00000070_0.jpg"),), Counts(128, 120, 1), "carry 2"),
    ]
    for one in commits:
        ledger.write(lambda writer, one=one: extraction.store_commit(writer, job.id, job.attempt, one))  # type: ignore[misc]
    stored = ledger.read(lambda reader: table.job_by_id(reader, job.id))
    assert stored is not None
    resume = ledger.read(lambda reader: extraction.resume_of(reader, stored))
    assert resume is not None
    assert (resume.cursor, resume.counts, resume.carry) == (Cursor(128, None), Counts(128, 120, 1), "carry 2")
    assert resume.records == (*commits[0].records, *commits[1].records)
    counted = ledger.read(totals)
    assert counted["alice", "frames_decoded"] == 128
    assert counted["alice", "packets_damaged"] == 1
    assert counted["alice", "faces_accepted"] == 3


def test_a_face_that_the_end_of_its_clip_judges_anew_stands_in_the_ledger_as_it_ended(ledger: Ledger) -> None:
    job = begun(ledger, CLIP)
    doubtful = replace(face(5, "clip-00000005_0.jpg"), kept=False, reason="review")
    twice = face(7, "clip-00000007_0.jpg")
    cursor, counts = Cursor(64, 2520), Counts(64, 64, 0)
    accepted = replace(doubtful, kept=True, reason="accepted_in_video")
    dropped = replace(twice, kept=False, reason="near_duplicate", file=None)
    for one in (
        Commit(cursor, (face(3, "clip-00000003_0.jpg"), doubtful, twice), counts, "carry"),
        Commit(cursor, (), counts, "carry", ((1, accepted), (2, dropped))),
    ):
        ledger.write(lambda writer, one=one: extraction.store_commit(writer, job.id, job.attempt, one))  # type: ignore[misc]
    stored = ledger.read(lambda reader: table.job_by_id(reader, job.id))
    assert stored is not None
    resume = ledger.read(lambda reader: extraction.resume_of(reader, stored))
    assert resume is not None
    assert resume.records == (face(3, "clip-00000003_0.jpg"), accepted, dropped)
    rows = ledger.read(lambda reader: reader.execute("SELECT kept, reason, file FROM faces ORDER BY place").fetchall())
    assert [tuple(row) for row in rows[1:]] == [
        (1, "accepted_in_video", "clip-00000005_0.jpg"),
        (0, "near_duplicate", None),
    ]
    counted = ledger.read(totals)
    assert counted["alice", "faces_written"] == 2, "two files are there"
    assert (counted["alice", "frames_decoded"], counted["alice", "faces_accepted_in_video"]) == (64, 1)


def test_a_commit_that_fails_moves_neither_faces_nor_cursor(ledger: Ledger) -> None:
    job = begun(ledger, CLIP)
    twice = Commit(Cursor(64, 2520), (face(3, "a.jpg"), face(3, "a.jpg")), Counts(64, 64, 0), "")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        ledger.write(lambda writer: extraction.store_commit(writer, job.id, job.attempt, twice))
    stored = ledger.read(lambda reader: table.job_by_id(reader, job.id))
    assert stored is not None
    assert stored.next_frame == 0
    assert ledger.read(lambda reader: faces.written_faces(reader, job.id)) == []


def test_starting_over_forgets_faces_and_cursor(ledger: Ledger) -> None:
    job = begun(ledger, CLIP)
    one = Commit(Cursor(64, 2520), (face(3, "a.jpg"),), Counts(64, 64, 0), "carry")
    ledger.write(lambda writer: extraction.store_commit(writer, job.id, job.attempt, one))
    ledger.write(lambda writer: extraction.start_over(writer, job, "new basis"))
    stored = ledger.read(lambda reader: table.job_by_id(reader, job.id))
    assert stored is not None
    assert (stored.next_frame, stored.carry, stored.basis) == (0, "", "new basis")
    assert ledger.read(lambda reader: extraction.resume_of(reader, stored)) is None


def test_slugs_that_differ_in_capitals_only_are_one_name(ledger: Ledger) -> None:
    arrive(ledger, replace(CLIP, slugs=("Clip", "Clip-2")))
    second = arrive(ledger, replace(CLIP, sha256="d" * 64, path=b"CLIP.MP4", slugs=("CLIP", "CLIP-2")))
    third = arrive(ledger, replace(CLIP, sha256="e" * 64, path=b"b/clip.mp4", slugs=("clip", "clip-2")))
    slugs = [job.slug for job in (second.job, third.job)]
    assert slugs[0] == "CLIP-2"
    assert len({"clip", *(slug.casefold() for slug in slugs)}) == 3


def test_new_content_of_a_file_that_changed_takes_its_name_over(ledger: Ledger) -> None:
    first = arrive(ledger, CLIP)
    set_row(ledger, first.job.id, state="gone", reason="changed")
    second = arrive(ledger, replace(CLIP, sha256="d" * 64))
    assert second.job.slug == "clip"
    third = arrive(ledger, replace(CLIP, sha256="e" * 64, path=b"other/clip.mp4"))
    assert third.job.slug == "clip-2"


def test_a_commit_of_an_attempt_that_another_one_has_followed_is_refused(ledger: Ledger) -> None:
    first = begun(ledger, CLIP)
    ledger.write(lambda writer: table.apply(writer, first.id, JobEvent.STOP, attempt=first.attempt))
    second = next_job(ledger)
    assert second is not None
    assert second.attempt == first.attempt + 1
    one = Commit(Cursor(64, 2520), (face(3, "a.jpg"),), Counts(64, 64, 0), "carry")
    with pytest.raises(StaleAttemptError, match=f"attempt {first.attempt} is over"):
        ledger.write(lambda writer: extraction.store_commit(writer, first.id, first.attempt, one))
    with pytest.raises(StaleAttemptError):
        ledger.write(lambda writer: table.apply(writer, first.id, JobEvent.FINISH, attempt=first.attempt))
    assert ledger.read(lambda reader: written_faces(reader, first.id)) == []
    assert ledger.read(totals) == {}, "a refused commit counts nothing"
    ledger.write(lambda writer: extraction.store_commit(writer, second.id, second.attempt, one))
    assert [one.file for one in ledger.read(lambda reader: written_faces(reader, first.id))] == ["a.jpg"]


def followed(ledger: Ledger) -> tuple[Job, Job]:
    """Return a job as its first attempt had it and as its second one has it, which has stored a commit."""
    first = begun(ledger, CLIP)
    ledger.write(lambda writer: table.apply(writer, first.id, JobEvent.STOP, attempt=first.attempt))
    second = next_job(ledger)
    assert second is not None
    one = Commit(Cursor(64, 2520), (face(3, "a.jpg"),), Counts(64, 64, 0), "carry")
    ledger.write(lambda writer: extraction.store_commit(writer, second.id, second.attempt, one))
    return first, second


@pytest.mark.parametrize("name", KINDS)
def test_an_attempt_that_another_one_has_followed_cannot_start_over(ledger: Ledger, name: str) -> None:
    first, second = followed(ledger)
    before = ledger.read(lambda reader: table.job_by_id(reader, second.id))
    with pytest.raises(StaleAttemptError, match=f"attempt {first.attempt} is over"):
        ledger.write(lambda writer: KINDS[name].start_over(writer, first, "another basis"))
    assert ledger.read(lambda reader: table.job_by_id(reader, second.id)) == before, "cursor, carry and basis stay"
    assert [one.file for one in ledger.read(lambda reader: written_faces(reader, second.id))] == ["a.jpg"]
    ledger.write(lambda writer: KINDS[name].start_over(writer, second, "another basis"))
    after = ledger.read(lambda reader: table.job_by_id(reader, second.id))
    assert after is not None
    assert (after.next_frame, after.basis) == (0, "another basis")


def test_an_attempt_that_another_one_has_followed_does_not_give_its_job_back(ledger: Ledger) -> None:
    first, second = followed(ledger)
    ledger.write(lambda writer: table.give_back(writer, first))
    stored = ledger.read(lambda reader: table.job_by_id(reader, second.id))
    assert stored is not None
    assert (stored.state, stored.attempt) == ("running", second.attempt), "another thread works on it"
    ledger.write(lambda writer: table.give_back(writer, second))
    again = ledger.read(lambda reader: table.job_by_id(reader, second.id))
    assert again is not None
    assert again.state == "queued"


@pytest.mark.parametrize("column", ["state", "attempt"])
def test_only_an_event_changes_state_and_attempt(ledger: Ledger, column: str) -> None:
    job = begun(ledger, CLIP)
    with pytest.raises(ValueError, match=f"^{column} of a job"):
        ledger.write(lambda writer: table.update(writer, job.id, **{column: "gone"}))
    with pytest.raises(ValueError, match="^state of a job"):
        ledger.write(lambda writer: table.apply(writer, job.id, JobEvent.FINISH, state="gone"))
    assert ledger.read(lambda reader: table.job_by_id(reader, job.id)) == job


def test_a_job_about_another_one_takes_neither_its_content_nor_its_name(ledger: Ledger) -> None:
    job = arrive(ledger, replace(CLIP, role="dst")).job
    about = ledger.write(
        lambda writer: table.queue_about(writer, "other", job, request="{}", rank=rank(NOW, 0), now_s=NOW)
    )
    assert (about.subject, about.kind, about.state, about.slug) == (job.id, "other", "queued", job.slug)
    again = arrive(ledger, replace(CLIP, role="dst", path=b"copy.mp4"))
    assert (again.outcome, again.job.id) == ("duplicate", job.id)
    assert ledger.read(lambda reader: holder_of_dst(reader, "/ws", job.id)) is None
    first = next_job(ledger)
    assert first is not None
    assert first.id == job.id, "what arrived goes first"
    repeated = ledger.write(
        lambda writer: table.queue_about(writer, "other", job, request="again", rank=rank(NOW, 0), now_s=NOW)
    )
    assert (repeated.id, repeated.request) == (about.id, "again"), "one job of a kind about each job"
    ledger.write(lambda writer: writer.execute("DELETE FROM jobs WHERE id = ?", (job.id,)))
    assert ledger.read(lambda reader: table.job_by_id(reader, about.id)) is None


def test_a_job_about_another_one_that_runs_takes_no_other_request(ledger: Ledger) -> None:
    job = begun(ledger, CLIP)
    ledger.write(lambda writer: table.apply(writer, job.id, JobEvent.FINISH, now_s=NOW))

    def queue(request: str) -> Job:
        return ledger.write(
            lambda writer: table.queue_about(writer, "other", job, request=request, rank=rank(NOW, 0), now_s=NOW)
        )

    about = queue("one")
    assert queue("two").request == "two", "it has not begun"
    assert next_job(ledger) is not None
    assert queue("two").id == about.id
    with pytest.raises(NoTransitionError, match="runs for another request"):
        queue("three")


def test_a_job_never_runs_beside_the_one_that_it_is_about(ledger: Ledger) -> None:
    job = arrive(ledger, CLIP).job
    about = ledger.write(
        lambda writer: table.queue_about(writer, "other", job, request="{}", rank=rank(NOW, 0), now_s=NOW)
    )
    first = next_job(ledger)
    assert first is not None
    assert first.id == job.id
    assert next_job(ledger) is None, "its subject runs"
    ledger.write(lambda writer: table.apply(writer, job.id, JobEvent.FINISH, now_s=NOW))
    second = next_job(ledger)
    assert second is not None
    assert second.id == about.id
    ledger.write(lambda writer: table.apply(writer, job.id, JobEvent.REDO))
    assert next_job(ledger) is None, "it is read back at this moment"
    ledger.write(lambda writer: table.apply(writer, about.id, JobEvent.FINISH, now_s=NOW))
    third = next_job(ledger)
    assert third is not None
    assert (third.id, third.attempt) == (job.id, 2)


MASKS = ("mask",)
"""Kinds that have a faceset for themselves, here."""


def next_with_masks(ledger: Ledger) -> Job | None:
    which = {"now_s": NOW, "inboxes": ("alice", "bob"), "longest_wait_s": 60.0}
    is_ready = ledger.read(lambda reader: table.any_ready(reader, **which, alone=MASKS))  # type: ignore[arg-type]
    job = ledger.write(lambda writer: table.start_next(writer, **which, alone=MASKS))  # type: ignore[arg-type]
    assert is_ready == (job is not None)
    return job


def masks_about(ledger: Ledger, subject: Job) -> Job:
    set_row(ledger, subject.id, state="done")
    return ledger.write(lambda writer: table.queue_about(writer, "mask", subject, request="", rank=0.0, now_s=NOW))


@pytest.mark.parametrize(
    ("other", "starts"),
    [({}, False), ({"workspace": "/ws2"}, True), ({"role": "dst"}, True), ({"inbox": "bob"}, False)],
)
def test_a_job_that_has_a_faceset_alone_runs_beside_no_clip_of_the_same_side(
    ledger: Ledger, other: dict[str, str], starts: bool
) -> None:
    first = arrive(ledger, CLIP).job
    second = arrive(ledger, replace(CLIP, path=b"b.mp4", sha256="d" * 64, file_state="i2", **other)).job  # type: ignore[arg-type]
    masks = masks_about(ledger, first)
    set_row(ledger, second.id, state="running")
    started = next_with_masks(ledger)
    assert (started is not None and started.id == masks.id) == starts


def test_no_clip_of_a_side_starts_while_a_job_has_its_faceset_alone(ledger: Ledger) -> None:
    masks = masks_about(ledger, arrive(ledger, CLIP).job)
    arrive(ledger, replace(CLIP, path=b"b.mp4", sha256="d" * 64, file_state="i2"))
    elsewhere = arrive(ledger, replace(CLIP, path=b"c.mp4", sha256="e" * 64, file_state="i3", workspace="/ws2")).job
    started = [next_with_masks(ledger) for _ in range(3)]
    assert [one and one.id for one in started] == [masks.id, elsewhere.id, None]
