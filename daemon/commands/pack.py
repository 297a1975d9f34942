"""`dfld pack`, `dfld unpack`: a faceset's files as one faceset.pak, and back."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from daemon.commands.control import add_control_command
from daemon.commands.face_lines import counted_faces, first_lines
from daemon.commands.free_faceset import WAITING_EXPLAINED, waiting_for
from daemon.commands.options import path_argument
from daemon.commands.output import print_json, shown
from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from engine.facesets.faceset_folder import FacesetFolder
    from engine.facesets.packs.packing import Packed

    Commands = _SubParsersAction[argparse.ArgumentParser]

PACKING = f"""DIR is a workspace, its data_src or data_dst, or a folder of aligned faces. DeepFaceLab reads a
faceset.pak instead of the loose faces, and starts faster. The faces are removed once the faceset.pak was read back and
every face in it compared; pictures that DeepFaceLab would not read stay. Masks beside the faces stay, too.
{WAITING_EXPLAINED}"""
UNPACKING = f"""DIR is a workspace, its data_src or data_dst, or the folder that holds a faceset.pak. Every face gets
the name and the bytes that it had. The faceset.pak is removed once all lie there; nothing is changed where another file
has the name of a face.
{WAITING_EXPLAINED}"""


def add_commands(commands: Commands) -> None:
    pack = add_control_command(commands, "pack", "put the faces of a faceset into one faceset.pak", run_pack)
    _add_options(pack, PACKING, "the loose faces, too")
    unpack = add_control_command(commands, "unpack", "take the faces out of a faceset.pak", run_unpack)
    _add_options(unpack, UNPACKING, "the faceset.pak, too")


def _add_options(parser: argparse.ArgumentParser, explained: str, kept: str) -> None:
    parser.epilog, parser.formatter_class = explained, argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=path_argument, metavar="DIR", help="workspace or folder of aligned faces")
    parser.add_argument("--keep", action="store_true", help=f"keep {kept}")


def run_pack(options: argparse.Namespace) -> int:
    """Pack every faceset that DIR means."""
    from engine.facesets.faceset_folder import faceset_folders
    from engine.facesets.packs.packing import pack_faces

    folders = faceset_folders(options.folder, may_be_packed=True)
    done = [(one, pack_faces(one, keep=options.keep, waiting=waiting_for(options, one))) for one in folders]
    return _print(options, done, "packed")


def run_unpack(options: argparse.Namespace) -> int:
    """Unpack every faceset that DIR means and that is packed."""
    from engine.facesets.faceset_folder import faceset_folders
    from engine.facesets.packs.packing import unpack_faces

    folders = faceset_folders(options.folder, may_be_packed=True)
    packed = [folder for folder in folders if folder.pack.exists()] or folders
    done = [(one, unpack_faces(one, keep=options.keep, waiting=waiting_for(options, one))) for one in packed]
    return _print(options, done, "unpacked")


def _print(options: argparse.Namespace, done: list[tuple[FacesetFolder, Packed]], what: str) -> int:
    if options.json:
        return print_json([{"aligned": str(folder.aligned), **asdict(one)} for folder, one in done])
    for folder, one in done:
        print(shown(folder.sentence))
        sizes = f"{one.face_bytes} bytes of faces, {one.pack_bytes} of faceset.pak"
        print(f"  {counted_faces(one.faces)} {what}: {sizes}")
        for line in first_lines([f"{left.name} stays as it is: {left.why}" for left in one.left]):
            print(line)
    return ExitCode.OK
