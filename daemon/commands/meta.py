"""`dfld meta`: the metadata of a faceset saved beside it, and restored."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from daemon.commands.control import add_control_command
from daemon.commands.face_lines import counted_faces, first_lines
from daemon.commands.free_faceset import WAITING_EXPLAINED, waiting_for
from daemon.commands.options import path_argument
from daemon.commands.output import print_json, shown
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Sequence

    from engine.facesets.face_listing import UnreadableFace
    from engine.facesets.faceset_folder import FacesetFolder

EXPLAINED = f"""Programs that enlarge or restore faces write them without DeepFaceLab's metadata: landmarks, masks,
polygons. Save before, restore after. The copy is DeepFaceLab's own meta.dat, in the folder of the faces; either program
reads it. A face is known by its id, else by its name. Pixels stay as they are, but of an image that has another size by
then: it is resized to the saved one. Polygons that were drawn since stay, unless --replace-theirs gives them up.

DIR is a workspace, its data_src or data_dst, or a folder of aligned faces. Saving waits for nothing.
{WAITING_EXPLAINED}"""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_control_command(commands, "meta", "save the metadata of a faceset, or restore it", run_meta)
    parser.description = "Save DeepFaceLab's metadata of all faces of a faceset, or restore it."
    parser.epilog, parser.formatter_class = EXPLAINED, argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=("save", "restore"), metavar="save|restore", help="what to do")
    parser.add_argument("folder", type=path_argument, metavar="DIR", help="workspace or folder of aligned faces")
    parser.add_argument(
        "--replace-theirs", action="store_true", help="restore over polygons that were drawn since, too"
    )


def run_meta(options: argparse.Namespace) -> int:
    """Save or restore the metadata of every faceset that DIR means."""
    from engine.facesets.faceset_folder import faceset_folders

    folders = faceset_folders(options.folder)
    if options.what == "restore":
        return _restore(folders, options)
    if options.replace_theirs:
        raise UsageError("--replace-theirs is for `dfld meta restore`")
    return _save(folders, options)


def _save(folders: Sequence[FacesetFolder], options: argparse.Namespace) -> int:
    from engine.facesets.packs.saved_metadata import save_metadata

    done = [(folder, save_metadata(folder)) for folder in folders]
    if options.json:
        return print_json([{"aligned": str(folder.aligned), **asdict(one)} for folder, one in done])
    for folder, one in done:
        print(shown(folder.sentence))
        print(f"  metadata of {counted_faces(one.faces)} saved in {shown(folder.metadata_copy)}")
        _print_left(one.left)
    return ExitCode.OK


def _restore(folders: Sequence[FacesetFolder], options: argparse.Namespace) -> int:
    from engine.facesets.packs.saved_metadata import restore_metadata

    done = [
        (one, restore_metadata(one, replace_theirs=options.replace_theirs, waiting=waiting_for(options, one)))
        for one in folders
    ]
    if options.json:
        return print_json([{"aligned": str(folder.aligned), **asdict(one)} for folder, one in done])
    for folder, one in done:
        print(shown(folder.sentence))
        print(f"  {counted_faces(one.restored)} restored, {one.resized} of them resized; {one.unchanged} were as saved")
        _print_left(one.left)
    return ExitCode.OK


def _print_left(left: Sequence[UnreadableFace]) -> None:
    for line in first_lines([f"{one.name} is left: {one.why}" for one in left]):
        print(line)
