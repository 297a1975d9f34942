"""Journals: what survives, what half a line means, and where the machines are after any history."""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from sync.errors import JournalError
from sync.journal.history import history_of
from sync.journal.journal import Entry, FileJournal
from sync.journal.lines import (
    LINES,
    Aborted,
    Accepted,
    Averaged,
    Closed,
    Decided,
    Doubted,
    Excluded,
    Iterating,
    Planned,
    Pulled,
    Released,
    Resumed,
    Settled,
    Settling,
    Staged,
    Staging,
    Swapped,
    Unfinished,
    Verified,
)
from sync.journal.record import RoundRecord, replay
from sync.journal.round_kinds import AVERAGE, ROUND_KINDS, RoundKindName
from sync.model_files.push import StagedFile
from sync.trainers.proof import LossLevel
from tests.sync.journal_entries import entry


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path / "rounds", clock=lambda: datetime(2026, 1, 2, tzinfo=UTC))


def test_what_was_appended_is_read_by_another_process(journal: FileJournal) -> None:
    number = journal.begin()
    journal.append(number, entry("planned", facts={"kind": "average", "machines": ["a b"], "running": {}}))
    journal.append(number, entry("excluded", "a b", {"reason": "ünreachable\nline"}))

    read = FileJournal(journal.folder).read(number)

    assert [(one.line.step, one.line.machine) for one in read] == [("planned", ""), ("excluded", "a b")]
    assert read[1].line == Excluded("a b", "ünreachable\nline")
    assert read[1].at == datetime(2026, 1, 2, tzinfo=UTC)


def test_numbers_are_never_given_twice_also_without_a_line(journal: FileJournal) -> None:
    assert [journal.begin() for _ in range(3)] == [1, 2, 3]
    assert FileJournal(journal.folder).begin() == 4


def test_half_a_line_was_never_written_and_is_overwritten_by_the_next(journal: FileJournal) -> None:
    number = journal.begin()
    journal.append(number, entry("staging", "gpu1"))
    path = journal.folder / "000001" / "journal.jsonl"
    whole = path.read_bytes()
    for cut in range(1, 40):
        path.write_bytes(whole + b'{"step": "decided", "machine": "", "at": "2026'[:cut])
        assert [one.line.step for one in journal.read(number)] == ["staging"]
    journal.append(number, entry("aborted", facts={"outcome": "aborted", "reason": "x"}))
    assert [one.line.step for one in journal.read(number)] == ["staging", "aborted"]


def test_a_damaged_line_in_the_middle_is_told_and_not_passed_over(journal: FileJournal) -> None:
    number = journal.begin()
    path = journal.folder / "000001" / "journal.jsonl"
    path.write_bytes(b'{"step": "planned"\n{"step": "decided", "machine": "", "at": "2026-01-01", "facts": {}}\n')
    with pytest.raises(JournalError, match="line 1 is damaged"):
        journal.read(number)


def test_a_line_is_synced_before_append_returns(journal: FileJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        real(descriptor)
        synced.append(stat.S_ISREG(os.fstat(descriptor).st_mode))

    number = journal.begin()
    monkeypatch.setattr(os, "fsync", watched)
    journal.append(number, entry("decided", facts={"receivers": []}))
    assert synced[0], "the file"
    assert synced[-1] is False, "and the folder that holds its name"


def test_threads_may_append_at_once(journal: FileJournal) -> None:
    number = journal.begin()
    threads = [
        threading.Thread(target=lambda name=name: journal.append(number, entry("staging", f"gpu{name}")))
        for name in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.line.machine for one in journal.read(number)) == [f"gpu{name}" for name in range(8)]


# Lines as values.

WHOLE_ROUND = (
    Planned(AVERAGE, "", ("a", "b"), {"a": True, "b": False}),
    Settling("a", stops=True),
    Settled("a"),
    Pulled("a", 1000, LossLevel(0.5, 0.01), ("inter.npy",), 12, 1.5, 0.3),
    Pulled("b", 900),
    Excluded("b", "ünreachable\nline"),
    Accepted(("a",), {"a": 10}, {"a": {"drift_rel": 0.1}}, ("odd",), 0.03, 0.9, {"a": 1.0}),
    Accepted(("a",), {"a": 10}, {}),
    Averaged("ab" * 32, ("inter.npy",)),
    Staging("a"),
    Staged("a", {"inter.npy": StagedFile(12, "cd" * 32)}, {"inter.npy": "/x/inter.npy"}, 12, 0.5),
    Decided(("a",)),
    Swapped("a", 1003),
    Swapped("b"),
    Resumed("a"),
    Released("b"),
    Unfinished("b", "gone"),
    Iterating("a", 1010, 4.5),
    Verified("a", "it trains on"),
    Doubted("b", "worse"),
    Aborted("held", "no quorum"),
    Closed("averaged", ""),
)
"""A line of every step, with all its facts and without those that may be missing."""


def test_every_step_is_read_as_it_was_written(journal: FileJournal) -> None:
    number = journal.begin()
    for line in WHOLE_ROUND:
        journal.append(number, Entry(line))
    assert [one.line for one in journal.read(number)] == list(WHOLE_ROUND)
    assert {line.step for line in WHOLE_ROUND} == set(LINES)


@pytest.mark.parametrize("name", get_args(RoundKindName))
def test_a_journal_names_its_kind_of_round_by_a_word_that_stays(journal: FileJournal, name: RoundKindName) -> None:
    number = journal.begin()
    planned = Planned(ROUND_KINDS[name], "7", ("a",), {"a": True})
    journal.append(number, Entry(planned))
    written = json.loads((journal.folder / "000001" / "journal.jsonl").read_text(encoding="utf-8"))
    assert written["facts"] == {"kind": name, "source": "7", "machines": ["a"], "running": {"a": True}}
    assert [one.line for one in journal.read(number)] == [planned]


def test_a_line_cannot_be_changed() -> None:
    for line in WHOLE_ROUND:
        for name in line.__dataclass_fields__:
            with pytest.raises(AttributeError):
                setattr(line, name, None)
            value = getattr(line, name)
            assert not isinstance(value, (dict, list, set)), (line.step, name)


TIMES = '"at": "2025-01-02T03:04:05+00:00", "facts"'
OLDER_LINES = f"""\
{{"step": "planned", "machine": "", {TIMES}: {{"kind": "average", "machines": ["a"], "running": {{"a": true}}}}}}
{{"step": "settling", "machine": "a", {TIMES}: {{}}}}
{{"step": "pulled", "machine": "a", {TIMES}: {{"iteration": 7, "loss": null, "bytes": 1, "seconds": 2}}}}
{{"step": "averaged", "machine": "", {TIMES}: {{"digest": "d", "momentum": [], "more": [1]}}}}
{{"step": "rejoiced", "machine": "a", {TIMES}: {{"of": "a newer dfld"}}}}
"""


def test_lines_of_older_and_newer_versions_are_read_as_far_as_they_mean_something(journal: FileJournal) -> None:
    number = journal.begin()
    (journal.folder / "000001" / "journal.jsonl").write_text(OLDER_LINES, encoding="utf-8")
    record = replay(number, journal.read(number))
    assert (record.kind, record.source, record.digest) == (AVERAGE, "", "d")
    assert record.touched == {"a"}
    assert record.stopped == set()
    assert record.iterations == {"a": 7}
    assert record.paces == {}


@pytest.mark.parametrize(
    ("step", "facts"),
    [
        ("planned", {"kind": "avarage", "machines": [], "running": {}}),
        ("planned", {"kind": "average", "machines": "a", "running": {}}),
        ("planned", {"kind": "rollback", "source": "gpu1", "machines": ["a"], "running": {}}),
        ("planned", {"kind": "undo", "machines": ["a"], "running": {}}),
        ("pulled", {"iteration": "7", "loss": None, "bytes": 1, "seconds": 0.0}),
        ("pulled", {"iteration": True, "loss": None, "bytes": 1, "seconds": 0.0}),
        ("pulled", {"iteration": 7, "loss": [1.0], "bytes": 1, "seconds": 0.0}),
        ("staged", {"files": {"x.npy": [1]}, "sources": {}, "bytes": 1, "seconds": 0.0}),
        ("decided", {}),
        ("closed", {"outcome": "odd", "reason": ""}),
    ],
)
def test_facts_of_another_kind_are_damage(journal: FileJournal, step: str, facts: dict[str, object]) -> None:
    number = journal.begin()
    line = {"step": step, "machine": "a", "at": "2025-01-02T03:04:05+00:00", "facts": facts}
    (journal.folder / "000001" / "journal.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(JournalError, match="line 1 is damaged"):
        journal.read(number)


# History.


def decided(number: int, kind: str, machines: list[str], *, source: str = "", digest: str = "") -> RoundRecord:
    """A round that every named machine has taken."""
    entries = [
        entry("planned", facts={"kind": kind, "source": source, "machines": machines, "running": {}}),
        *(entry("settling", name, {"stops": False}) for name in machines),
        *(
            entry("pulled", name, {"iteration": 1000 * number, "loss": None, "bytes": 1, "seconds": 0.0})
            for name in machines
        ),
        entry("averaged", facts={"digest": digest or f"digest {number}", "momentum": []}),
        *(entry("staged", name, {"files": {}, "sources": {}, "bytes": 1, "seconds": 0.0}) for name in machines),
        entry("decided", facts={"receivers": machines}),
        *(entry("swapped", name, {"iteration": None}) for name in machines),
        *(entry("resumed", name) for name in machines),
        entry("closed", facts={"outcome": "averaged", "reason": ""}),
    ]
    return replay(number, entries)


def test_a_machine_stands_on_the_last_weights_that_it_took() -> None:
    found = history_of([decided(1, "init", ["a", "b", "c"], source="a"), decided(2, "average", ["a", "b"])])
    assert found.newest == 2
    assert found.base == {"a": 2, "b": 2, "c": 1}
    assert found.digest_of("c") == "digest 1"
    assert found.newest_digest == "digest 2"
    assert found.last_iteration("a") == 2000
    assert found.start_iteration == 1000
    assert not found.debts


def test_an_undone_round_counts_as_if_it_had_not_been() -> None:
    first = decided(1, "init", ["a", "b"], source="a")
    found = history_of([first, decided(2, "average", ["a", "b"]), decided(3, "undo", ["a", "b"], source="2")])
    assert found.newest == 1
    assert found.base == {"a": 1, "b": 1}


def test_a_receiver_without_its_end_owes_the_round() -> None:
    entries = [
        entry("planned", facts={"kind": "average", "machines": ["a", "b", "c"], "running": {}}),
        *(entry("settling", name, {"stops": True}) for name in "abc"),
        entry("decided", facts={"receivers": ["a", "b"]}),
        entry("swapped", "a", {"iteration": None}),
        entry("resumed", "a"),
        entry("swapped", "b", {"iteration": None}),
    ]
    record = replay(5, entries)
    assert record.owing == {"b", "c"}, "b is to be started, c, which got nothing, to be let go"
    assert set(history_of([record]).debts) == {"b", "c"}
    assert not record.ended


def test_a_round_given_up_is_owed_until_every_touched_machine_is_released() -> None:
    entries = [
        entry("planned", facts={"kind": "average", "machines": ["a", "b"], "running": {}}),
        entry("settling", "a", {"stops": True}),
        entry("aborted", facts={"outcome": "aborted", "reason": "x"}),
    ]
    assert replay(1, entries).owing == {"a"}
    assert replay(1, [*entries, entry("released", "a")]).owing == set()
    assert history_of([replay(1, entries)]).newest == 0
