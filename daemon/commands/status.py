"""The words and tables of `dfld status` and `dfld jobs`: plain text, the same on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime

from core.text import escaped
from daemon.ledger.transitions import UNFINISHED, State
from daemon.reports.jobs import JobDetails, JobReport
from daemon.reports.models import ModelReport, RoundReport
from daemon.reports.service import InboxReport, RunningReport, ServiceReport

BAR_WIDTH = 24
NAME_WIDTH_MAX = 48
COUNTED = (*UNFINISHED, State.DONE, State.FAILED, State.QUARANTINED, State.CANCELLED)


def status_text(status: ServiceReport) -> str:
    """Return the state of the service as text of several lines."""
    lines = [_headline(status)]
    lines += [f"  NOT READY  {check.name}: {check.detail}" for check in status.checks if not check.ok]
    for scope, mode in status.pauses.items():
        lines.append(f"  paused     {'all inboxes' if scope == '*' else scope} ({mode})")
    lines += ["", *_inbox_table(status.inboxes)]
    for inbox in status.inboxes:
        lines += _inbox_lines(inbox)
    for model in status.models:
        lines += ["", *_model_lines(model, status.now_s)]
    if status.running:
        lines += ["", *(line for job in status.running for line in _running_lines(job))]
    return "\n".join(map(escaped, lines))


def _headline(status: ServiceReport) -> str:
    work = f"{len(status.running)} running, {status.jobs.get(State.QUEUED, 0)} queued" if status.jobs else "no jobs"
    age = duration(status.now_s - status.started_s)
    return f"daemon {status.state}, process {status.pid}, up {age}: {work}"


def _inbox_table(inboxes: Sequence[InboxReport]) -> list[str]:
    counted = [state for state in COUNTED if state in (inboxes[0].jobs if inboxes else {})]
    rows = [["inbox", "settling", *counted]]
    rows += [[inbox.name, str(inbox.settling), *(str(inbox.jobs[state]) for state in counted)] for inbox in inboxes]
    return table(rows)


def _inbox_lines(inbox: InboxReport) -> list[str]:
    """Return what keeps an inbox from its work, and what its sources lack."""
    lines = []
    if inbox.held is not None and inbox.held.kind not in ("operator", "drain"):
        lines.append(f"  {inbox.name} waits: {inbox.held.message}")
    lost = inbox.lost_footage
    if lost.files:
        known = f", {duration(lost.seconds)} as far as that can be said" if lost.seconds >= 0.5 else ""
        files = "1 source lacks" if lost.files == 1 else f"{lost.files} sources lack"
        lines.append(f"  {inbox.name}: {files} footage{known}; originals are kept (dfld jobs)")
    return lines


def _model_lines(model: ModelReport, now_s: float) -> list[str]:
    every = model.every_iterations
    stage = f": stage {model.stage}, a round every {every} iterations" if every else ""
    lines = [f"model {model.name}{stage}"]
    lines.append("  no round yet" if model.last is None else _round_line(model.last, now_s))
    lines.append(f"  under way: {model.doing}" if model.doing else f"  next: {model.next}")
    lines += [f"  {name} still has to finish round {number}" for name, number in model.owing.items()]
    lines += [f"  {name}: {one.error}" for name, one in model.machines.items() if one.error]
    return [escaped(line) for line in lines]


def _round_line(last: RoundReport, now_s: float) -> str:
    ago = f", {duration(now_s - last.ended_s)} ago" if last.ended_s else ""
    who = f" of {', '.join(last.contributors)}" if last.contributors else ""
    stood = f", training stood still for {duration(last.downtime_s)}" if last.downtime_s else ""
    return f"  last round {last.round} {last.outcome.replace('_', ' ')}{who}{ago}{stood}: {last.reason}"


def _running_lines(job: RunningReport) -> list[str]:
    done, total = job.frames_done, job.frames_total
    lines = [f"job {job.job}  {job.inbox}  {_short(job.path)}  {job.job_kind}: {job.phase}"]
    if total:
        part = min(1.0, done / total)
        bar = "█" * round(part * BAR_WIDTH)
        progress = f"{bar:·<{BAR_WIDTH}} {part:4.0%}  {done}/{total} {job.unit}"
    else:
        progress = f"{done} {job.unit}"
    speed = f"  {job.frames_per_s:.1f} {job.unit}/s" if job.frames_per_s else ""
    faces = f"  {job.faces_per_s:.1f} faces/s" if job.faces_per_s else ""
    left = f"  {duration(job.eta_s)} left" if job.eta_s is not None else ""
    lines.append(f"  {progress}{speed}{faces}{left}")
    undecided = f", {job.faces_undecided} seen and not decided yet" if job.faces_undecided else ""
    lines.append(f"  {job.faces_kept} faces kept, {job.faces_rejected} rejected{undecided}")
    if job.held:
        lines.append(f"  waits: {job.held}")
    return lines


def jobs_text(jobs: Sequence[JobReport]) -> str:
    """Return jobs as a table, one a line, newest last."""
    if not jobs:
        return "there are no jobs"
    rows = [["id", "kind", "inbox", "state", "arrived", "done", "file", "reason"]]
    for job in jobs:
        done = f"{job.next_frame}/{job.frames_total}" if job.frames_total else str(job.next_frame)
        reason = _with_reason(job.reason, escaped(job.message))
        rows.append(
            [str(job.id), job.job_kind, job.inbox, job.state, moment(job.arrived_s), done, _short(job.path), reason]
        )
    return "\n".join(table(rows))


def _with_reason(reason: str, message: str) -> str:
    """Return a reason's word and its sentence; the sentence alone where it begins with the word."""
    if not reason or message.startswith(reason.replace("_", " ")):
        return message
    return f"{reason}: {message}" if message else reason


def job_text(job: JobDetails) -> str:
    """Return all that is known of one job."""
    times = {"arrived_s", "started_s", "finished_s"}
    lines = []
    for field in fields(job):
        name, value = field.name, getattr(job, field.name)
        if value in (None, "", {}, 0.0) or name in ("rank", "basis"):
            continue
        if name in times:
            name, value = name.removesuffix("_s"), moment(value)
        lines += _lines_of(name, value, "")
    return "\n".join(lines)


def _lines_of(name: str, value: object, indent: str) -> list[str]:
    """Return a value as lines below its name: tables and lists as further lines, numbers with six digits."""
    if isinstance(value, Mapping):
        said = {escaped(str(key)): part for key, part in value.items() if part not in (None, "")}
        inner = [line for key, part in said.items() for line in _lines_of(key, part, indent + "  ")]
        return [f"{indent}{name}:", *inner] if inner else [f"{indent}{name}: none"]
    if isinstance(value, (list, tuple)):
        if not value:
            return [f"{indent}{name}: none"]
        return [f"{indent}{name}:", *(f"{indent}  {_plain(part)}" for part in value)]
    return [f"{indent}{name}: {_plain(value)}"]


def _plain(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else escaped(str(value))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with their columns below each other; the last column runs free."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """Return a length of time as a person says it: 45 s, 3 min, 2 h 5 min, 3 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 60 * 24:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def moment(seconds: float) -> str:
    """Return a Unix time as local date and time."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _short(path: str) -> str:
    text = escaped(path)
    return text if len(text) <= NAME_WIDTH_MAX else f"…{text[-NAME_WIDTH_MAX + 1 :]}"
