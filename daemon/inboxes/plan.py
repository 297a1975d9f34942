"""`dfld scan --dry-run`: what the daemon would do with each file that lies in an inbox now. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from daemon.arrivals.roots import Root, inspect_root
from daemon.arrivals.scan import PassedOver, ScanRules
from daemon.arrivals.settling import GateRules, Unit, obstacle_of, stable_for_s
from daemon.config.inbox_rules import gate_rules, scan_rules
from daemon.config.schema import Config, InboxConfig, WatchConfig
from daemon.inboxes.references import references_of_config, references_of_jobs, scan_beside_references
from daemon.inboxes.sentences import why_passed_over, why_waiting
from daemon.ledger.ledger import Connection, Ledger
from daemon.reports.orders import PlannedFile
from engine.pictures.sequence import sequence_names


def plan_inbox(inbox: InboxConfig, config: Config, ledger: Ledger) -> list[PlannedFile]:
    """Scan an inbox once. Raise nothing for a folder that is away: that is one line of the plan."""
    known = ledger.read(lambda reader: _known(reader, inbox.name))
    references = references_of_config(config) | ledger.read(lambda reader: references_of_jobs(reader, inbox.name))
    try:
        return list(_plan(inbox, config.watch, scan_rules(inbox, config.watch, references), known))
    except OSError as problem:
        return [
            PlannedFile(
                inbox.name,
                str(inbox.path),
                "passed_over",
                f"cannot be listed: {problem.strerror}",
                reason="cannot_be_listed",
            )
        ]


def _plan(
    inbox: InboxConfig, watch: WatchConfig, rules: ScanRules, known: dict[bytes, tuple[str, int, str, str]]
) -> Iterator[PlannedFile]:
    root = inspect_root(inbox.path)
    gate = gate_rules(watch, root.filesystem if isinstance(root, Root) else "")
    for found in scan_beside_references(inbox.path, rules)[0]:
        if isinstance(found, PassedOver):
            yield PlannedFile(inbox.name, found.path, "passed_over", why_passed_over(found), reason=found.reason)
        else:
            yield _plan_unit(inbox, found, gate, known)


def _plan_unit(
    inbox: InboxConfig, unit: Unit, gate: GateRules, known: dict[bytes, tuple[str, int, str, str]]
) -> PlannedFile:
    before = known.get(os.fsencode(unit.path))
    if before is not None and before[0] == unit.fingerprint:
        _, job, state, outcome = before
        detail = f"job {job} is {state}"
        if outcome == "part":
            detail += ", and is made of a longer copy of this file, which may be deleted"
        elif outcome != "taken":
            detail += ", and is made of a file of the same content, under another name"
        return PlannedFile(inbox.name, unit.path, "known", detail, job)
    obstacle = obstacle_of(unit, gate)
    if obstacle:
        return PlannedFile(inbox.name, unit.path, "waits", why_waiting(obstacle), reason=obstacle)
    again = f", changed since job {before[1]}" if before is not None else ""
    stable_s = stable_for_s(unit, gate)
    part = ", because its name is that of a part that yt-dlp joins" if stable_s > gate.stable_for_s else ""
    detail = f"{_what(unit)}, taken once it is unchanged for {stable_s:g} s{part}{again}"
    return PlannedFile(inbox.name, unit.path, "would_settle", detail)


def _what(unit: Unit) -> str:
    if unit.kind == "video":
        return "a video"
    sequence = sequence_names(name for name, _ in unit.members)
    odd = "".join(f"; {note}" for note in sequence.notes())
    return f"a folder of {len(sequence.names)} images{odd}"


def _known(reader: Connection, inbox: str) -> dict[bytes, tuple[str, int, str, str]]:
    rows = reader.execute(
        "SELECT files.path, files.file_state, jobs.id, jobs.state,"
        " CASE WHEN files.sha256 IN (SELECT sha256 FROM parts WHERE parts.job = files.job) THEN 'part'"
        " ELSE files.outcome END FROM files JOIN jobs ON jobs.id = files.job WHERE files.inbox = ?",
        (inbox,),
    )
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}
