"""A trainer that is stopped and started by commands: unmodified DeepFaceLab under systemd, tmux or a script.

Stopping means SIGINT to the main process: DeepFaceLab then saves everything and ends. It does not when it was started
with SIGINT ignored, and it does not save when it is killed; both are found out and told.
"""

from __future__ import annotations

import re

from sync.errors import TrainerError
from sync.rounds.places import DATA
from sync.trainers.proof import Progress
from sync.trainers.trainer_contract import ControlledTrainer, Exchange, read_state
from sync.transports.remote_command import run_command

SIGINT_BIT = 1 << (2 - 1)
"""SIGINT is signal 2; /proc/PID/status counts bits from signal 1."""
_ONE_NUMBER = re.compile(r"[0-9]{1,10}")


class CommandTrainer(ControlledTrainer):
    """Stopped and started by commands."""

    def is_running(self) -> bool:
        machine = self.transport.machine
        return run_command(self.transport, machine.status, timeout_s=self.settings.command_s).exit_status == 0

    def settle(self) -> None:
        if not self.is_running():
            return
        machine = self.transport.machine
        pid = self._main_pid()
        if pid:
            self._refuse_deaf(pid)
        self.transport.make_folder(self.places.own)
        asked_at_s = self.transport.clock_s(self.places.own)
        command = machine.stop or f"kill -INT {pid}"
        result = run_command(self.transport, command, timeout_s=self.settings.stop_s)
        if result.exit_status:
            raise TrainerError(
                f"machine {self.name}: `{command}` ended with status {result.exit_status}: {result.output[-300:]}"
            )
        if not self.wait_until(
            lambda: not self.is_running() and not self._lives(pid), self.settings.stop_s, heed_stop=False
        ):
            raise TrainerError(
                f"machine {self.name}: the trainer still runs {self.settings.stop_s:.0f} s after `{command}`",
                hint="it must get SIGINT on its main process; a trainer started with & from a script ignores SIGINT",
            )
        self._check_saved(asked_at_s)

    def take(self, exchange: Exchange) -> int | None:
        if self.is_running():
            raise TrainerError(
                f"machine {self.name}: the trainer runs although dfld stopped it; round {exchange.round_number} waits",
                hint="something restarts it: systemd's Restart=, or a person",
            )
        exchange.rename()
        return None

    def resume(self) -> None:
        if self.is_running():
            return
        machine = self.transport.machine
        result = run_command(self.transport, machine.start, timeout_s=self.settings.command_s)
        if result.exit_status:
            raise TrainerError(
                f"machine {self.name}: `{machine.start}` ended with status {result.exit_status}: {result.output[-300:]}"
            )
        if not self.wait_until(self.is_running, self.settings.command_s, heed_stop=False):
            raise TrainerError(f"machine {self.name}: `{machine.start}` succeeded, but the trainer does not run")

    def progress(self, since_iteration: int) -> Progress | None:
        return self.state_beyond(since_iteration)

    def _main_pid(self) -> int:
        command = self.transport.machine.pid
        if not command:
            return 0
        result = run_command(self.transport, command, timeout_s=self.settings.command_s)
        # One number alone: the first word of anything else may be the number of some other process.
        if result.exit_status or _ONE_NUMBER.fullmatch(result.output) is None or int(result.output) <= 1:
            raise TrainerError(
                f"machine {self.name}: `{command}` printed {result.output[:100]!r} with status {result.exit_status}, "
                "one process id and nothing else was expected",
                hint="`pid` of its [[machine]] must print the number of the trainer's main process alone",
            )
        return int(result.output)

    def _refuse_deaf(self, pid: int) -> None:
        """SIGINT that is ignored is never noticed: say so now instead of waiting for the stop limit."""
        result = run_command(self.transport, f"cat /proc/{pid}/status", timeout_s=self.settings.command_s)
        for line in result.output.splitlines():
            name, _, value = line.partition(":")
            if name == "SigIgn" and int(value, 16) & SIGINT_BIT:
                raise TrainerError(
                    f"machine {self.name}: the trainer (process {pid}) ignores SIGINT, so it cannot be stopped cleanly",
                    hint="programs started with & or nohup from a script inherit that; start it by systemd or in tmux",
                )

    def _lives(self, pid: int) -> bool:
        if not pid:
            return False
        # A dead process that nobody has collected yet (in a container without an init) is not alive.
        command = f"kill -0 {pid} && ! grep -qs '^State:.Z' /proc/{pid}/status"
        return run_command(self.transport, command, timeout_s=self.settings.command_s).exit_status == 0

    def _check_saved(self, asked_at_s: int) -> None:
        saved_at_s = self.transport.stat(self.places.live(DATA)).modified_s
        if saved_at_s >= asked_at_s:
            return
        state = read_state(self.transport, self.places)
        target = state.options.get("target_iter", 0)
        if isinstance(target, int) and 0 < target <= state.iteration:
            return  # at its goal DeepFaceLab neither trains nor saves again: the files are what it has
        raise TrainerError(
            f"machine {self.name}: the trainer ended without saving; data.dat is {asked_at_s - saved_at_s} s older "
            "than the request to stop",
            hint="it was killed instead of interrupted: the stop command must send SIGINT and wait",
        )
