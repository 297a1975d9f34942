"""A trainer that is stopped and started by commands: unmodified DeepFaceLab under systemd, tmux or a script.

Stopping means SIGINT to the main process: DeepFaceLab then saves everything and ends. It does not when it was started
with SIGINT ignored, and it does not save when it is killed; both are found and reported. SIGINT while it loads leaves
it hanging, and a second one ends it without a save: so it is asked to stop only when it was seen iterating, and never
twice. A note on the machine says that a stop is under way, for a dfld that comes after one that was killed.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass, replace
from typing import Literal

from dfl.model_files import DATA, SUMMARY
from dfl.model_options import is_at_goal
from dfl.training_state import TrainingState
from sync.errors import CommandError, RemoteFileMissingError, TrainerError
from sync.trainers.contract import (
    ControlledTrainer,
    Exchange,
    OnWait,
    SeenIterating,
    read_state,
    wait_in_silence,
)
from sync.trainers.control import COMMAND
from sync.trainers.processes.process_list import Process, ProcessList, list_processes
from sync.trainers.processes.trainer_processes import trainers_among, youngest
from sync.trainers.proof import Progress
from sync.transports.remote_command import run_command

SIGINT_BIT = 1 << (2 - 1)
"""SIGINT is signal 2; /proc/PID/status counts bits from signal 1."""
_ONE_NUMBER = re.compile(r"[0-9]{1,10}")
WHOLE_SECONDS = 2
"""Times on the machine are whole seconds, at both ends of a difference."""
SAVE_BEFORE_START_S = 1.05
"""A data.dat that is older than its trainer by no more than this counts as saved by it: times of files are whole
seconds, rounded down. DeepFaceLab needs longer from its last save to its end, so the save before a restart is older."""
POLLS_PER_CHECK = 5
"""A trainer that may iterate for 25 minutes before its next save is checked this much more rarely."""
SAVES_OF_ONE_THAT_TRAINS = 2
"""A trainer that was asked to stop saves once, and ends."""


@dataclass(frozen=True)
class CommandTrainer(ControlledTrainer):
    """Stopped and started by commands."""

    mode = COMMAND

    def is_running(self) -> bool:
        machine = self.transport.machine
        return run_command(self.transport, machine.status, timeout_s=self.settings.command_s).exit_status == 0

    def wait_until_stoppable(
        self, on_wait: OnWait = wait_in_silence, seen: SeenIterating | None = None
    ) -> SeenIterating | None:
        limit_s = self.settings.proof_s
        ends_at_s = time.monotonic() + limit_s
        said = False
        while self.is_running():
            pid = self._main_pid()
            if pid:
                self._refuse_deaf(pid)
            process, listing = self._youngest(pid)
            if seen and seen.is_still(pid, process, self._iteration):
                return seen
            state = self._read_state()
            now = SeenIterating(pid, process, state.iteration)
            if process is not None and listing is not None and self._has_saved(process, listing):
                return now
            self._refuse_at_goal(state)
            if not said:
                on_wait(
                    "its trainer's first save since its start shows that it iterates; until then it may be loading",
                    limit_s,
                )
                said = True
            came = self._wait_for_save(state.iteration, ends_at_s - time.monotonic())
            if came:
                # Was it this trainer's save, or the last one of a trainer that another has followed? Once more.
                seen = replace(now, iteration=self._iteration()) if came == "saved" else None
                continue
            # Without an age nothing shows a restart, but a trainer whose status never failed for so long loads no more.
            if process is None and not self.stop.is_set():
                return replace(now, iteration=self._iteration())
            why = (
                "dfld was asked to stop" if self.stop.is_set() else f"it was not seen iterating within {limit_s:.0f} s"
            )
            raise TrainerError(
                f"machine {self.name}: {why}; its trainer may be loading, and was not stopped",
                hint="read what the trainer prints: it loads, asks something, or hangs",
            )
        return None

    def _wait_for_save(self, since_iteration: int, limit_s: float) -> Literal["saved", "ended", ""]:
        """Wait until the trainer has ended, or data.dat is beyond an iteration; nothing where neither came in time."""
        runs = True

        def has_come() -> bool:
            nonlocal runs
            runs = self.is_running()
            return not runs or self._iteration() > since_iteration

        if not self.wait_until(has_come, limit_s, every=POLLS_PER_CHECK):
            return ""
        return "saved" if runs else "ended"

    def _read_state(self) -> TrainingState:
        return read_state(self.transport, self.places, self.refused)

    def _refuse_at_goal(self, state: TrainingState) -> None:
        if is_at_goal(state.options, state.iteration):
            raise TrainerError(
                f"machine {self.name}: its trainer was started at its target_iter "
                f"({state.options['target_iter']}), so it never iterates and "
                "takes no new weights; nothing was stopped",
                hint="start it with a higher target_iter",
            )

    def settle(self, on_wait: OnWait = wait_in_silence, seen: SeenIterating | None = None) -> None:
        self._finish_stop(on_wait)
        seen = self.wait_until_stoppable(on_wait, seen)
        if seen is None:
            return
        pid = seen.pid
        machine = self.transport.machine
        self.transport.make_folder(self.places.own)
        self.transport.write(self.places.stopping, json.dumps({"pid": pid}).encode())
        asked_at_s = self.transport.stat(self.places.stopping).modified_s
        command = machine.stop or f"kill -INT {pid}"
        on_wait("its trainer ends with a last save", self.settings.stop_s)
        result = run_command(self.transport, command, timeout_s=self.settings.stop_s, end_when_late=True)
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
        self.transport.remove(self.places.stopping)
        self._check_saved(asked_at_s)

    def take(self, exchange: Exchange) -> int | None:
        if self.is_running():
            raise TrainerError(
                f"machine {self.name}: the trainer runs although dfld stopped it; round {exchange.round_number} waits",
                hint="something restarts it: systemd's Restart=, or a person",
            )
        exchange.rename()
        return None

    def resume(self, on_wait: OnWait = wait_in_silence) -> None:
        self._finish_stop(on_wait)
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

    def what_proves(self) -> str:
        return f"its trainer to load and to save: DeepFaceLab saves every {self.settings.save_period_s / 60:.0f} min"

    def _finish_stop(self, on_wait: OnWait) -> None:
        """Wait for the end of a stop that somebody asked for and nobody saw the end of: a dfld that was killed.

        Whether the request ever reached the trainer is not known. It is over when the trainer has ended, and when the
        trainer shows that it trains on: no sign of a save for `reaction_s`, or a second save.
        """
        try:
            asked_at_s = self.transport.stat(self.places.stopping).modified_s
        except RemoteFileMissingError:
            return
        pid = self._pid_of_note()
        saves = {self._saved_at_s()}

        def is_over() -> bool:
            if not self.is_running() and not self._lives(pid):
                return True
            saved_at_s = self._saved_at_s()
            saves.add(saved_at_s)
            quiet_s = self.transport.clock_s(self.places.own) - max(asked_at_s, saved_at_s)
            return quiet_s > self.settings.reaction_s or len(saves) > SAVES_OF_ONE_THAT_TRAINS

        on_wait("a stop that an earlier dfld asked for has ended, or never began", self.settings.stop_s)
        if not self.wait_until(is_over, self.settings.stop_s, heed_stop=False):
            raise TrainerError(
                f"machine {self.name}: its trainer was asked to stop by an earlier dfld, and neither ended nor trained "
                f"on within {self.settings.stop_s:.0f} s",
                hint="read what the trainer prints",
            )
        self.transport.remove(self.places.stopping)

    def _pid_of_note(self) -> int:
        try:
            found = json.loads(self.transport.read(self.places.stopping, most_bytes=1024))
            return int(found["pid"])
        except (RemoteFileMissingError, ValueError, KeyError, TypeError):
            return 0

    def _saved_at_s(self) -> int:
        """When the trainer last wrote the first or the last file of a save."""
        times = [0]
        for part in (SUMMARY, DATA):
            try:
                times.append(self.transport.stat(self.places.live(part)).modified_s)
            except RemoteFileMissingError:
                continue
        return max(times)

    def _iteration(self) -> int:
        try:
            return self._read_state().iteration
        except RemoteFileMissingError:  # between unlink and rename of a save
            return 0

    def _has_saved(self, process: Process, listing: ProcessList) -> bool:
        """Whether data.dat is younger than the trainer's youngest process: then it has iterated since its start."""
        self.transport.make_folder(self.places.own)
        saved_at_s = self.transport.stat(self.places.live(DATA)).modified_s
        clock_s = self.transport.clock_s(self.places.own)
        # A disk of another host has a clock of its own, with which the starts of processes cannot be compared.
        one_clock = listing.now_s is not None and abs(clock_s - listing.now_s) <= WHOLE_SECONDS
        if process.started_s is not None and one_clock:
            return process.started_s - saved_at_s <= SAVE_BEFORE_START_S
        return clock_s - saved_at_s + WHOLE_SECONDS < process.age_s

    def _youngest(self, pid: int) -> tuple[Process | None, ProcessList | None]:
        """Return the youngest process of the trainer, and the list it is from; nothing where the machine cannot say."""
        try:
            listing = list_processes(self.transport, self.places, timeout_s=self.settings.command_s)
        except (CommandError, ValueError):
            return None, None
        own = frozenset((os.getpid(),)) if self.transport.machine.transfer == "local" else frozenset[int]()
        numbers = {process.number for process in trainers_among(listing, self.places, but=own)}
        return youngest(listing, frozenset(numbers | {pid} - {0})), listing

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
        state = self._read_state()
        if is_at_goal(state.options, state.iteration):
            return  # at its goal DeepFaceLab neither trains nor saves again: the files are what it has
        raise TrainerError(
            f"machine {self.name}: the trainer ended without saving; data.dat is {asked_at_s - saved_at_s} s older "
            "than the request to stop",
            hint="it was killed instead of interrupted: the stop command must send SIGINT and wait",
        )
