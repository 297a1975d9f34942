"""`dfld curate`: the faces that training does not need, moved beside the others with a reason, and back."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from daemon.commands.control import add_control_command, state_dir_of
from daemon.commands.faces_progress import faces_progress
from daemon.commands.free_faceset import WAITING_EXPLAINED, say_wait, why_held_at
from daemon.commands.handed_over import hand_over
from daemon.commands.options import path_argument
from daemon.commands.output import print_json, shown
from daemon.commands.stop import stop_on_signals
from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Iterator, Sequence

    from daemon.commands.handed_over import HandedOver
    from engine.curate import Curated, Restored
    from engine.facesets.curation.settings import CurationSettings
    from engine.facesets.curation.verdicts import Verdict
    from engine.facesets.faceset_folder import FacesetFolder

    Commands = _SubParsersAction[argparse.ArgumentParser]

SHOWN_MAX = 12
EXPLAINED = f"""What a person decided is final, and so is a face whose mask a person drew. Then, in this order:

  poor        too small, too dark, blurred, cut off, covered, or with landmarks that no head has; measured against the
              faceset itself. The best three faces of a pose stay however poor they are
  duplicates  of faces that show the same, the best one stays, over the whole person
  budget      at most --per-cell faces of one pose, light and expression; with --match, as many as DST needs of each

The others go to aside/ beside aligned/, each with its mask under the same name; nothing is deleted. Move a face back,
and it stays from then on; move one to aside/ yourself, and it stays out. Faces of data_dst are marked and never moved:
the merger needs every frame.

DIR is a workspace, its data_src or data_dst, or a folder of aligned faces. Where the daemon fills the workspace, a job
of the daemon curates these faces, and the command waits for it.
{WAITING_EXPLAINED}"""


def add_commands(commands: Commands) -> None:
    parser = add_control_command(commands, "curate", "set aside the faces that training does not need", run_curate)
    parser.epilog, parser.formatter_class = EXPLAINED, argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=path_argument, metavar="DIR", help="workspace or folder of aligned faces")
    parser.add_argument(
        "--match", type=path_argument, metavar="DST",
        help="the faces that the model is to be used on: keep what they need",
    )  # fmt: skip
    parser.add_argument("--per-cell", type=int, metavar="N", help="most faces of one pose, light and expression (60)")
    parser.add_argument(
        "--radius", type=float, metavar="STEPS",
        help="faces less than this apart show the same, in noticeable steps (1.75; 0 sets no duplicate aside)",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="say what would be set aside; change nothing")
    what.add_argument("--restore", action="store_true", help="bring back all that was set aside, under its old names")


def run_curate(options: argparse.Namespace) -> int:
    """Curate every faceset that DIR means, or bring back what was set aside."""
    from engine.facesets.faceset_folder import faceset_folders, faceset_of

    folders = faceset_folders(options.folder)
    if options.restore:
        return _restore(options, folders)
    from engine.curate import curate_faceset

    match = None if options.match is None else faceset_of(options.match, "dst")
    settings, done = _settings(options), []
    handed = () if options.dry_run else _handed_over(options, folders, settings)
    folders = tuple(one for one in folders if one not in {job.folder for job in handed})
    with stop_on_signals() as stop, faces_progress(visible=not options.json) as on_progress:
        for folder in folders:
            done.append(
                curate_faceset(
                    folder,
                    settings,
                    match=match if folder.role != "dst" else None,
                    dry_run=options.dry_run,
                    why_held=why_held_at(options, folder),
                    on_wait=say_wait,
                    stop=stop,
                    on_progress=on_progress,
                )
            )
            if stop.is_set():
                break
    if options.json:
        print_json([*(job.values for job in handed), *(_values(one, settings) for one in done)])
    else:
        for job in handed:
            print("\n".join(job.lines))
        for one in done:
            print("\n".join(_lines(one, dry_run=options.dry_run)))
    return ExitCode.OK if all(one.completed for one in done) else stop.exit_code


def _restore(options: argparse.Namespace, folders: tuple[FacesetFolder, ...]) -> int:
    from engine.curate import restore_faceset

    with stop_on_signals() as stop:
        done = [
            (folder, restore_faceset(folder, why_held=why_held_at(options, folder), on_wait=say_wait, stop=stop))
            for folder in folders
        ]
    if options.json:
        print_json([{"aligned": str(folder.aligned), **asdict(one)} for folder, one in done])
    else:
        for folder, one in done:
            print("\n".join(_restored_lines(folder, one)))
    return ExitCode.OK if all(one.completed for _, one in done) else stop.exit_code


def _handed_over(
    options: argparse.Namespace, folders: Sequence[FacesetFolder], settings: CurationSettings
) -> Sequence[HandedOver]:
    """Have the running daemon curate the facesets that it fills."""

    def asked(folder: FacesetFolder) -> dict[str, object]:
        match = "" if options.match is None or folder.role == "dst" else str(options.match.absolute())
        return {"settings": asdict(settings), "match": match}

    state_dir = state_dir_of(options.config)
    return hand_over(state_dir, folders, "curate", asked, quiet=options.json)


def _settings(options: argparse.Namespace) -> CurationSettings:
    from engine.facesets.curation.settings import CurationSettings

    given = {"per_cell": options.per_cell, "near_duplicate_radius": options.radius}
    return CurationSettings(**{name: value for name, value in given.items() if value is not None})


def _lines(done: Curated, *, dry_run: bool) -> Iterator[str]:
    from engine.facesets.curation.gates import limit_words
    from engine.facesets.curation.verdicts import reason_counts, reason_words

    yield shown(done.folder.sentence)
    yield from (f"  {shown(one.name)} is left as it is: {shown(one.why)}" for one in done.unreadable[:SHOWN_MAX])
    yield f"  measured against: {limit_words(done.curation.limits)}"
    if not done.is_thinned:
        yield from _marked_lines(done)
        return
    yield f"  {done.kept} of {len(done.curation.verdicts)} faces are trained on, {done.aside} are set aside"
    yield from (f"  {count:7d}  {reason_words(reason)}" for reason, count in reason_counts(done.curation.verdicts))
    yield from _example_lines([one for one in done.curation.verdicts if one.place == "aside"])
    yield f"  {_moved_words(done, dry_run=dry_run)}"
    if done.done is not None:
        for left in done.done.left[:SHOWN_MAX]:
            yield f"  {shown(left.source)} " + (f"stays at {shown(left.place)}" if left.place else "has gone")


def _marked_lines(done: Curated) -> Iterator[str]:
    from engine.facesets.curation.verdicts import poor_counts, reason_words

    poor = [one for one in done.curation.verdicts if one.poor is not None]
    yield f"  {len(poor)} of {len(done.curation.verdicts)} faces are poor; all stay, since the merger needs every frame"
    yield from (f"  {count:7d}  {reason_words(reason)}" for reason, count in poor_counts(done.curation.verdicts))
    yield from _example_lines(poor)


def _example_lines(verdicts: list[Verdict]) -> Iterator[str]:
    """Yield the first faces of each reason, so that every reason shows."""
    from engine.facesets.curation.verdicts import sentence_of

    by_reason: dict[str, list[Verdict]] = {}
    for one in verdicts:
        by_reason.setdefault(one.poor or one.reason, []).append(one)
    each = max(1, SHOWN_MAX // max(1, len(by_reason)))
    chosen = [one for found in by_reason.values() for one in found[:each]]
    yield from (f"    {shown(one.name)}: {shown(sentence_of(one))}" for one in chosen)
    if len(verdicts) > len(chosen):
        yield f"    and {len(verdicts) - len(chosen)} more; --json has them all"


def _moved_words(done: Curated, *, dry_run: bool) -> str:
    if dry_run:
        return f"{done.planned} faces would be moved; nothing was changed"
    if not done.completed:
        return "interrupted; nothing was moved"
    if done.done is None or not done.done.batch:
        return "all of them lie where they should"
    return f"{done.done.moved} faces moved (batch {done.done.batch}); dfld curate --restore brings them back"


def _restored_lines(folder: FacesetFolder, done: Restored) -> Iterator[str]:
    yield shown(folder.sentence)
    if not done.completed:
        yield "  interrupted; nothing was moved"
    elif not done.batches:
        yield "  no curation of dfld is left to take back"
    else:
        yield f"  {done.moved} faces are back where they were before {_counted(done.batches)}"
    for left in done.left[:SHOWN_MAX]:
        yield f"  {shown(left.source)} " + (f"stays at {shown(left.place)}" if left.place else "has gone")


def _counted(batches: int) -> str:
    return f"{batches} {'curation' if batches == 1 else 'curations'}"


def _values(done: Curated, settings: CurationSettings) -> dict[str, object]:
    from engine.facesets.curation.record import record_document
    from engine.facesets.curation.verdicts import sentence_of

    sentences = {one.name: sentence_of(one) for one in done.curation.verdicts if one.place == "aside"}
    return {
        "aligned": str(done.folder.aligned),
        "kept": done.kept,
        "aside": done.aside,
        "planned": done.planned,
        "moved": 0 if done.done is None else done.done.moved,
        "batch": 0 if done.done is None else done.done.batch,
        "left": [] if done.done is None else [asdict(one) for one in done.done.left],
        "unreadable": [asdict(one) for one in done.unreadable],
        "completed": done.completed,
        "sentences": sentences,
        **record_document(done.curation, settings),
    }
