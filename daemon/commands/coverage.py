"""`dfld coverage`: what a faceset shows, and what it lacks for the faces that a model is to be used on."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.face_lines import counted_faces
from daemon.commands.faces_progress import faces_progress
from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import print_json, shown
from daemon.commands.stop import stop_on_signals
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Iterator

    from engine.coverage import Covered
    from engine.facesets.coverage.report import CoverageReport
    from engine.facesets.faceset_folder import FacesetFolder

PAGE_ENDINGS = (".html", ".htm")
EXPLAINED = """Faces are counted in cells of 15 by 15 degrees of yaw and pitch. A cell is missing where dst has 3 faces
or more and src fewer than 3. Left and right are those of the picture. Turns beyond 60 degrees are labelled about.

SRC and DST are a workspace, its data_src or data_dst, or a folder of aligned faces. A workspace alone is compared with
its own data_dst. Without DST the gaps between poses are listed."""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "coverage",
        help="show which poses, expressions and light a faceset has, and which it lacks",
        description="Count the faces of SRC by pose, expression and light, and name what DST needs and SRC lacks.",
        epilog=EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("src", type=path_argument, metavar="SRC", help="the faces that a model is trained on")
    parser.add_argument(
        "dst", type=path_argument, nargs="?", metavar="DST", help="the faces that the model is to be used on"
    )
    parser.add_argument(
        "--html", type=path_argument, metavar="FILE",
        help="write a page with pictures there, and beside it a .png and a .json; replaced if they exist",
    )  # fmt: skip
    add_json_option(parser)
    parser.set_defaults(run=run_coverage)


def run_coverage(options: argparse.Namespace) -> int:
    """Measure, count, compare; print what is missing, write the page."""
    from engine.coverage import cover_faceset, write_coverage

    if options.html is not None:
        _require_page(options.html)
    here, there = _chosen(options.src, options.dst)
    with stop_on_signals() as stop, faces_progress(visible=not options.json) as on_progress:
        covered = cover_faceset(here, there, stop=stop, on_progress=on_progress)
    if not covered.is_complete:
        return stop.exit_code
    files = () if options.html is None else write_coverage(covered, options.html)
    if options.json:
        from engine.facesets.coverage.document import coverage_document

        unreadable = [asdict(one) for one in covered.unreadable]
        written = [str(path) for path in files]
        return print_json({**coverage_document(covered.report), "unreadable": unreadable, "files": written})
    print("\n".join((*_lines(covered, here, there), *(f"written   {shown(path)}" for path in files))))
    return ExitCode.OK


def _require_page(path: Path) -> None:
    if path.suffix.lower() not in PAGE_ENDINGS:
        raise UsageError(f"--html {path} does not end in .html", hint="for example coverage.html")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--html {path}: there is no such folder", hint="make it, or choose another")


def _chosen(src: Path, dst: Path | None) -> tuple[FacesetFolder, FacesetFolder | None]:
    """Return the facesets that are meant: of a workspace its data_src, and its data_dst to compare with."""
    from engine.facesets.faceset_folder import faceset_folders, faceset_of

    here = faceset_of(src, "src")
    if dst is not None:
        return here, faceset_of(dst, "dst")
    return here, next((one for one in faceset_folders(src) if one != here), None)


def _lines(covered: Covered, here: FacesetFolder, there: FacesetFolder | None) -> Iterator[str]:
    report = covered.report
    yield f"src       {shown(here.aligned)}: {_tally_words(report)}"
    if report.there is not None and there is not None:
        yield f"dst       {shown(there.aligned)}: {counted_faces(report.there.faces)}"
    for one in covered.unreadable:
        yield f"unread    {shown(one.name)}: {shown(one.why)}"
    yield "          " + ", ".join(f"{number} {words}" for number, words, _ in report.figures[1:])
    for words, count, other in report.expression_rows:
        against = "" if other is None or report.there is None else f"   dst {report.there.share(other):>6}"
        yield f"  {words:<18} src {report.here.share(count):>6}{against}"
    lacks = (*report.poses, *report.others)
    yield f"{report.lacks_title}: {len(lacks)}" if lacks else report.nothing_lacks
    yield from (f"  {one.sentence}" for one in lacks)


def _tally_words(report: CoverageReport) -> str:
    tally = report.here
    median = "" if tally.upscale_median is None else f", half of them enlarged at most {tally.upscale_median:g} times"
    return f"{counted_faces(tally.faces)}{median}"
