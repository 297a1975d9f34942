"""What commands that change a faceset wait for, and what they say meanwhile."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from daemon.commands.control import state_dir_of
from daemon.commands.output import shown

if TYPE_CHECKING:
    from engine.facesets.changing.free_faceset import Waiting
    from engine.facesets.faceset_folder import FacesetFolder

WAITING_EXPLAINED = """While DeepFaceLab works on the workspace, or `dfld pause` holds its inbox, no file is changed:
the command waits, and says for what."""
"""Part of what --help says of each of them."""


def waiting_for(options: argparse.Namespace, folder: FacesetFolder) -> Waiting:
    """Return what a change of a faceset waits for, until Ctrl-C."""
    from engine.facesets.changing.free_faceset import Waiting

    return Waiting(why_held_at(options, folder), say_wait, threading.Event())


def why_held_at(options: argparse.Namespace, folder: FacesetFolder) -> Callable[[], str]:
    """Return what says why no file of a faceset may be changed now."""
    from daemon.workspace_holds import why_held

    state_dir = state_dir_of(options.config)
    return lambda: why_held(folder, state_dir)


def say_wait(why: str) -> None:
    print(f"dfld: no file is changed yet: {shown(why)}; waiting (Ctrl-C ends it)", file=sys.stderr, flush=True)
