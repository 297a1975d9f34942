"""Runs one round and dies by SIGKILL at a chosen point. Run as a program: CASE.pickle of a CrashCase."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from sync.journal import Entry, FileJournal
from sync.round_settings import SyncSettings
from sync.rounds import Rounds
from sync.ssh_files import SshTransport
from sync.ssh_openssh import find_ssh
from sync.transport import LocalTransport, Transport
from sync.types import Machine


@dataclass(frozen=True)
class CrashCase:
    """Where to die."""

    settings: SyncSettings
    step: str
    """A step of the journal; or `rename`: at the `nth` file that is put in place on the machine."""
    machine: str
    when: str
    """before or after the line is on disk, or the rename is done."""
    nth: int = 1


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingJournal(FileJournal):
    def __init__(self, folder: Path, case: CrashCase) -> None:
        super().__init__(folder)
        self.case = case

    def append(self, number: int, entry: Entry) -> None:
        here = entry.step == self.case.step and entry.machine == self.case.machine
        if here and self.case.when == "before":
            die()
        super().append(number, entry)
        if here:
            die()


def connect_dying(case: CrashCase):  # type: ignore[no-untyped-def]
    """Return a connect whose transports die at the chosen rename over a live file."""

    def rename_over(self: Transport, old: str, new: str) -> None:
        plain = LocalTransport if isinstance(self, LocalTransport) else SshTransport
        is_swap = "/round-" in old and "/round-" not in new
        if is_swap and case.step == "rename" and self.machine.name == case.machine:
            self.renames = getattr(self, "renames", 0) + 1  # type: ignore[attr-defined]
            if self.renames == case.nth and case.when == "before":  # type: ignore[attr-defined]
                die()
        plain.rename_over(self, old, new)  # type: ignore[arg-type]
        if is_swap and case.step == "rename" and getattr(self, "renames", 0) == case.nth:
            die()

    local = type("DyingLocal", (LocalTransport,), {"rename_over": rename_over})
    ssh = type("DyingSsh", (SshTransport,), {"rename_over": rename_over})

    def connect(machine: Machine) -> Transport:
        if machine.transfer == "local":
            return local(machine)
        return ssh(machine, ssh_program=find_ssh() if machine.transfer == "openssh" else None)

    return connect


if __name__ == "__main__":
    told: CrashCase = pickle.loads(Path(sys.argv[1]).read_bytes())
    rounds = Rounds(
        told.settings,
        connect=connect_dying(told),
        journal=DyingJournal(told.settings.folder / "rounds", told),
    )
    outcome = rounds.average()
    sys.stderr.write(f"{outcome.outcome}: {outcome.reason} {dict(outcome.excluded)}\n")
