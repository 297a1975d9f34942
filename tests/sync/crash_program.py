"""Runs rounds that die by SIGKILL at a chosen point, each in a process of its own.

Run as a program: reads paths of pickled CrashCases, a line each; forks for each, and answers with how the fork ended,
a line each. Only the forks run rounds, so nothing but the modules is shared, and those are imported once: starting
Python anew for each of 128 points took most of their time.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko  # noqa: F401  sync.transports.ssh imports it when it connects first; here once for all forks

from sync.journal.journal import Entry, FileJournal
from sync.rounds.rounds import Rounds
from sync.rounds.settings import SyncSettings
from sync.trainers import commanded as trainer_command
from sync.transports.local import LocalTransport
from sync.transports.ssh.openssh import find_ssh
from sync.transports.ssh_transport import SshTransport
from sync.transports.transport import Transport
from sync.types import CommandResult, Machine


@dataclass(frozen=True)
class CrashCase:
    """Where to die."""

    settings: SyncSettings
    step: str
    """A step of the journal; `rename`: at the `nth` file that is put in place on the machine; `stop`, `start`: in the
    command that stops or starts its trainer."""
    machine: str
    when: str
    """before or after the line is on disk, the rename is done, or the command has ended; `during`: while it runs."""
    nth: int = 1
    mark: str = ""
    """File that the command makes when it has begun."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingJournal(FileJournal):
    def __init__(self, folder: Path, case: CrashCase) -> None:
        super().__init__(folder)
        self.case = case

    def append(self, number: int, entry: Entry) -> None:
        here = entry.line.step == self.case.step and entry.line.machine == self.case.machine
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


def die_in_a_command(case: CrashCase) -> None:
    """Let this process die before, in or after the command that stops or starts the machine's trainer."""
    plain = trainer_command.run_command

    def run_command(transport: Transport, command: str, **how: Any) -> CommandResult:
        machine = transport.machine
        if machine.name != case.machine or command != {"stop": machine.stop, "start": machine.start}[case.step]:
            return plain(transport, command, **how)
        if case.when == "before":
            die()
        if case.when == "during":
            threading.Thread(target=plain, args=(transport, command), kwargs=how).start()
            while not Path(case.mark).exists():
                time.sleep(0.001)
            die()
        plain(transport, command, **how)
        die()
        raise AssertionError

    trainer_command.run_command = run_command


def run_round(path: Path) -> None:
    """Do one round as told; what it says, if it lives, goes to a file beside `path`."""
    told: CrashCase = pickle.loads(path.read_bytes())
    if told.step in ("stop", "start"):
        die_in_a_command(told)
    rounds = Rounds(
        told.settings,
        connect=connect_dying(told),
        journal=DyingJournal(told.settings.folder / "rounds", told),
    )
    outcome = rounds.average()
    path.with_suffix(".told").write_text(
        f"{outcome.outcome}: {outcome.reason} {dict(outcome.excluded)}", encoding="utf-8"
    )


def serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run_round(Path(line.rstrip("\n")))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
