"""Reports go through JSON unharmed, and between versions of dfld that know more or less."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.commands.status import job_text, status_text
from daemon.reports.codec import ReportError, decoded, decoded_list, decoded_texts, encoded
from daemon.reports.jobs import JobDetails, JobReport, RetriedJob
from daemon.reports.models import MachineReport, ModelReport, RoundReport
from daemon.reports.orders import ForgetReport, PlannedFile, Reloaded, ScanStarted
from daemon.reports.service import CheckReport, HoldReport, InboxReport, LostFootage, RunningReport, ServiceReport

REPORTS = (
    *(JobReport, JobDetails, RetriedJob, MachineReport, ModelReport, RoundReport, ForgetReport, PlannedFile, Reloaded),
    *(ScanStarted, CheckReport, HoldReport, InboxReport, LostFootage, RunningReport, ServiceReport),
)
TEXTS = st.text(max_size=8)
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "str": TEXTS,
    "int": st.integers(-(2**40), 2**40),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "object": st.dictionaries(TEXTS, st.integers(), max_size=2) | st.none(),
    "tuple[str, ...]": st.lists(TEXTS, max_size=2).map(tuple),
    "tuple[tuple[str, ...], ...]": st.lists(st.lists(TEXTS, max_size=2).map(tuple), max_size=2).map(tuple),
    "Mapping[str, int]": st.dictionaries(TEXTS, st.integers(), max_size=2),
    "Mapping[str, str]": st.dictionaries(TEXTS, TEXTS, max_size=2),
    "Mapping[str, object]": st.dictionaries(TEXTS, st.booleans(), max_size=2),
    "Literal['running', 'draining']": st.sampled_from(["running", "draining"]),
    "Literal['operator', 'drain', 'disk', 'folder']": st.sampled_from(["operator", "disk"]),
}


def made(kind: type) -> st.SearchStrategy[Any]:
    """Return a strategy that fills every field by its type's text."""
    reports = {report.__name__: report for report in REPORTS}

    def filled(text: str) -> st.SearchStrategy[Any]:
        if text in VALUES:
            return VALUES[text]
        if text in reports:
            return made(reports[text])
        if text.endswith(" | None"):
            return st.none() | filled(text.removesuffix(" | None"))
        if text.startswith("tuple["):
            return st.lists(filled(text[len("tuple[") : -len(", ...]")]), max_size=2).map(tuple)
        return st.dictionaries(TEXTS, filled(text[len("Mapping[str, ") : -1]), max_size=2)

    return st.builds(kind, **{name: filled(text) for name, text in _types(kind).items()})


def _types(kind: type) -> dict[str, str]:
    return {field.name: str(field.type) for field in fields(kind)}


@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_comes_back_from_json_as_it_was(kind: type) -> None:
    @settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
    @given(made(kind))
    def check(report: object) -> None:
        assert decoded(kind, json.loads(json.dumps(encoded(report)))) == report

    check()


@pytest.mark.parametrize("kind", REPORTS)
def test_a_newer_service_may_say_more_and_an_older_one_less(kind: type) -> None:
    required = {field.name: _example(str(field.type)) for field in fields(kind) if _is_required(field)}
    assert decoded(kind, {**required, "of a later version": {"a": [1]}}) == decoded(kind, required)


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _example(text: str) -> Any:
    if text.endswith("None"):
        return None
    examples = {"str": "a", "int": 1, "float": 1, "bool": True}
    return examples.get(text, {} if text.startswith("Mapping") else [] if text.startswith("tuple") else "running")


@pytest.mark.parametrize(
    ("kind", "answer", "said"),
    [
        (Reloaded, [], "Reloaded is [], expected a table"),
        (Reloaded, {}, "Reloaded has no changes: is the service of another version?"),
        (Reloaded, {"changes": "all"}, "Reloaded.changes is 'all', expected a list"),
        (Reloaded, {"changes": ["one", 2]}, "Reloaded.changes[1] is 2, expected str"),
        (CheckReport, {"name": "disk", "ok": 1}, "CheckReport.ok is 1, expected bool"),
        (LostFootage, {"files": True}, "LostFootage.files is True, expected int"),
        (ModelReport, {"name": "sam", "last": {"round": 1}}, "ModelReport.last has no kind"),
    ],
)
def test_what_is_no_report_is_refused_by_name(kind: type, answer: object, said: str) -> None:
    with pytest.raises(ReportError) as refused:
        decoded(kind, answer)
    assert said in refused.value.message


def test_lists_and_tables_are_read_whole_or_not_at_all() -> None:
    assert decoded_list(CheckReport, [{"name": "a", "ok": True}]) == (CheckReport("a", True),)
    assert decoded_texts({"*": "pause"}) == {"*": "pause"}
    with pytest.raises(ReportError):
        decoded_list(CheckReport, {"name": "a", "ok": True})
    with pytest.raises(ReportError):
        decoded_texts({"*": 1})


EARLIER_ANSWER = """
{"pid": 77, "started_s": 1000.0, "now_s": 1100.0, "state": "running", "pauses": {"*": "pause"},
 "running": [{"job": 3, "inbox": "alice", "path": "clip.mp4", "phase": "working", "since_s": 1000.0, "frames_done": 50,
   "frames_total": 100, "faces_kept": 7, "faces_rejected": 1, "faces_undecided": 2, "frames_at_start": 0,
   "working_since_s": 1050.0, "moved_s": 1099.0, "held": "", "frames_per_s": 1.0, "faces_per_s": 0.14, "eta_s": 50.0}],
 "inboxes": [{"name": "alice", "path": "/in", "workspace": "/out", "settling": 0, "held": null,
   "lost_footage": {"files": 1, "seconds": 2.0}, "jobs": {"queued": 0, "running": 1, "waiting": 0, "done": 2,
   "failed": 0, "quarantined": 0, "cancelled": 0, "gone": 0, "skipped": 0}}],
 "models": [{"name": "sam", "machines": {"gpu1": {"iteration": 5, "saved_s": 9.5, "error": ""}}, "stage": "early",
   "every_iterations": 50, "next": "soon", "doing": "", "last": {"round": 1, "kind": "average", "outcome": "averaged",
   "reason": "due", "ended_s": 1000.0, "contributors": ["gpu1"], "downtime_s": 3.0}, "owing": {}}],
 "jobs": {"queued": 0, "running": 1}, "checks": [{"name": "disk", "ok": false, "detail": "full"}]}
"""
"""What a service before typed reports sent."""


def test_the_answer_of_an_earlier_service_is_understood() -> None:
    status = decoded(ServiceReport, json.loads(EARLIER_ANSWER))
    assert not status.is_ready
    assert not status.inboxes[0].up
    text = status_text(status)
    assert "daemon running, process 77, up 1 min: 1 running, 0 queued" in text
    assert "alice: 1 source lacks footage, 2 s as far as that can be said" in text
    assert "last round 1 averaged of gpu1, 1 min ago, training stood still for 3 s: due" in text
    assert "50%  50/100 frames  1.0 frames/s  0.1 faces/s  50 s left" in text


def test_a_job_is_shown_without_what_it_lacks() -> None:
    job = JobDetails(
        1, "alice", "clip.mp4", "video", "ab", 5, "x", "/out", "src", "clip", 0, 1.0, "done", "", "", "", 1, 0, None,
        0.0, 1000.0, None, None, "", 0, None, {"faces": 2}, None, "in_inbox", None, report={"faces_kept": 7},
    )  # fmt: skip
    lines = job_text(job).splitlines()
    assert lines[:3] == ["id: 1", "inbox: alice", "path: clip.mp4"]
    assert "  faces_kept: 7" in lines
    assert not [line for line in lines if line.startswith(("rank", "basis", "reason", "sidecar", "started"))]
