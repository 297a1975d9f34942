"""`dfld refine`: landmarks of a faceset found again in its footage, and faces cut anew where that is better."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from daemon.commands.control import add_control_command, state_dir_of
from daemon.commands.face_lines import counted_faces, first_lines
from daemon.commands.faces_progress import faces_progress
from daemon.commands.free_faceset import WAITING_EXPLAINED, say_wait, why_held_at
from daemon.commands.options import add_backend_options, open_chosen_backend, path_argument
from daemon.commands.output import print_json, shown
from daemon.commands.stop import stop_on_signals
from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from engine.refine import RefineReport

EXPLAINED = f"""Each face is looked for again in its frame and in the two on either side, upright and large, and
the median of the landmarks found there is taken. A face gets them, and is cut out anew, where they agree better with
those of the frames beside it or fit a head better than the old ones; all others stay, byte for byte. Names and ids
stay. The mask and the polygons in the JPEG and the picture in masks/ move along.

DIR is a workspace, its data_src or data_dst, or a folder of aligned faces. The footage is looked for where it was when
dfld extracted the faces, and where the service has moved it since; --video says where it lies now, and which it is for
faces that DeepFaceLab extracted. A face is taken from no footage but its own. Use the models that the faces were
extracted with, or better ones.

A kill leaves each face with its mask as it was or as it should be; the same command does the rest. What was moved
keeps the landmarks that it had first, by which --undo cuts it out as it was.
{WAITING_EXPLAINED}"""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    what = "find the landmarks of a faceset again in its footage, and cut faces anew where that is better"
    parser = add_control_command(commands, "refine", what, run_refine)
    parser.epilog, parser.formatter_class = EXPLAINED, argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=path_argument, metavar="DIR", help="workspace or folder of aligned faces")
    parser.add_argument(
        "--video", action="append", default=[], type=path_argument, metavar="FILE",
        help="video or folder of images that the faces are of (default: what they were extracted from); may repeat",
    )  # fmt: skip
    add_backend_options(parser)
    parser.add_argument(
        "--undo", action="store_true", help="give faces that were moved the landmarks back that they had first"
    )
    parser.add_argument("--dry-run", action="store_true", help="say how many faces would move, and how far")
    parser.add_argument("--no-tonemap", action="store_true", help="take HDR video as it is, as the extraction did")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run_refine(options: argparse.Namespace) -> int:
    """Refine every faceset that DIR means."""
    from daemon.ledger.moved_originals import moved_originals
    from daemon.state_folder import LEDGER_NAME
    from engine.facesets.changing.free_faceset import Waiting
    from engine.facesets.faceset_folder import faceset_folders
    from engine.frames.contract import look_at_source
    from engine.refine import refine

    folders = faceset_folders(options.folder)
    for video in options.video:
        look_at_source(video)  # said before the models are loaded, which takes its time
    moved = moved_originals(state_dir_of(options.config) / LEDGER_NAME)
    backend = None if options.undo else open_chosen_backend(options)
    for warning in () if backend is None else backend.info.warnings:
        print(f"dfld: warning: {shown(warning)}", file=sys.stderr)
    reports: list[RefineReport] = []
    with stop_on_signals() as stop:
        for folder in folders:
            if stop.is_set():
                break
            visible = not (options.quiet or options.json)
            with faces_progress(visible=visible, done_word="looked at again") as on_progress:
                reports.append(
                    refine(
                        folder,
                        backend=backend,
                        videos=options.video,
                        moved=moved,
                        dry_run=options.dry_run,
                        tone_map=not options.no_tonemap,
                        waiting=Waiting(why_held_at(options, folder), say_wait, stop),
                        stop=stop,
                        on_progress=on_progress,
                    )
                )
    if options.json:
        print_json([_as_json(report) for report in reports])
    else:
        for report in reports:
            print("\n".join(report_lines(report)))
    if stop.is_set():
        print("dfld: interrupted; the same command goes on with the rest", file=sys.stderr)
        return stop.exit_code
    is_whole = all(not {"cannot_be_moved", "changed_meanwhile"} & one.outcomes.keys() for one in reports)
    return ExitCode.OK if is_whole else ExitCode.PARTLY_FAILED


def report_lines(report: RefineReport) -> list[str]:
    """Return what became of a faceset, a line an outcome, and one a face that stands out."""
    from engine.refine import WHY

    moved = report.moved_px
    verb = "would move" if report.dry_run else "moved"
    lines = [
        shown(report.folder.sentence),
        f"  {len(moved)} of {counted_faces(len(report.faces))} {verb}{_how_far(moved)}",
    ]
    lines += [f"  {count:6d}  {WHY[outcome]}" for outcome, count in report.outcomes.most_common()]
    named = [f"{one.name}: {one.why}" for one in report.faces if one.why]
    named += [f"{one.name} is left as it is: {one.why}" for one in report.unreadable]
    return [*lines, *first_lines(named)]


def _how_far(moved: tuple[float, ...]) -> str:
    if not moved:
        return ""
    middle, most = moved[len(moved) // 2], moved[-1]
    return f", by {middle:.1f} px of the aligned picture in the middle, {most:.1f} px at most"


def _as_json(report: RefineReport) -> dict[str, object]:
    from engine.refine import values_of

    return {
        "aligned": str(report.folder.aligned),
        "dry_run": report.dry_run,
        "completed": report.completed,
        "moved": len(report.moved_px),
        "outcomes": dict(report.outcomes),
        "faces": [values_of(one) for one in report.faces],
        "unreadable": [asdict(one) for one in report.unreadable],
    }
