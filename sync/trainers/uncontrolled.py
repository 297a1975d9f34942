"""A trainer that a person starts and stops: dfld changes its files only while it is proved not to run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from sync.errors import CommandError, RemoteFileMissingError, TrainerError
from sync.places import RemotePlaces
from sync.trainers.contract import (
    ControlledTrainer,
    Exchange,
    OnWait,
    SeenIterating,
    TrainerSettings,
    wait_in_silence,
)
from sync.trainers.control import UNCONTROLLED
from sync.trainers.processes.process_list import list_processes
from sync.trainers.processes.trainer_processes import trainers_among, why_no_proof
from sync.trainers.proof import Progress
from sync.transports.remote_command import RunsLines, run_command
from sync.transports.transport import Transport


@dataclass(frozen=True)
class RunState:
    """What can be known about a trainer that nobody controls."""

    state: Literal["runs", "rests", "unknown"]
    reason: str


def run_state_of_uncontrolled(transport: Transport, places: RemotePlaces, settings: TrainerSettings) -> RunState:
    """Say whether a trainer that a person starts and stops runs: the one place that decides it.

    The status command answers where there is one. Else the machine's process list: a process that names the model or
    its workspace runs; a whole list without one proves that none does, unless other hosts can reach the folder. Where
    nothing is proved, the operator's word counts; it never outweighs a process that is seen.
    """
    machine = transport.machine
    if machine.status:
        runs = run_command(transport, machine.status, timeout_s=settings.command_s).exit_status == 0
        return RunState("runs" if runs else "rests", f"`{machine.status}`")
    seen = run_state_by_processes(transport, places, timeout_s=settings.command_s)
    if seen.state != "unknown":
        return seen
    if settings.are_stopped:
        return RunState("rests", "the operator says so")
    doubt = seen.reason
    try:
        transport.stat(f"{places.model_dir}/{places.model.prefix}.lock")
        doubt += f"; {places.model.prefix}.lock is there, as while a fork of DeepFaceLab trains"
    except RemoteFileMissingError:
        pass
    return RunState("unknown", doubt)


def run_state_by_processes(there: RunsLines, places: RemotePlaces, *, timeout_s: float) -> RunState:
    """Say what the process list of a machine proves about a model's trainer."""
    try:
        listing = list_processes(there, places, timeout_s=timeout_s)
    except (CommandError, ValueError) as error:
        return RunState("unknown", error.message if isinstance(error, CommandError) else str(error))
    own = frozenset((os.getpid(),)) if there.machine.transfer == "local" else frozenset[int]()
    found = trainers_among(listing, places, but=own)
    if found:
        named = ", ".join(f"{process.number} ({process.command[:80]})" for process in found[:3])
        return RunState("runs", f"process {named} names the model or its workspace")
    doubt = why_no_proof(listing, places)
    return RunState("unknown", doubt) if doubt else RunState("rests", "no process names the model or its workspace")


class UncontrolledTrainer(ControlledTrainer):
    """Started and stopped by a person."""

    mode = UNCONTROLLED

    def is_running(self) -> bool:
        return self._see().state != "rests"

    def wait_until_stoppable(
        self,
        on_wait: OnWait = wait_in_silence,  # noqa: ARG002  nothing is waited for
        seen: SeenIterating | None = None,  # noqa: ARG002
    ) -> SeenIterating | None:
        self._refuse_unless_at_rest("the round goes on without it")
        return None

    def settle(self, on_wait: OnWait = wait_in_silence, seen: SeenIterating | None = None) -> None:  # noqa: ARG002
        self._refuse_unless_at_rest("the round goes on without it")

    def take(self, exchange: Exchange) -> int | None:
        self._refuse_unless_at_rest(f"it would overwrite the weights of round {exchange.round_number}")
        exchange.rename()
        return None

    def resume(self, on_wait: OnWait = wait_in_silence) -> None:
        """Nobody can be asked."""

    def progress(self, since_iteration: int) -> Progress | None:
        return self.state_beyond(since_iteration)

    def _see(self) -> RunState:
        return run_state_of_uncontrolled(self.transport, self.places, self.settings)

    def _refuse_unless_at_rest(self, consequence: str) -> None:
        seen = self._see()
        if seen.state == "runs":
            raise TrainerError(
                f'machine {self.name}: its trainer runs and dfld may not stop it (control = "none"): {seen.reason}; '
                f"{consequence}",
                hint="stop the trainer, run the round, start it again",
            )
        if seen.state == "unknown":
            raise TrainerError(
                f'machine {self.name}: nothing proves that no trainer runs (control = "none" without status): '
                f"{seen.reason}; {consequence}",
                hint="set `status` of its [[machine]] to a command that exits 0 while the trainer runs; or stop the "
                "trainer and say so with --trainers-are-stopped",
            )
