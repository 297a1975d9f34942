"""`dfld tune`: what each similarity threshold would keep in some footage, and which one fits it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.extract import add_reference_options, identity_from
from daemon.commands.options import add_backend_options, add_json_option, open_chosen_backend, path_argument
from daemon.commands.output import print_json, shown, steerable
from daemon.commands.stop import stop_on_signals
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from engine.tuning.threshold_curve import Choice, CurvePoint
    from engine.tuning.tune import Survey

PICTURE = "tune.png"
PICTURE_FORMATS = (".png", ".jpg", ".jpeg")

EXPLAINED = """The footage is looked through as `dfld extract` does, and nothing is written but the picture.
Of two faces in one frame the less similar one is certainly somebody else: such faces are the false accepts and
same-frame strangers below. Who stands alone is counted as kept, and is not proven right. Faces are counted by how
long a track is in view."""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "tune",
        help="show what each similarity threshold would keep in a video, and choose one",
        description="Print how many faces of a video each similarity threshold keeps and how many strangers it lets "
        "in, draw the histogram, and name the threshold that fits.",
        epilog=EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", type=path_argument, metavar="INPUT", help="video file or folder of images")
    parser.add_argument(
        "--picture", type=path_argument, default=Path(PICTURE), metavar="FILE",
        help=f"where the histogram is written, .png or .jpg; replaced if it exists (default {PICTURE} in this folder)",
    )  # fmt: skip
    add_reference_options(parser)
    add_backend_options(parser)
    parser.add_argument("--min-confidence", type=float, metavar="NUMBER", help="least detection score (default 0.5)")
    parser.add_argument("--frame-skip", type=int, metavar="N", help="frames left out after each one (default 0)")
    parser.add_argument("--no-tonemap", action="store_true", help="take HDR video as it is, without tone mapping")
    parser.add_argument("--quiet", action="store_true", help="no progress, and nothing about unused photos")
    add_json_option(parser)
    parser.set_defaults(run=run_tune)


def run_tune(options: argparse.Namespace) -> int:
    """Look through the input, print the curve and the choice, write the picture."""
    if options.picture.suffix.lower() not in PICTURE_FORMATS:
        raise UsageError(f"--picture {options.picture} is neither .png nor .jpg", hint=f"for example {PICTURE}")
    if not options.picture.absolute().parent.is_dir():
        raise UsageError(f"--picture {options.picture}: there is no such folder", hint="make it, or choose another")
    from engine.frames.contract import look_at_source
    from engine.tuning.threshold_curve import choose, curve
    from engine.tuning.tune import survey
    from engine.types import ExtractSettings

    given = {name: getattr(options, name) for name in ("min_confidence", "frame_skip")}
    settings = ExtractSettings(
        tone_map=not options.no_tonemap, **{name: value for name, value in given.items() if value is not None}
    )
    look_at_source(options.input)  # said before the models are loaded, which takes its time
    backend = open_chosen_backend(options)
    for warning in backend.info.warnings:
        print(f"dfld: warning: {shown(warning)}", file=sys.stderr)
    identity = identity_from(options, backend)
    with (
        stop_on_signals() as stop,
        _progress(shown(options.input.name), visible=not (options.quiet or options.json)) as on_frames,
    ):
        seen = survey(
            options.input, identity=identity, backend=backend, settings=settings, stop=stop, on_frames=on_frames
        )
    if not seen.completed:
        print("dfld: interrupted; nothing was written", file=sys.stderr)
        return stop.exit_code
    points, choice = curve(seen.tracks, seen.default), choose(seen.tracks, seen.default)
    _write_picture(options.picture, f"{options.input.name}: {identity.name}, {backend.info.name}", seen, choice)
    for warning in seen.warnings:
        print(f"dfld: warning: {shown(warning)}", file=sys.stderr)
    if options.json:
        return print_json(
            {
                "source": str(options.input),
                "frames_examined": seen.frames,
                "default": seen.default,
                "curve": [asdict(point) for point in points],
                "chosen": asdict(choice),
                "picture": str(options.picture),
                "tracks": [{**asdict(track), "beside": sorted(track.beside)} for track in seen.tracks],
            }
        )
    _print_curve(seen, points, choice)
    print(f"picture  {shown(options.picture)}")
    return ExitCode.OK


def _print_curve(seen: Survey, points: tuple[CurvePoint, ...], choice: Choice) -> None:
    from engine.tuning.threshold_curve import kinds_of

    kinds = list(kinds_of(seen.tracks, seen.default).values())
    print(
        f"{len(seen.tracks)} tracks in {seen.frames} frames: {kinds.count('person')} accepted by auto, "
        f"{kinds.count('stranger')} same-frame strangers, {kinds.count('undecided')} undecided"
    )
    print(f"{'threshold':>9}  {'kept faces':>10}  {'tracks':>6}  {'false faces':>11}  {'tracks':>6}  false-accept rate")
    for point in points:
        rate = "no strangers seen"
        if point.false_accept_rate is not None and point.rate_at_most is not None:
            rate = f"{point.false_accept_rate:6.1%} (95 %: at most {point.rate_at_most:.0%})"
        mark = "  auto" if abs(point.threshold - seen.default) < 1e-6 else ""
        print(
            f"{point.threshold:9.2f}  {point.faces:10d}  {point.tracks:6d}  {point.false_faces:11d}  "
            f"{point.false_tracks:6d}  {rate}{mark}"
        )
    print(f"choice   {choice.threshold:.2f}: {choice.reason}")


def _write_picture(path: Path, title: str, seen: Survey, choice: Choice) -> None:
    import cv2

    from engine.tuning.threshold_picture import threshold_picture
    from engine.workspace.output_files import write_file

    pixels = threshold_picture(title, seen.tracks, default=seen.default, chosen=choice.threshold)
    _, encoded = cv2.imencode(path.suffix.lower(), pixels)
    write_file(path, encoded.tobytes())


@contextmanager
def _progress(label: str, *, visible: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Show frames on a terminal; nothing where stderr is not one."""
    if not visible or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar

    with Bar(console=Console(file=steerable(sys.stderr)), transient=True) as bar:
        task = bar.add_task(escape(shown(label)), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
