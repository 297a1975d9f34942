"""`dfld extract`: videos or image folders in, a DeepFaceLab workspace out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from daemon.commands.options import (
    add_backend_options,
    add_json_option,
    name_of_person,
    open_chosen_backend,
    path_argument,
)
from daemon.commands.output import print_error, print_json, shown, steerable
from daemon.commands.stop import Stop, stop_on_signals
from daemon.errors import ExitCode, UsageError, exit_code_of

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from engine.backends.backend import Backend
    from engine.results.manifest_lines import RunNote
    from engine.types import ExtractReport, ExtractSettings, Identity, Progress
    from engine.workspace.file_names import Layout

FACE_TYPES = ("half_face", "midfull_face", "full_face", "whole_face", "head")
"""As engine.types has them, written again because importing it costs the time of numpy."""

EXAMPLE = """example:
  dfld extract interview.mp4 --reference photos/alice --out workspace/data_src --backend dlib

OUT/aligned then holds what DeepFaceLab trains on, OUT/masks the hull masks, OUT/debug the log and a preview sheet.
Several inputs share one OUT; their files are then distinguished by the input's name in front."""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "extract",
        help="extract one person's faces from videos or image folders",
        description="Find the person of the reference photos in videos or folders of images and write a DeepFaceLab "
        "workspace.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", type=path_argument, metavar="INPUT", help="video file or folder of images")
    add_reference_options(parser)
    parser.add_argument(
        "--out", required=True, type=path_argument, metavar="DIR", help="where the workspace is written"
    )
    add_replace_options(parser)
    add_backend_options(parser)
    add_extract_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    add_json_option(parser)
    parser.set_defaults(run=run_extract)


def add_replace_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what becomes of the results of an earlier run."""
    parser.add_argument(
        "--replace",
        action="store_true",
        help="remove the faces of an earlier run first; manual changes (deleted, moved, edited, added) stay",
    )
    parser.add_argument(
        "--discard-hand-work",
        action="store_true",
        help="with --replace: give up manual changes, too; files that dfld did not write stay",
    )


def add_reference_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who the person is, and who is not."""
    parser.add_argument(
        "--reference", action="append", required=True, type=path_argument, metavar="PATH",
        help="photo of the wanted person, folder of photos, or identity file; may repeat",
    )  # fmt: skip
    parser.add_argument("--name", help="what to call the person in the log (default: the reference's folder)")
    parser.add_argument(
        "--largest-face", action="store_true", help="of a reference photo with several faces, take the largest"
    )
    parser.add_argument(
        "--negative",
        action="append",
        default=[],
        type=path_argument,
        metavar="PATH",
        help="photo or folder of somebody who must not be taken for the person; may be repeated",
    )
    parser.add_argument(
        "--other-age",
        action="append",
        default=[],
        type=path_argument,
        metavar="PATH",
        help="photo or folder of the same person at the age that is not wanted; may be repeated",
    )
    parser.add_argument(
        "--allow-mixed", action="store_true", help="take reference photos that do not resemble each other"
    )


def add_extract_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `[inbox.extract]` has under the same names."""
    group = parser.add_argument_group("extraction")
    group.add_argument(
        "--similarity-threshold", type=_threshold, default=None, metavar="auto|NUMBER",
        help="raw similarity from which a face is accepted, 0.3 to 0.95 (default auto: the backend's own)",
    )  # fmt: skip
    group.add_argument("--min-confidence", type=float, metavar="NUMBER", help="least detection score (default 0.5)")
    group.add_argument("--frame-skip", type=int, metavar="N", help="frames left out after each one (default 0)")
    group.add_argument("--face-type", choices=FACE_TYPES, help="DeepFaceLab's crop (default whole_face)")
    group.add_argument(
        "--margin-factor", type=float, metavar="NUMBER",
        help="padding round the face; 0.0 half_face, 0.0675 midfull_face, 0.2109375 full_face, 0.40 whole_face, "
        "0.70 head; other values need --plain-crop",
    )  # fmt: skip
    group.add_argument("--output-size", type=int, metavar="PX", help="side of the aligned images (default 512)")
    group.add_argument(
        "--max-faces-per-frame", type=int, metavar="N", help="keep at most N faces of a frame (default 0: no limit)"
    )
    group.add_argument(
        "--keep", choices=("all", "varied"), help="varied drops near-duplicates, the sharpest stays (default all)"
    )
    group.add_argument(
        "--only-fit-to-train", action="store_true", help="drop faces that are too small, blurred or cut off to train on"
    )
    group.add_argument("--format", choices=("jpg", "png"), help="png is not read by DeepFaceLab (default jpg)")
    group.add_argument("--jpeg-quality", type=int, metavar="Q", help="1 to 100 (default 95)")
    group.add_argument(
        "--no-tonemap", action="store_true", help="take HDR video as it is, without tone mapping to what SDR shows"
    )
    group.add_argument("--plain-crop", action="store_true", help="crops without DeepFaceLab metadata, any margin")


def settings_from(options: argparse.Namespace) -> ExtractSettings:
    """Fill ExtractSettings with what was given; its own defaults stand for the rest."""
    from engine.types import ExtractSettings

    names = (
        "min_confidence", "frame_skip", "face_type", "margin_factor", "output_size", "max_faces_per_frame",
        "keep", "format", "jpeg_quality",
    )  # fmt: skip
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return ExtractSettings(
        similarity_threshold=options.similarity_threshold,
        only_fit_to_train=options.only_fit_to_train,
        plain_crop=options.plain_crop,
        tone_map=not options.no_tonemap,
        **given,
    )


def run_extract(options: argparse.Namespace) -> int:
    """Extract every input; go on after one that cannot be read, and say so at the end."""
    from engine.errors import InputError
    from engine.extract import run_note
    from engine.frames.contract import look_at_source
    from engine.workspace.sole_writer import sole_writer

    settings = settings_from(options)
    if options.discard_hand_work and not options.replace:
        raise UsageError("--discard-hand-work says what --replace removes; it does nothing alone", hint="give both")
    if len(options.inputs) == 1:  # said before the models are loaded, which takes its time
        look_at_source(options.inputs[0])
    layouts = _layouts(options.inputs, options.out)
    _require_free(options, layouts)  # said before the models are loaded, too
    backend = open_chosen_backend(options)
    for warning in backend.info.warnings:
        print(f"dfld: warning: {shown(warning)}", file=sys.stderr)
    identity = identity_from(options, backend)
    reports: list[ExtractReport] = []
    failures: list[tuple[Path, InputError]] = []
    with sole_writer(layouts[0]), stop_on_signals() as stop:
        notes = {
            layout: run_note(source, identity, backend.info, settings)
            for source, layout in zip(options.inputs, layouts, strict=True)
            if source.exists()
        }
        _require_free(options, layouts, notes)
        for source, layout in zip(options.inputs, layouts, strict=True):
            if stop.is_set():
                break
            try:
                reports.append(_extract_one(source, layout, identity, backend, settings, options, stop))
            except InputError as problem:
                if len(options.inputs) == 1:
                    raise
                failures.append((source, problem))
    if options.json:
        print_json([report_values(report) for report in reports] + [
            {"source": str(source), "error": failure.message, "hint": failure.hint,
             "exit_code": int(exit_code_of(failure))}
            for source, failure in failures
        ])  # fmt: skip
    else:
        for _, failure in failures:
            print_error(failure, as_json=False)
    if stop.is_set():
        return stop.exit_code
    if failures:
        return ExitCode.PARTLY_FAILED if reports else ExitCode.FAILED
    return ExitCode.OK


def _require_free(
    options: argparse.Namespace, layouts: Sequence[Layout], notes: dict[Layout, RunNote] | None = None
) -> None:
    """Refuse, before anything is changed, where results of an earlier run lie. Without `notes`, of a finished one."""
    from engine.results.earlier_run import find_earlier_run, require_free

    if options.replace:
        return
    earlier = [one for layout in layouts if (one := find_earlier_run(layout)) is not None]
    require_free([one for one in earlier if notes is not None or one.found.manifest.finished], notes)


def _extract_one(
    source: Path,
    layout: Layout,
    identity: Identity,
    backend: Backend,
    settings: ExtractSettings,
    options: argparse.Namespace,
    stop: Stop,
) -> ExtractReport:
    from engine.extract import extract
    from engine.results.earlier_run import find_earlier_run

    if options.replace and not options.quiet and (earlier := find_earlier_run(layout)) is not None:
        goes = earlier.replaced_text(discard_changes=options.discard_hand_work)
        print(f"dfld: {shown(goes)}", file=sys.stderr)
    with progress_bar(shown(source.name), visible=not (options.quiet or options.json)) as on_progress:
        report = extract(
            source,
            layout,
            identity=identity,
            backend=backend,
            settings=settings,
            stop=stop,
            on_progress=on_progress,
            discard=str(uuid4()) if options.discard_hand_work else "",
        )
    if not (options.quiet or options.json):
        print_report(report)
    return report


def print_report(report: ExtractReport) -> None:
    """Print what became of one clip."""
    state = "" if report.completed else " (interrupted: what was done is kept)"
    print(f"{shown(report.source)}: {report.faces_kept} of {report.faces_found} faces kept{state}")
    total = f" of {report.frames_total}" if report.frames_total and not report.completed else ""
    print(f"  frames     {report.frames_examined} examined{total}, {report.frames_decoded} decoded")
    for reason, count in sorted(report.reasons.items(), key=lambda item: -item[1]):
        print(f"  faces      {count:6d}  {reason}")
    print(f"  workspace  {shown(report.workspace)}")
    if report.faces_in_review:
        print(f"  review     {report.faces_in_review} faces wait in review/ to be looked through")
    if report.preview_path is not None:
        print(f"  preview    {shown(report.preview_path)}")
    print(f"  log        {shown(report.log_path)}")
    for warning in report.warnings:
        print(f"  warning    {shown(warning)}")


def report_values(report: ExtractReport) -> dict[str, object]:
    """Return what became of one clip, for programs."""
    return {
        "source": str(report.source),
        "workspace": str(report.workspace),
        "completed": report.completed,
        "source_verdict": asdict(report.verdict),
        "frames_total": report.frames_total,
        "frames_decoded": report.frames_decoded,
        "frames_examined": report.frames_examined,
        "packets_damaged": report.packets_damaged,
        "faces_found": report.faces_found,
        "faces_kept": report.faces_kept,
        "faces_in_review": report.faces_in_review,
        "reasons": dict(report.reasons),
        "stage_seconds": {stage: round(value, 3) for stage, value in report.stage_seconds.items()},
        "queue_fill": {queue: round(share, 3) for queue, share in report.queue_fill.items()},
        "log": str(report.log_path),
        "preview": str(report.preview_path) if report.preview_path else None,
        "warnings": list(report.warnings),
    }


def _layouts(inputs: Sequence[Path], out: Path) -> list[Layout]:
    """One input has plain names; several are distinguished by their slug in front."""
    from dataclasses import replace

    from engine.workspace.file_names import output_layout, slug_of

    layout = output_layout(out)
    if len(inputs) == 1:
        return [layout]
    slugs: list[str] = []
    for source in inputs:
        slug, number = slug_of(source.stem), 1
        # Windows and macOS take names that differ in capitals only for one.
        while (slug if number == 1 else f"{slug}-{number}").casefold() in {one.casefold() for one in slugs}:
            number += 1
        slugs.append(slug if number == 1 else f"{slug}-{number}")
    return [replace(layout, prefix=f"{slug}-") for slug in slugs]


def identity_from(options: argparse.Namespace, backend: Backend) -> Identity:
    """Make the identity that the reference options name; print which photos cannot be used."""
    from engine.identity.identity import build_identity
    from engine.identity.identity_file import load_identity

    files = [path for path in options.reference if path.suffix == ".npz"]
    if files:
        if len(options.reference) > 1:
            raise UsageError("an identity file cannot be mixed with other references", hint="give one or the other")
        return load_identity(files[0])
    name = name_of_person(options.reference, options.name)
    identity, photos = build_identity(
        options.reference,
        backend,
        name=name,
        largest_face=options.largest_face,
        allow_mixed=options.allow_mixed,
        negatives=options.negative,
        other_age=options.other_age,
    )
    if not options.quiet:
        for photo in photos:
            if not photo.used:
                print(f"reference {shown(photo.photo)} is not used: {shown(photo.detail)}", file=sys.stderr)
    return identity


@contextmanager
def progress_bar(label: str, *, visible: bool) -> Iterator[Callable[[Progress], None]]:
    """Show frames, faces and the time left on a terminal; nothing where stderr is not one."""
    if not visible or not sys.stderr.isatty():
        yield lambda _progress: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"),
        TextColumn("{task.fields[faces]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=Console(file=steerable(sys.stderr)), transient=True) as bar:
        task = bar.add_task(escape(shown(label)), total=None, faces=faces_text(0, 0))

        def show(progress: Progress) -> None:
            faces = faces_text(progress.faces_kept, progress.faces_undecided)
            bar.update(task, completed=progress.frames_done, total=progress.frames_total, faces=faces)

        yield show


def faces_text(kept: int, undecided: int) -> str:
    """Return the faces of a progress bar: those of a long shot are decided at its end."""
    return f"{kept} faces kept" + (f", {undecided} undecided" if undecided else "")


def _threshold(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number") from None
