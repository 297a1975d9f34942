"""`dfld track`: one face that a person points at, followed through its shot into a DeepFaceLab workspace."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from daemon.commands.extract import FACE_TYPES, add_replace_options, print_report, progress_bar, report_values
from daemon.commands.options import add_backend_options, add_json_option, open_chosen_backend, path_argument
from daemon.commands.output import print_json, shown
from daemon.commands.stop import stop_on_signals
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from engine.types import ExtractSettings
    from engine.workspace.file_names import Layout

TIME = re.compile(r"(?:(?:(\d{1,3}):)?(\d{1,2}):)?(\d{1,6}(?:\.\d{1,6})?)")
BOX_MAX_PX = 16_384
"""No side of a picture is longer."""
LEAST_CONFIDENCE = 0.3
"""Detections of a face that a person points at are believed sooner than those of `dfld extract` (0.5)."""
EXPLAINED = """For faces that no reference photo matches: make-up, masks, an old film. The face in the box at TIME is
followed back to where its shot begins and on to where it ends, or until it is lost; --from and --until set nearer ends.
Animals have no face that the detector sees.

OUT then holds what `dfld extract` would write, under names of its own, so that it may be the folder of an extraction
of the same person. Faces that lie there already are not written twice. In the log the reason of each is by_hand.

example:
  dfld track film.mp4 --box 640,180,220,260 --at 1:12:30.5 --out workspace/data_src"""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "track",
        help="extract one face that you point at, through its shot",
        description="Follow one face, given by a box and a time, through its shot, and write it as an extraction does.",
        epilog=EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", type=path_argument, metavar="VIDEO", help="video file or folder of images")
    parser.add_argument(
        "--box", type=_box, required=True, metavar="X,Y,W,H",
        help="left, top, width and height of the face, px of the upright picture",
    )  # fmt: skip
    parser.add_argument(
        "--at", type=_time, required=True, metavar="TIME", help="when it shows there: seconds, M:SS or H:MM:SS"
    )
    parser.add_argument("--from", dest="since", type=_time, metavar="TIME", help="follow it back no further than this")
    parser.add_argument("--until", type=_time, metavar="TIME", help="follow it no further than this")
    parser.add_argument(
        "--out", type=path_argument, metavar="DIR",
        help="where the workspace is written (default: a folder named after VIDEO, in this folder)",
    )  # fmt: skip
    add_replace_options(parser)
    add_backend_options(parser)
    group = parser.add_argument_group("extraction")
    group.add_argument("--face-type", choices=FACE_TYPES, help="DeepFaceLab's crop (default whole_face)")
    group.add_argument("--output-size", type=int, metavar="PX", help="side of the aligned images (default 512)")
    group.add_argument("--jpeg-quality", type=int, metavar="Q", help="1 to 100 (default 95)")
    group.add_argument(
        "--min-confidence", type=float, metavar="NUMBER", help=f"least detection score (default {LEAST_CONFIDENCE})"
    )
    group.add_argument("--no-tonemap", action="store_true", help="take HDR video as it is, without tone mapping")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    add_json_option(parser)
    parser.set_defaults(run=run_track)


def run_track(options: argparse.Namespace) -> int:
    """Follow the face and write it."""
    from engine.frames.contract import look_at_source
    from engine.results.earlier_run import find_earlier_run, require_free
    from engine.track_by_hand import Pointer, track_by_hand
    from engine.workspace.sole_writer import sole_writer

    if options.discard_hand_work and not options.replace:
        raise UsageError("--discard-hand-work says what --replace removes; it does nothing alone", hint="give both")
    if (options.since or 0.0) > options.at or (options.until is not None and options.until < options.at):
        raise UsageError("--at lies outside of what --from and --until leave", hint="--from <= --at <= --until")
    look_at_source(options.input)  # said before the models are loaded, which takes its time
    settings, layout = _settings(options), _layout(options)
    earlier = find_earlier_run(layout)
    if earlier is not None and not options.replace and earlier.found.manifest.finished:
        require_free([earlier])
    backend = open_chosen_backend(options)
    for warning in backend.info.warnings:
        print(f"dfld: warning: {shown(warning)}", file=sys.stderr)
    with (
        sole_writer(layout),
        stop_on_signals() as stop,
        progress_bar(shown(options.input.name), visible=not (options.quiet or options.json)) as on_progress,
    ):
        report = track_by_hand(
            options.input,
            layout,
            pointer=Pointer(options.box, options.at, options.since, options.until),
            backend=backend,
            settings=settings,
            stop=stop,
            on_progress=on_progress,
            discard=str(uuid4()) if options.discard_hand_work else "",
        )
    if report is None:
        return stop.exit_code
    if options.json:
        print_json(report_values(report))
    elif not options.quiet:
        print_report(report)
    return ExitCode.OK if report.completed else stop.exit_code


def _settings(options: argparse.Namespace) -> ExtractSettings:
    from engine.types import ExtractSettings

    names = ("face_type", "output_size", "jpeg_quality")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    confidence = LEAST_CONFIDENCE if options.min_confidence is None else options.min_confidence
    return ExtractSettings(min_confidence=confidence, tone_map=not options.no_tonemap, **given)


def _layout(options: argparse.Namespace) -> Layout:
    """Return where the faces go: names begin with the video and the time, so that they are like no other's."""
    from engine.workspace.file_names import output_layout, slug_of

    slug = slug_of(options.input.absolute().stem)
    prefix = f"{slug}-at-{round(options.at * 1000):d}-"
    return replace(output_layout(options.out or Path(slug)), prefix=prefix)


def _time(text: str) -> float:
    """Read seconds, M:SS or H:MM:SS, each with a fraction."""
    found = TIME.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give seconds, M:SS or H:MM:SS")
    hours, minutes, seconds = found.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def _box(text: str) -> tuple[float, float, float, float]:
    """Read left, top, width, height; return left, top, right, bottom."""
    try:
        left, top, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no box: give X,Y,W,H in px, as 640,180,220,260") from None
    if not (max(abs(left), abs(top), width, height) <= BOX_MAX_PX and min(width, height) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no box of a picture: width and height are at least 1 px")
    return left, top, left + width, top + height
