"""Why no file of a workspace may be moved now: a program works on it, or an operator paused its inbox."""

from __future__ import annotations

from pathlib import Path

from daemon.control.client import ask
from daemon.dfl_processes import processes_at, workspace_of
from daemon.errors import ControlError
from daemon.reports.codec import decoded
from daemon.reports.service import ServiceReport
from engine.facesets.faceset_folder import FacesetFolder

EVERYTHING = "*"


def why_held(folder: FacesetFolder, state_dir: Path) -> str:
    """Return why no file may be moved, "" when they may. `state_dir`: of the daemon, which need not run."""
    workspace = workspace_of(folder)
    working = processes_at(workspace)
    if working:
        others = f" and {len(working) - 1} more" if len(working) > 1 else ""
        return f"{working[0].words}{others} works on {workspace}"
    return _pause_of(workspace, state_dir)


def _pause_of(workspace: Path, state_dir: Path) -> str:
    """Return which pause holds the inbox that fills a workspace."""
    try:
        status = decoded(ServiceReport, ask(state_dir, "status"))
    except ControlError:
        return ""  # no daemon runs: what it was asked to pause, it does not do either
    real = workspace.resolve()
    for inbox in status.inboxes:
        if Path(inbox.workspace).resolve() != real:
            continue
        for scope in (EVERYTHING, inbox.name):
            if scope in status.pauses:
                named = "" if scope == EVERYTHING else f" {inbox.name}"
                return f"`dfld pause{named}` asks for it; `dfld resume{named}` ends that"
    return ""
