"""A trainer that cooperates: it executes `sync/trainers/hook_program.py` every second and is talked to by notes.

`request.json` (by dfld) asks it to save or to load staged weights, `answer.json` (by the hook) says that it is done,
`alive.json` how far it is and which process it is (`sync.trainers.processes.sign_of_life`). No restart, so no minutes
of loading; the trainer is started once with the line of `hook_line`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from core.boundary import log_unforeseen
from sync.errors import CommandError, RemoteFileMissingError, SyncError, TrainerError
from sync.places import RemotePlaces
from sync.trainers.contract import ControlledTrainer, Exchange, OnWait, SeenIterating, wait_in_silence
from sync.trainers.control import COOPERATIVE
from sync.trainers.hook_notes import HookAnswer, HookRequest, SignOfLife, last_line
from sync.trainers.processes.sign_of_life import Life, judge, question
from sync.trainers.proof import Progress
from sync.transports.remote_command import run_command
from sync.transports.transport import Transport

MOST_NOTE_BYTES = 1024 * 1024
"""Of a JSON note between dfld and the hook: 500 rows of losses are about 20 kB."""


class TrainerGoneError(TrainerError):
    """The trainer's process ended before it did what it was asked to."""


class HookSaidError(Exception):
    """The traceback that the hook left, as an exception: so it stands in dfld's log, and is counted."""


class LoggedErrors:
    """Which errors of one trainer's hook stand in the log, so that each is logged once. One thread."""

    def __init__(self) -> None:
        self._last = ""

    def log(self, machine: str, error: str) -> None:
        """Log a traceback that the hook left, unless it is the one that was logged last."""
        if error != self._last:
            log_unforeseen("round", f"machine {machine}: the line inside its trainer", HookSaidError("\n" + error))
        self._last = error


@dataclass(frozen=True)
class CooperativeTrainer(ControlledTrainer):
    """Talks to the hook inside the trainer (`sync.trainers.hook_program`) through notes in the model folder."""

    mode = COOPERATIVE

    logged: LoggedErrors = field(default_factory=LoggedErrors, compare=False)

    def is_running(self) -> bool:
        """Whether the process of the last sign of life lives; by the sign's age where the machine cannot say."""
        silent_s = self._silent_s()
        if silent_s is None or silent_s > self.settings.alive_s:
            self._why_silent()
        if silent_s is None:
            return False
        life = self._life(silent_s)
        return life == "lives" or (life == "unknown" and silent_s <= self.settings.alive_s)

    def why_gone(self) -> str:
        silent_s = self._silent_s()
        mark = self._sign_of_life().process
        if silent_s is None or mark is None or self._life(silent_s) != "gone":
            return ""
        return f"its process {mark.pid} has ended"

    def wait_until_stoppable(
        self, on_wait: OnWait = wait_in_silence, seen: SeenIterating | None = None
    ) -> SeenIterating | None:
        """It is never stopped, and answers between two iterations only."""

    def settle(self, on_wait: OnWait = wait_in_silence, seen: SeenIterating | None = None) -> None:  # noqa: ARG002
        if self.is_running():
            on_wait("its trainer saves when it has been asked to", self.settings.answer_s)
            self.ask(HookRequest("save", f"save {time.time_ns()}"))

    def take(self, exchange: Exchange) -> int | None:
        if not self.is_running():
            exchange.rename()
            return None
        number = exchange.round_number
        folder = self.places.staged(number).rpartition("/")[2]
        try:
            answer = self.ask(HookRequest("load", f"load {number}", folder, exchange.names))
        except TrainerGoneError:
            exchange.rename()  # it may have begun; no process of it is left that could write
            return None
        if answer.refused:
            raise TrainerError(f"machine {self.name}: the trainer could not load {', '.join(answer.refused)}")
        return answer.iteration

    def resume(self, on_wait: OnWait = wait_in_silence) -> None:
        """It never stopped."""

    def iterating_for_s(
        self,
        iterations: int,  # noqa: ARG002  it needs no reckoning: it answered, and went on
        *,
        taken_ago_s: float,
        started_ago_s: float,  # noqa: ARG002
        pace_s: float | None,  # noqa: ARG002
    ) -> float:
        return taken_ago_s

    def progress(self, since_iteration: int) -> Progress | None:
        sign = self._sign_of_life()
        if sign.iteration is None or sign.losses is None or sign.iteration <= since_iteration:
            return None
        return Progress(sign.iteration, sign.losses[-(sign.iteration - since_iteration) :])

    def ask(self, request: HookRequest) -> HookAnswer:
        """Leave a request for the hook and return its answer; the same token is only ever done once.

        Raise TrainerGoneError as soon as the machine says that the trainer's process has ended, TrainerError when no
        answer came in time.
        """
        if not self._answers(request):
            self.transport.make_folder(self.places.own)
            self.transport.write(self.places.request, request.content())
        gone = ""

        def answered_or_gone() -> bool:
            nonlocal gone
            if self._answers(request):
                return True
            gone = self.why_gone()
            # The answer may have come just before the end.
            return bool(gone)

        ended = self.wait_until(answered_or_gone, self.settings.answer_s, heed_stop=False)
        if gone and not self._answers(request):
            self.transport.remove(self.places.request)  # not for the next process
            raise TrainerGoneError(
                f"machine {self.name}: the trainer did not {request.do}: {gone}",
                hint="start it again with the line that `dfld sync hook` prints",
            )
        if not ended:
            why = self._why_silent()
            raise TrainerError(
                f"machine {self.name}: the trainer did not answer the request to {request.do} within "
                f"{self.settings.answer_s:.0f} s" + (f": {last_line(why)[:300]}" if why else ""),
                hint="it must be started with the line that `dfld sync hook` prints",
            )
        answer = self._answer()
        if answer.error:
            self.logged.log(self.name, answer.error)
            what = last_line(answer.error)[:300]
            raise TrainerError(f"machine {self.name}: the trainer could not {request.do}: {what}")
        return answer

    def _why_silent(self) -> str:
        """Return, and log, what failed in the hook since its last sign of life; "" where nothing did."""
        try:
            failed_s = self.transport.stat(self.places.hook_error).modified_s
        except RemoteFileMissingError:
            return ""
        try:
            if self.transport.stat(self.places.alive).modified_s > failed_s:
                return ""
        except RemoteFileMissingError:
            pass
        error = self._note(self.places.hook_error).decode("utf-8", "replace")
        if error:
            self.logged.log(self.name, error)
        return error

    def _answer(self) -> HookAnswer:
        return HookAnswer.read(self._note(self.places.answer))

    def _sign_of_life(self) -> SignOfLife:
        return SignOfLife.read(self._note(self.places.alive))

    def _note(self, path: str) -> bytes:
        """Read a note; nothing for one that is absent."""
        try:
            return self.transport.read(path, most_bytes=MOST_NOTE_BYTES)
        except RemoteFileMissingError:
            return b""

    def _answers(self, request: HookRequest) -> bool:
        return self._answer().token == request.token

    def _silent_s(self) -> int | None:
        """Seconds since the last sign of life by the machine's clock; None when there never was one."""
        try:
            seen_s = self.transport.stat(self.places.alive).modified_s
        except RemoteFileMissingError:
            return None
        return self.transport.clock_s(self.places.own) - seen_s

    def _life(self, silent_s: float) -> Life:
        mark = self._sign_of_life().process
        if mark is None:
            return "unknown"
        try:
            answer = run_command(self.transport, question(mark, self.places.hook), timeout_s=self.settings.command_s)
        except CommandError:  # a user that may move files only
            return "unknown"
        return judge(mark, answer.output, silent_s=silent_s)


def hook_source() -> bytes:
    """Return the program that a cooperating trainer executes."""
    return Path(__file__).with_name("hook_program.py").read_bytes()


def hook_line(places: RemotePlaces) -> str:
    """Return what to add to the trainer's command line; raise SyncError for a path that cannot be quoted there."""
    if set(places.hook) & set("'\"\n\r%!`$"):
        raise SyncError(
            f"the model folder {places.model_dir!r} holds a quote or a sign that shells replace; no line can name it",
            hint="rename the folder",
        )
    # Names of the trainer's own scope are handed in: functions of a program that is executed inside a function do
    # not see each other otherwise. A missing file is passed over: an error here would end the training.
    code = (
        f"p = r'{places.hook}'; __import__('os').path.isfile(p) and "
        "exec(open(p).read(), {'model': model, 'model_save': model_save, 'program': p})"
    )
    # Every second: what a trainer learns between the request for a save and the new weights is lost.
    return f'--execute-program -1 "{code}"'


def install_hook(transport: Transport, places: RemotePlaces) -> None:
    """Put the hook's program on the machine, unless the same lies there."""
    program = hook_source()
    try:
        if transport.read(places.hook, most_bytes=MOST_NOTE_BYTES) == program:
            return
    except RemoteFileMissingError:
        transport.make_folder(places.own)
    transport.write(places.hook, program)
