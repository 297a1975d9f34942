"""Trainers: bringing one to save, to give its files free, to take new weights, and proof that it took them.

Not for moving files (push, snapshot) nor for when to do what (rounds). DeepFaceLab reads its files only at start and
writes from memory, so files pushed under a running trainer are silently overwritten: every way of control here ends
in "the trainer is down while files change, or changes them itself between two iterations".

    command      dfld stops the trainer (its last act is a save), files change, dfld starts it
    cooperative  a line inside the trainer saves on request, and puts staged files in place and loads them
    none         a person starts and stops it; dfld pushes only while it does not run
"""

from __future__ import annotations

import threading

from sync.errors import RemoteFileMissingError, TrainerError
from sync.rounds.places import RemotePlaces
from sync.trainers.proof import Progress
from sync.trainers.trainer_command import CommandTrainer
from sync.trainers.trainer_contract import ControlledTrainer, Exchange, Trainer, TrainerSettings
from sync.trainers.trainer_hook import CooperativeTrainer
from sync.transports.remote_command import run_command
from sync.transports.transport import Transport


def trainer_of(transport: Transport, places: RemotePlaces, settings: TrainerSettings, stop: threading.Event) -> Trainer:
    """Return the control that the machine's settings name."""
    match transport.machine.control:
        case "command":
            return CommandTrainer(transport, places, settings, stop)
        case "cooperative":
            return CooperativeTrainer(transport, places, settings, stop)
        case "none":
            return UncontrolledTrainer(transport, places, settings, stop)


class UncontrolledTrainer(ControlledTrainer):
    """Started and stopped by a person."""

    def is_running(self) -> bool:
        """By the status command where there is one; else by the age of the model's files and a fork's lock file."""
        machine = self.transport.machine
        if machine.status:
            return run_command(self.transport, machine.status, timeout_s=self.settings.command_s).exit_status == 0
        self.transport.make_folder(self.places.own)
        now_s = self.transport.clock_s(self.places.own)
        prefix = self.places.model.prefix
        files = self.transport.list_files(self.places.model_dir)
        if any(file.name == f"{prefix}.lock" for file in files):
            return True
        newest_s = max((file.modified_s for file in files if file.name.startswith(prefix + "_")), default=0)
        given_s = self._given_at_s()
        return newest_s > given_s and now_s - newest_s < self.settings.save_period_s + self.settings.stop_s

    def settle(self) -> None:
        """Nobody can be asked; a snapshot is taken between two saves."""

    def take(self, exchange: Exchange) -> int | None:
        if self.is_running():
            raise TrainerError(
                f"machine {self.name}: a trainer runs, or ran until a moment ago, and dfld may not stop it "
                f'(control = "none"); it would overwrite the weights of round {exchange.round_number}',
                hint="stop the trainer; the push is made at the next poll",
            )
        exchange.rename()
        return None

    def resume(self) -> None:
        """Nobody can be asked."""

    def progress(self, since_iteration: int) -> Progress | None:
        return self.state_beyond(since_iteration)

    def _given_at_s(self) -> int:
        """When dfld itself last changed the files; younger than that, a trainer did."""
        try:
            return self.transport.stat(self.places.given).modified_s
        except RemoteFileMissingError:
            return 0
