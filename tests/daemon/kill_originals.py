"""Deals with originals in children that are killed with SIGKILL before a step: one line of JSON in, one out.

A program of its own, because a child of a process with threads may hang on a lock that one of them held.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from core.move_and_delete import know
from daemon.config.load import read_config
from daemon.jobs import originals
from daemon.jobs.kinds.registry import KINDS
from daemon.jobs.tidying import Tidier
from daemon.ledger.ledger import Ledger
from daemon.ledger.members import Member
from tests.core.steps import CHANGES, at_step


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                work(asked)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps(os.WIFSIGNALED(status)) + "\n")
        sys.stdout.flush()


def work(asked: dict[str, Any]) -> None:
    config = read_config(Path(asked["config"])).config
    (inbox,) = config.inboxes

    def kill_from_now() -> None:
        at_step(asked["step"], lambda: os.kill(os.getpid(), signal.SIGKILL), CHANGES)

    if asked["work"] == "tidy":
        ledger = Ledger(config.service.state_dir / "ledger.db")
        tidier = Tidier(ledger, lambda _event: None, lambda _inbox, _paths: None, KINDS)
        kill_from_now()
        tidier.tidy(1, inbox, config)
    elif asked["work"] == "duplicate":
        members = [Member(b"clip.mp4", "footage", know(inbox.path / "clip.mp4"))]
        kill_from_now()
        originals.move_unit(inbox.path, b"clip.mp4", "video", members, inbox.quarantine_folder)
    else:
        kill_from_now()
        originals.put_back(inbox.quarantine_folder / "clip.mp4", inbox.path / "clip.mp4")


if __name__ == "__main__":
    main()
