"""`dfld sort`: a faceset's files renamed by a measure of their faces; every name can be had back."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from daemon.commands.control import add_control_command
from daemon.commands.face_lines import counted_faces, first_lines
from daemon.commands.free_faceset import WAITING_EXPLAINED, waiting_for
from daemon.commands.options import add_backend_options, open_chosen_backend, path_argument
from daemon.commands.output import print_json, shown
from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from engine.facesets.changing.renames import CarriedOut
    from engine.facesets.faceset_folder import FacesetFolder
    from engine.sort import Sorted

KEYS = ("sharpness", "light", "identity", "upscale", "yaw", "pitch", "time", "mask", "origname")
"""Tested against the engine's."""
EXPLAINED = f"""keys:
  sharpness  the sharpest first; noise does not count as detail, and darkness not as blur
  light      by how bright the face is, the brightest first
  identity   who looks most like the others comes first, strangers last, as the recogniser of --backend sees them
  upscale    how many times a face is larger in its image than it was in the frame; the least enlarged first
  yaw        from one side to the other
  pitch      from one end to the other, up and down
  time       by clip, frame and place in the frame
  mask       by how much of the face its mask leaves: what is covered most comes first
  origname   no order: every face gets the name back that it had before it was sorted, by dfld or by DeepFaceLab

DIR is a workspace, its data_src or data_dst, or a folder of aligned faces. Files are called 00000.jpg, 00001.jpg and so
on, as DeepFaceLab's sorter calls them; their masks are renamed with them. Every rename is in a journal beside the
faces before it is done, so that a kill loses nothing and --undo restores every name.
{WAITING_EXPLAINED}"""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    what = "rename the faces of a faceset in the order of a measure, or back"
    parser = add_control_command(commands, "sort", what, run_sort)
    parser.epilog, parser.formatter_class = EXPLAINED, argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=path_argument, metavar="DIR", help="workspace or folder of aligned faces")
    order = parser.add_mutually_exclusive_group(required=True)
    order.add_argument("--by", choices=KEYS, metavar="KEY", help=" | ".join(KEYS))
    order.add_argument("--undo", action="store_true", help="take the last sort back")
    add_backend_options(parser)


def run_sort(options: argparse.Namespace) -> int:
    """Sort every faceset that DIR means, or take the last sort of each back."""
    from engine.facesets.faceset_folder import faceset_folders
    from engine.sort import sort_faces, undo_sort

    folders = faceset_folders(options.folder)
    backend = open_chosen_backend(options) if options.by == "identity" else None
    done: list[tuple[FacesetFolder, Sorted | CarriedOut]] = []
    for folder in folders:
        waiting = waiting_for(options, folder)
        if options.undo:
            done.append((folder, undo_sort(folder, waiting=waiting)))
        else:
            done.append((folder, sort_faces(folder, options.by, backend=backend, waiting=waiting)))
    if options.json:
        return print_json([{"aligned": str(folder.aligned), **asdict(one)} for folder, one in done])
    for folder, one in done:
        _print(folder, one)
    return ExitCode.OK


def _print(folder: FacesetFolder, done: Sorted | CarriedOut) -> None:
    from engine.sort import Sorted

    print(shown(folder.sentence))
    carried_out = done.done if isinstance(done, Sorted) else done
    renamed = counted_faces(carried_out.moved)
    if isinstance(done, Sorted):
        renamed = f"{carried_out.moved} of {counted_faces(done.faces)}"
    print(f"  {renamed} renamed" + (f" (batch {carried_out.batch})" if carried_out.batch else ""))
    lines = [
        f"{one.source} stays at {one.place}" if one.place else f"{one.source} has gone" for one in carried_out.left
    ]
    if isinstance(done, Sorted):
        lines += [f"{one.name} is left as it is: {one.why}" for one in done.unreadable]
    for line in first_lines(lines):
        print(line)
