"""`dfld mask`: what of each aligned face belongs to the face, judged and put into its JPEG as DeepFaceLab reads it."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.control import add_control_command, state_dir_of
from daemon.commands.handed_over import hand_over
from daemon.commands.options import path_argument
from daemon.commands.output import print_json, shown, steerable
from daemon.commands.stop import stop_on_signals
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from daemon.commands.handed_over import HandedOver
    from engine.facesets.faceset_folder import FacesetFolder
    from engine.mask_faceset import MaskedFace, MaskReport
    from engine.masks.flicker import Flicker

SOURCES = ("auto", "hull", "xseg", "parser", "intersect", "union")
"""Tested against the engine's."""
INCLUDED = ("glasses", "ears", "hair", "hat")
"""What a parser's mask can hold beside the face. Tested against the engine's."""
FACE_TYPES = ("half_face", "midfull_face", "full_face", "whole_face", "head")
SHOWN_MAX = 24
CACHE = "dfld/xseg"
EXPLAINED = """sources:
  auto       polygons that a person drew > the XSeg network > the parser > the hull; a mask that the checks refuse is
             not taken
  hull       the hull of the 68 landmarks, as DeepFaceLab draws it
  xseg       the XSeg network, as DeepFaceLab applies it
  parser     the face parser, whatever the checks say
  intersect  polygons > what XSeg and parser both take for the face > the hull
  union      polygons > what XSeg or parser takes for the face > the hull

DIR is a workspace, its data_src or data_dst, or a folder of aligned faces. A mask is written where DeepFaceLab's
trainer reads it, in the JPEG; pixels, landmarks, polygons and all else in there stay as they are, and the picture in
masks/ follows. A mask that dfld did not write is a person's and stays, unless --replace-theirs is given. --check makes
and judges all masks, and writes nothing.

An XSeg model is taken as DeepFaceLab saves it (XSeg_256.npy, XSeg_data.dat). It is converted once, which takes some
seconds, and kept in a private cache as long as its file stays the same.

A face parser is an ONNX file of 19 classes (BiSeNet) or MediaPipe's 6, or the name of one that `dfld models add` keeps.

Where the daemon fills the workspace, its own job masks these faces, and the command waits for it.

Ctrl-C and kills lose nothing: the next run goes on with the faces that have no mask of these sources yet."""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_control_command(
        commands, "mask", "mask the faces of a faceset: hull, XSeg or a face parser, each mask checked", run_mask
    )
    parser.epilog, parser.formatter_class = EXPLAINED, argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=path_argument, metavar="DIR", help="workspace or folder of aligned faces")
    parser.add_argument(
        "--source", choices=SOURCES, default="auto", metavar="NAME", help=f"{' | '.join(SOURCES)} (default auto)"
    )
    parser.add_argument(
        "--xseg-model", type=path_argument, metavar="DIR", help="folder in which DeepFaceLab trained XSeg"
    )
    parser.add_argument(
        "--xseg-face-type", choices=FACE_TYPES, metavar="TYPE",
        help=f"crop that XSeg was trained on: {' | '.join(FACE_TYPES)} (default: as its XSeg_data.dat says)",
    )  # fmt: skip
    parser.add_argument(
        "--parser", metavar="FILE|NAME", help="ONNX file of a face parser, or the name of one of `dfld models`"
    )
    parser.add_argument(
        "--include", action="append", choices=INCLUDED, metavar="WHAT",
        help=f"what the parser's mask holds beside the face: {' | '.join(INCLUDED)}; may be repeated (default glasses)",
    )  # fmt: skip
    parser.add_argument(
        "--model-root", type=path_argument, metavar="DIR", help="folder of models (default ~/.insightface)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto",
        help="where networks run (default auto: the GPU when there is one)",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="make and judge the masks, write nothing")
    parser.add_argument("--replace-theirs", action="store_true", help="replace masks that dfld did not write, too")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run_mask(options: argparse.Namespace) -> int:
    """Mask every faceset that DIR means."""
    from engine.facesets.faceset_folder import faceset_folders
    from engine.mask_faceset import MaskRequest, mask_faceset
    from engine.mask_sources import SourceSettings, open_mask_sources
    from engine.masks.parser import DEFAULT_INCLUDE

    folders = faceset_folders(options.folder)  # said before networks are loaded, which takes its time
    handed = () if options.check else _handed_over(options, folders)
    folders = tuple(one for one in folders if one not in {job.folder for job in handed})
    if handed and not folders:
        return _print_all(options, handed, [])
    settings = SourceSettings(
        mode=options.source,
        xseg_model=options.xseg_model,
        xseg_face_type=options.xseg_face_type,
        parser=_parser_file(options),
        include=tuple(options.include or DEFAULT_INCLUDE),
        cache=cache_folder(),
        device=options.device,
    )
    opened = open_mask_sources(settings)
    request = MaskRequest(
        options.source,
        opened.sources,
        opened.made_by,
        replace_theirs=options.replace_theirs,
        only_check=options.check,
    )
    reports: list[MaskReport] = []
    with stop_on_signals() as stop:
        for folder in folders:
            if stop.is_set():
                break
            label = shown(folder.aligned.parent.name)
            with _progress(label, visible=not (options.quiet or options.json)) as on_progress:
                reports.append(mask_faceset(folder, request, stop=stop, on_progress=on_progress))
    exit_code = _print_all(options, handed, reports)
    if stop.is_set():
        print("dfld: interrupted; the same command goes on with the rest", file=sys.stderr)
        return stop.exit_code
    return exit_code


def _handed_over(options: argparse.Namespace, folders: Sequence[FacesetFolder]) -> Sequence[HandedOver]:
    """Have the running daemon mask the facesets that it fills."""
    from engine.masks.parser import DEFAULT_INCLUDE

    parser = _parser_file(options)
    asked = {
        "source": options.source,
        "xseg_model": "" if options.xseg_model is None else str(options.xseg_model.absolute()),
        "xseg_face_type": options.xseg_face_type,
        "parser": "" if parser is None else str(parser.absolute()),
        "include": tuple(options.include or DEFAULT_INCLUDE),
        "replace_theirs": options.replace_theirs,
    }
    quiet = options.quiet or options.json
    return hand_over(state_dir_of(options.config), folders, "mask", lambda _folder: asked, quiet=quiet)


def _print_all(options: argparse.Namespace, handed: Sequence[HandedOver], reports: Sequence[MaskReport]) -> int:
    """Print what came of every faceset; return the exit code."""
    if options.json:
        print_json([*(job.values for job in handed), *(_as_json(report) for report in reports)])
    else:
        for job in handed:
            print("\n".join(job.lines))
        for report in reports:
            _print(report, only_check=options.check)
    is_whole = all(not {"unreadable", "changed meanwhile"} & report.outcomes.keys() for report in reports)
    return ExitCode.OK if is_whole else ExitCode.PARTLY_FAILED


def _parser_file(options: argparse.Namespace) -> Path | None:
    """Return the file of the parser that was named: the file itself, or the one that `dfld models add` kept."""
    from engine.masks.kept_parsers import parser_file
    from engine.models.packs import DEFAULT_ROOT

    if not options.parser:
        return None
    given = Path(options.parser)
    if given.suffix == ".onnx" or len(given.parts) != 1:
        return given
    root: Path = options.model_root or DEFAULT_ROOT
    return parser_file(root.expanduser(), options.parser)


def cache_folder() -> Path:
    """Return where converted networks are kept: $XDG_CACHE_HOME/dfld/xseg, ~/.cache where that is not set."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # noqa: PTH117 -- as the XDG base directory specification asks: a relative one is none
        return Path(given) / CACHE
    try:
        return Path.home() / ".cache" / CACHE
    except RuntimeError as problem:
        raise UsageError(
            "there is no home folder in which converted networks could be kept", hint="set XDG_CACHE_HOME to a folder"
        ) from problem


def _print(report: MaskReport, *, only_check: bool) -> None:
    from engine.mask_faceset import OUTCOMES

    print(shown(report.folder.sentence))
    words = {"masked": "would be masked"} if only_check else {}
    counts = [f"{report.outcomes[one]} {words.get(one, one)}" for one in OUTCOMES if report.outcomes[one]]
    print(f"  {len(report.faces)} of {report.total} faces: {', '.join(counts) or 'none'}")
    for source, count in report.sources.most_common():
        print(f"  {count:6d} from {shown(source)}")
    refused = Counter(one.source for face in report.faces for one in face.refused)
    for source, count in refused.most_common():
        print(f"  {count:6d} masks of {shown(source)} not taken")
    if report.flickering:
        print(f"  {len(report.flickering):6d} masks flicker: look at them")
    lines = [line for face in report.faces if (line := _line(face, report.flickering.get(face.name)))]
    for line in lines[:SHOWN_MAX]:
        print(f"  {shown(line)}")
    if len(lines) > SHOWN_MAX:
        print(f"  and {len(lines) - SHOWN_MAX} more; --json has them all")


def _line(face: MaskedFace, flicker: Flicker | None) -> str:
    """Say what is to be said of one face; "" for most."""
    if face.why:
        return f"{face.name}: {face.outcome}: {face.why}"
    parts = [f"{one.source} not taken: {one.reason}" for one in face.refused]
    if flicker is not None:
        parts.append(f"its area changes by {flicker.change:.0%} from {flicker.neighbour}, and the head hardly turns")
    if face.picture_left:
        parts.append("its picture in masks/ is a person's, and stays")
    return f"{face.name}: {face.source}; {'; '.join(parts)}" if parts else ""


def _as_json(report: MaskReport) -> dict[str, object]:
    return {
        "aligned": str(report.folder.aligned),
        "completed": report.completed,
        "total": report.total,
        "outcomes": dict(report.outcomes),
        "faces": [
            {
                "name": face.name,
                "outcome": face.outcome,
                "source": face.source,
                "why": face.why,
                "refused": [{"source": one.source, "reason": one.reason} for one in face.refused],
                "checks": {check.name: check.measured for check in face.checks},
                "picture_left": face.picture_left,
                "flicker": asdict(report.flickering[face.name]) if face.name in report.flickering else None,
            }
            for face in report.faces
        ],
    }


@contextmanager
def _progress(label: str, *, visible: bool) -> Iterator[Callable[[int, int], None]]:
    """Show faces on a terminal; nothing where stderr is not one."""
    if not visible or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(file=steerable(sys.stderr)), transient=True) as bar:
        task = bar.add_task(escape(label), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
