"""Kinds of jobs: known to service and worker alike, and to nobody by name."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import pytest

from daemon.jobs.conversation import memory_limit
from daemon.jobs.kinds.contract import EndColumns, Failure
from daemon.jobs.kinds.extract import EXTRACT_CODECS, Extracted
from daemon.jobs.kinds.registry import KINDS, OF_ARRIVALS, OF_VERIFICATIONS
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger
from daemon.worker.registry import worker_kinds
from engine.types import SourceVerdict
from sync.journal.round_kinds import ROUND_KINDS
from tests.daemon_rig import Rig

ROOT = Path(__file__).parents[2]


def test_every_kind_that_the_service_knows_a_worker_does() -> None:
    assert set(KINDS) == set(worker_kinds())
    assert all(kind.name == name for name, kind in KINDS.items())
    assert OF_ARRIVALS.reads_original


def test_every_kind_has_a_file_of_its_own_with_the_service_and_no_other_file_there() -> None:
    files = {path.stem for path in (ROOT / "daemon" / "jobs" / "kinds").glob("*.py")}
    assert files == {"__init__", "contract", "registry", *KINDS}


def comparisons_with_kinds(package: str, names: Iterable[str], askers: tuple[str, ...]) -> list[str]:
    """Return where a package compares something with the name of a kind, or a kind with anything."""
    found = []
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, (ast.Compare, ast.MatchValue)):
                continue
            sides = [side for side in ast.walk(node) if isinstance(side, ast.expr)]
            words = {side.value for side in sides if isinstance(side, ast.Constant) and isinstance(side.value, str)}
            if words & set(names) or any(ast.unparse(side).endswith(askers) for side in sides):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}")
    return found


def test_nothing_asks_what_a_kind_is_called() -> None:
    assert comparisons_with_kinds("daemon", KINDS, ("kind.name", "job.kind")) == []


@pytest.mark.parametrize("package", ["sync", "daemon"])
def test_nothing_asks_what_a_kind_of_round_is_called(package: str) -> None:
    # "init" is also a word of the command line, "dry_run" an outcome.
    names = set(ROUND_KINDS) - {"init", "dry_run"} if package == "daemon" else ROUND_KINDS
    assert comparisons_with_kinds(package, names, ("record.kind", "kind.name", "one.kind", "earlier.kind")) == []


def test_the_end_of_a_job_writes_columns_that_are_there_and_none_that_events_alone_change() -> None:
    names = {one.name for one in fields(EndColumns)}
    assert names <= {one.name for one in fields(Job)}
    assert not names & table.OF_THE_TABLE


def test_log_and_hooks_get_what_a_done_extraction_found() -> None:
    verdict = SourceVerdict("lost footage", missing_s=2.0, missing_share=0.5)
    report = Extracted(
        20, 10, 5, 1, 4, 3, {"accepted": 3}, {"decode": 1.234}, {"decoded": 0.126}, "log", None, (), True, verdict, 0
    )
    job = Job(**{**dict.fromkeys((one.name for one in fields(Job)), ""), "counts": "{}"})  # type: ignore[arg-type]
    ending = OF_ARRIVALS.ending(job, tuple(EXTRACT_CODECS.result.encode(report)))
    assert ending.facts.by_name() == {
        "faces_kept": 3,
        "faces_found": 4,
        "frames": 10,
        "stage_seconds": {"decode": 1.23},
        "queue_fill": {"decoded": 0.13},
        "verdict": "lost footage",
        "missing_s": 2.0,
        "missing_share": 0.5,
    }
    assert (ending.columns.verdict, ending.columns.frames_total, ending.columns.missing_s) == ("lost footage", 10, 2.0)


def test_a_verification_of_a_clip_that_is_not_done_fails_and_touches_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    ledger = Ledger(tmp_path / "ledger.db")
    arrival = Arrival("extract", "alice", b"clip.mp4", "video", "i1", "c" * 64, 5, 1.0, "/ws", "src", ("clip",), 5)
    try:
        job = ledger.write(
            lambda writer: claim(writer, arrival, now_s=1.0, on_duplicate="skip", earlier_is_there=True)
        ).job
        about = ledger.write(
            lambda writer: table.queue_about(writer, OF_VERIFICATIONS.name, job, request="{}", rank=1.0, now_s=1.0)
        )
        config = rig.config
        found = ledger.read(
            lambda reader: OF_VERIFICATIONS.request(about, config.inboxes[0], config, reader, now_s=1.0)
        )
    finally:
        ledger.close()
    assert isinstance(found, Failure)
    assert (found.outlook, found.reason) == ("setup", "unfinished")


def test_a_kind_that_says_how_much_memory_it_needs_gets_no_more(tmp_path: Path) -> None:
    config = Rig(tmp_path).config
    assert memory_limit(OF_ARRIVALS, config) == config.limits.worker_memory_bytes
    needed = OF_VERIFICATIONS.needs.memory_bytes
    assert needed is not None
    assert memory_limit(OF_VERIFICATIONS, config) == min(needed, config.limits.worker_memory_bytes)
