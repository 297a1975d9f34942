"""Journals: what survives, what half a line means, and where machines stand after any history."""

from __future__ import annotations

import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sync.errors import JournalError
from sync.journal.history import stand
from sync.journal.journal import Entry, FileJournal
from sync.journal.record import RoundRecord, replay


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path / "rounds", clock=lambda: datetime(2026, 1, 2, tzinfo=UTC))


def test_what_was_appended_is_read_by_another_process(journal: FileJournal) -> None:
    number = journal.begin()
    journal.append(number, Entry("planned", facts={"kind": "average", "machines": ["a b"], "running": {}}))
    journal.append(number, Entry("excluded", "a b", {"reason": "ünreachable\nline"}))

    read = FileJournal(journal.folder).read(number)

    assert [(entry.step, entry.machine) for entry in read] == [("planned", ""), ("excluded", "a b")]
    assert read[1].facts == {"reason": "ünreachable\nline"}
    assert read[1].at == datetime(2026, 1, 2, tzinfo=UTC)


def test_numbers_are_never_given_twice_also_without_a_line(journal: FileJournal) -> None:
    assert [journal.begin() for _ in range(3)] == [1, 2, 3]
    assert FileJournal(journal.folder).begin() == 4


def test_half_a_line_was_never_written_and_is_overwritten_by_the_next(journal: FileJournal) -> None:
    number = journal.begin()
    journal.append(number, Entry("staging", "gpu1"))
    path = journal.folder / "000001" / "journal.jsonl"
    whole = path.read_bytes()
    for cut in range(1, 40):
        path.write_bytes(whole + b'{"step": "decided", "machine": "", "at": "2026'[:cut])
        assert [entry.step for entry in journal.read(number)] == ["staging"]
    journal.append(number, Entry("aborted", facts={"outcome": "aborted", "reason": "x"}))
    assert [entry.step for entry in journal.read(number)] == ["staging", "aborted"]


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
    journal.append(number, Entry("decided", facts={"receivers": []}))
    assert synced[0], "the file"
    assert synced[-1] is False, "and the folder that holds its name"


def test_threads_may_append_at_once(journal: FileJournal) -> None:
    number = journal.begin()
    threads = [
        threading.Thread(target=lambda name=name: journal.append(number, Entry("staging", f"gpu{name}")))
        for name in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry.machine for entry in journal.read(number)) == [f"gpu{name}" for name in range(8)]


# Standing.


def decided(number: int, kind: str, machines: list[str], *, source: str = "", digest: str = "") -> RoundRecord:
    """A round that every named machine has taken."""
    entries = [
        Entry("planned", facts={"kind": kind, "source": source, "machines": machines, "running": {}}),
        *(Entry("settling", name, {"stops": False}) for name in machines),
        *(
            Entry("pulled", name, {"iteration": 1000 * number, "loss": None, "bytes": 1, "seconds": 0.0})
            for name in machines
        ),
        Entry("averaged", facts={"digest": digest or f"digest {number}", "momentum": []}),
        *(Entry("staged", name, {"files": {}, "sources": {}, "bytes": 1, "seconds": 0.0}) for name in machines),
        Entry("decided", facts={"receivers": machines}),
        *(Entry("swapped", name, {"iteration": None}) for name in machines),
        *(Entry("resumed", name) for name in machines),
        Entry("closed", facts={"outcome": "averaged", "reason": ""}),
    ]
    return replay(number, entries)


def test_a_machine_stands_on_the_last_weights_that_it_took() -> None:
    found = stand([decided(1, "init", ["a", "b", "c"], source="a"), decided(2, "average", ["a", "b"])])
    assert found.newest == 2
    assert found.base == {"a": 2, "b": 2, "c": 1}
    assert found.digest_of("c") == "digest 1"
    assert found.newest_digest == "digest 2"
    assert found.last_iteration("a") == 2000
    assert found.start_iteration == 1000
    assert not found.debts


def test_an_undone_round_counts_as_if_it_had_not_been() -> None:
    first = decided(1, "init", ["a", "b"], source="a")
    found = stand([first, decided(2, "average", ["a", "b"]), decided(3, "undo", ["a", "b"], source="2")])
    assert found.newest == 1
    assert found.base == {"a": 1, "b": 1}


def test_a_receiver_without_its_end_owes_the_round() -> None:
    entries = [
        Entry("planned", facts={"kind": "average", "machines": ["a", "b", "c"], "running": {}}),
        *(Entry("settling", name, {"stops": True}) for name in "abc"),
        Entry("decided", facts={"receivers": ["a", "b"]}),
        Entry("swapped", "a", {"iteration": None}),
        Entry("resumed", "a"),
        Entry("swapped", "b", {"iteration": None}),
    ]
    record = replay(5, entries)
    assert record.owing == {"b", "c"}, "b is to be started, c, which got nothing, to be let go"
    assert set(stand([record]).debts) == {"b", "c"}
    assert stand([record]).unfinished == [record]


def test_a_round_given_up_is_owed_until_every_touched_machine_is_released() -> None:
    entries = [
        Entry("planned", facts={"kind": "average", "machines": ["a", "b"], "running": {}}),
        Entry("settling", "a", {"stops": True}),
        Entry("aborted", facts={"outcome": "aborted", "reason": "x"}),
    ]
    assert replay(1, entries).owing == {"a"}
    assert replay(1, [*entries, Entry("released", "a")]).owing == set()
    assert stand([replay(1, entries)]).newest == 0
