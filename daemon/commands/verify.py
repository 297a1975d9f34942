"""`dfld verify`: are the faces of a workspace still as they were written? Asks the service, or reads them itself."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.control import add_control_command, state_dir_of
from daemon.commands.options import path_argument
from daemon.commands.output import print_json, shown
from daemon.errors import ControlError, ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from daemon.reports.service import InboxReport
    from daemon.reports.verify import ClipNotDone, ClipVerification, FaceFinding, VerificationReport

    Commands = _SubParsersAction[argparse.ArgumentParser]

POLL_S = 0.5
JOBS_A_REQUEST = 1000
"""A request has a largest size, too."""
JOBS_A_REQUEST_WITH_FACES = 20
"""A clip may have thousands of faces that are to be named, and an answer has a largest size."""
SHOWN_FACES = 24
"""Faces of a clip that are not whole, by name, those at fault first; `--json` has them all."""
SHOWN_CLIPS = 24
"""Clips that are not done, by name."""
FINDINGS = """findings:
  whole        as it was written
  edited       changed by a person: pixels, mask or metadata; so is damage that still decodes, where times are lost:
               copy a workspace with cp -a or rsync -t, not with cp -r
  elsewhere    moved, renamed or packed by a person
  taken out    in the workspace no more: a person took it out, and it stays out
  damaged      the file or its mask is not what was written, or cannot be read: a bad disk, a copy that was cut off
  unfinished   not written to its end
  unlisted     the records of workspace and service do not agree about it

Exit status 3 where a face is damaged, unfinished or unlisted, or a clip failed or ended half done; 75 where a clip is
not done yet: queued, running, waiting. --repair has a clip with such faces done again as a whole, from its original, if
that lies in the inbox still: its faces are away meanwhile. What a person changed or took out stays so. A clip whose
manifest lists fewer faces than the ledger is not repaired. --repair tries failed jobs again, too.

Clips that are not done have no faces to read back, and are counted by state: queued, running, waiting, failed,
quarantined, cancelled, gone, skipped. Of those that ended, --repair tries the failed ones alone: the others were
cancelled, skipped by a sidecar, put aside, or their file is away. `dfld jobs retry` and `dfld quarantine release` begin
those again."""


WITHOUT_SERVICE = "without it: dfld verify WORKSPACE"


def add_commands(commands: Commands) -> None:
    verify = add_control_command(
        commands, "verify", "read every face back and compare it with what was written", run_verify
    )
    verify.epilog, verify.formatter_class = FINDINGS, argparse.RawDescriptionHelpFormatter
    verify.add_argument(
        "what", type=path_argument, metavar="DIR|INBOX", help="a workspace that dfld wrote faces into, or an inbox"
    )
    verify.add_argument(
        "--repair",
        action="store_true",
        help="have clips with damaged or unfinished faces done again as a whole; needs the daemon",
    )


def run_verify(options: argparse.Namespace) -> int:
    """Verify an inbox with the daemon's help, or a folder without it; say what was found."""
    inboxes = _inboxes_of(options)
    if inboxes:
        reports = [_by_the_daemon(options, inbox) for inbox in inboxes]
    elif options.repair:
        raise UsageError(
            f"{shown(options.what)} is no inbox of the running service and no workspace of one; --repair needs it",
            hint=WITHOUT_SERVICE,
        )
    else:
        reports = [_by_itself(options.what)]
    if options.json:
        from daemon.reports.codec import encoded

        print_json(encoded(reports))
    else:
        for report in reports:
            print("\n".join(report_lines(report)))
    codes = {exit_code_of(report) for report in reports}
    return next((one for one in (ExitCode.PARTLY_FAILED, ExitCode.TEMPORARY) if one in codes), ExitCode.OK)


def _inboxes_of(options: argparse.Namespace) -> list[InboxReport]:
    """Return the inboxes of the running daemon that are meant; none where no daemon answers, and a folder is meant."""
    from daemon.control.client import ask
    from daemon.reports.codec import decoded
    from daemon.reports.service import ServiceReport

    is_folder = options.what.is_dir()
    try:
        status = decoded(ServiceReport, ask(state_dir_of(options.config), "status"))
    except ControlError as problem:
        if is_folder and not options.repair:
            return []
        if is_folder:
            raise ControlError(f"--repair needs the running service; {WITHOUT_SERVICE}") from problem
        raise ControlError(
            f"{shown(options.what)} is no folder; whether it is an inbox cannot be asked: {problem.message}",
            hint=problem.hint,
        ) from problem
    named = [one for one in status.inboxes if one.name == str(options.what)]
    if named:
        return named
    if not is_folder:
        names = ", ".join(one.name for one in status.inboxes) or "none"
        raise UsageError(f"{shown(options.what)} is neither an inbox ({names}) nor a folder")
    return [one for one in status.inboxes if Path(one.workspace).resolve() == options.what.resolve()]


def _by_the_daemon(options: argparse.Namespace, inbox: InboxReport) -> VerificationReport:
    """Have the daemon read an inbox's clips back, and wait for the end."""
    from daemon.control.client import ask
    from daemon.ledger.transitions import UNFINISHED
    from daemon.reports.codec import decoded
    from daemon.reports.verify import VerificationReport, VerificationStarted

    state_dir = state_dir_of(options.config)
    answer = ask(state_dir, "verify", {"inbox": inbox.name, "repair": options.repair})
    started = decoded(VerificationStarted, answer)
    if inbox.held is not None and started.jobs:
        print(f"dfld: it waits: {shown(inbox.held.message)}", file=sys.stderr)
    while True:
        clips = _found_so_far(state_dir, started.jobs, with_faces=False)
        _show_progress(sum(one.faces_done for one in clips), sum(one.faces_total or 0 for one in clips))
        if not any(one.state in UNFINISHED for one in clips):
            break
        time.sleep(POLL_S)
    _show_progress(0, 0)
    found = _found_so_far(state_dir, started.jobs, with_faces=True)
    return VerificationReport(inbox.name, found, started.retried, started.unfinished, started.not_done)


def _found_so_far(state_dir: Path, jobs: Sequence[int], *, with_faces: bool) -> tuple[ClipVerification, ...]:
    from daemon.control.client import ask
    from daemon.reports.codec import decoded_list
    from daemon.reports.verify import ClipVerification

    found: list[ClipVerification] = []
    step = JOBS_A_REQUEST_WITH_FACES if with_faces else JOBS_A_REQUEST
    for start in range(0, len(jobs), step):
        details = {"jobs": [str(one) for one in jobs[start : start + step]], "faces": with_faces}
        found += decoded_list(ClipVerification, ask(state_dir, "verified", details))
    return tuple(found)


def _by_itself(folder: Path) -> VerificationReport:
    """Read every clip back that a manifest names in a folder; there is no ledger to compare with."""
    from daemon.reports.verify import ClipVerification, FaceFinding, VerificationReport
    from engine.results.read_back import ReadBack, layouts_in

    layouts = layouts_in(folder)
    if not layouts:
        raise UsageError(
            f"no manifest of dfld lies in {shown(folder)}", hint="give the folder that holds aligned/ or data_src/"
        )
    clips = []
    for layout in layouts:
        clip = ReadBack(layout, None)
        checked = []
        for name in clip.names:
            checked.append(clip.check(name))
            _show_progress(len(checked), len(clip.names))
        counts = Counter(str(one.finding) for one in checked)
        findings = tuple(
            FaceFinding(one.name, one.finding, one.why, one.file, one.stays)
            for one in checked
            if one.finding != "whole"
        )
        name = layout.prefix.removesuffix("-") or folder.name
        not_finished = clip.not_finished or clip.begun_anew()
        clips.append(
            ClipVerification(
                name, _done(), len(checked), len(checked), dict(counts), findings, not_finished=not_finished
            )
        )
    _show_progress(0, 0)
    return VerificationReport(str(folder), tuple(clips))


def _show_progress(done: int, total: int) -> None:
    """Show how far it is on a terminal; clear that with (0, 0)."""
    if sys.stderr.isatty():
        text = f"{done} of {total} faces read back" if total else ""
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def exit_code_of(report: VerificationReport) -> ExitCode:
    """Return OK where every clip is done, was read back, and none of its faces is at fault; TEMPORARY where only clips
    that are still to be done stand in the way."""
    from daemon.ledger.transitions import UNFINISHED, State

    ended = [one for one in report.not_done if one.state not in UNFINISHED]
    is_faulty = any(_faults(clip) or clip.state not in (*UNFINISHED, _done()) for clip in report.clips)
    if is_faulty or report.retried or any(one.state == State.FAILED or one.frames_done for one in ended):
        return ExitCode.PARTLY_FAILED
    is_waited_for = any(report.unfinished.get(state) for state in UNFINISHED)
    if is_waited_for or any(clip.not_finished or clip.state in UNFINISHED for clip in report.clips):
        return ExitCode.TEMPORARY
    return ExitCode.OK


def report_lines(report: VerificationReport) -> list[str]:
    """Return what was found, a line a clip, one a face that is not whole, and one a clip that is not done."""
    lines = []
    for clip in report.clips:
        number = "" if clip.subject is None else f" (job {clip.subject})"
        lines.append(f"{shown(clip.clip)}{number}: {shown(clip.message) if clip.message else _counts_text(clip)}")
        if clip.not_finished and not clip.message:
            lines.append(f"  {clip.not_finished}; a run does it at this moment, or was ended before its end")
        named = sorted(clip.findings, key=lambda one: one.finding not in _fault_words())
        lines += [_face_line(one) for one in named[:SHOWN_FACES]]
        if len(named) > SHOWN_FACES:
            lines.append(f"  and {len(named) - SHOWN_FACES} more (--json)")
        if clip.hint:
            lines.append(f"  {shown(clip.hint)}")
    lines += [_not_done_line(one) for one in report.not_done[:SHOWN_CLIPS]]
    if len(report.not_done) > SHOWN_CLIPS:
        lines.append(f"and {len(report.not_done) - SHOWN_CLIPS} more that are not done (--json)")
    if report.retried:
        lines.append(f"tried again: job {', '.join(map(str, report.retried))}")
    if report.unfinished:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(report.unfinished.items()))
        lines.append(f"not read back, since they are not done: {counts}")
    if not report.clips:
        lines.append(f"{shown(report.subject)}: no clip is done yet")
    return lines


def _face_line(face: FaceFinding) -> str:
    """Return `  DAMAGED     s-1_0.jpg: its picture is empty`; a fault stands in capitals."""
    word = face.finding.upper() if face.finding in _fault_words() else face.finding
    where = f" ({shown(face.file)})" if face.finding == "elsewhere" and face.file else ""
    return f"  {word:<11} {shown(face.name)}: {shown(face.why)}{where}"


def _not_done_line(clip: ClipNotDone) -> str:
    """Return `clip.mp4 (job 3): not finished: 30 frames of 120, running`."""
    of = "" if clip.frames_total is None else f" of {clip.frames_total}"
    count = f"{clip.frames_done} {'frame' if clip.frames_done == 1 else 'frames'}{of}"
    return f"{shown(clip.clip)} (job {clip.job}): not finished: {count}, {clip.state}"


def _counts_text(clip: ClipVerification) -> str:
    from engine.results.checked_face import FINDINGS

    total = sum(clip.counts.values())
    parts = ", ".join(f"{clip.counts[one]} {one}" for one in FINDINGS if clip.counts.get(one))
    return f"{total} {'face' if total == 1 else 'faces'} read back" + (f": {parts}" if parts else "")


def _faults(clip: ClipVerification) -> int:
    """Count the faces at fault; that a run has faces to write yet is no fault of theirs."""
    excused = ("unfinished",) if clip.not_finished else ()
    return sum(clip.counts.get(one, 0) for one in _fault_words() if one not in excused)


def _fault_words() -> Sequence[str]:
    from engine.results.checked_face import FAULTS

    return FAULTS


def _done() -> str:
    from daemon.ledger.transitions import State

    return State.DONE
