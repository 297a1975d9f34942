"""The contract of steering a machine's trainer, in words, and what every way of doing it shares.

The ways: `sync.trainers.commanded` (stop, start), `sync.trainers.cooperating` (a line inside the trainer),
`sync.trainers.trainer` (none of both, and the choice between them).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from dfl.errors import FormatError
from dfl.model_files import DATA
from dfl.training_state import TrainingState, read_training_state_source
from sync.errors import RemoteFileMissingError
from sync.pausing import pause
from sync.places import RemotePlaces
from sync.trainers.control import ControlMode
from sync.trainers.pace import iterating_for_s
from sync.trainers.processes.process_list import Process, is_same_process
from sync.trainers.proof import Progress, rows
from sync.transports.transport import Transport
from sync.types import FileStat


@dataclass(frozen=True)
class TrainerSettings:
    """How long to wait for a trainer. The defaults suit DeepFaceLab; tests shorten them."""

    command_s: float = 120.0
    """A start or status command; they return at once, a loaded machine takes a little."""
    stop_s: float = 900.0
    """From SIGINT to the end: one iteration and one save, a minute for a big model, more on a slow disk."""
    answer_s: float = 900.0
    """From a request to the hook's answer: the same save, or loading."""
    alive_s: float = 300.0
    """A cooperating trainer that gave no sign for so long is taken for dead where its machine cannot say whether its
    process lives; it gives none during a save."""
    reaction_s: float = 120.0
    """From SIGINT to the first sign of the last save: one iteration, on a loaded machine."""
    poll_s: float = 1.0
    proof_s: float = 3600.0
    """Until a started trainer must have been seen iterating: loading, then its save after 25 minutes, with room."""
    save_period_s: float = 25 * 60.0
    """DeepFaceLab's own."""
    are_stopped: bool = False
    """The operator's word that no trainer runs, for machines that cannot say (control = "none" without status)."""


@dataclass(frozen=True)
class Exchange:
    """Staged files that are to become the live ones."""

    round_number: int
    names: tuple[str, ...]
    """Full file names, the same in the staging folder and in the model folder."""
    rename: Callable[[], None]
    """Renames them from here, over SSH; safe to call again."""


OnWait = Callable[[str, float], None]
"""Called before each wait that may be long: what is waited for, and for how many seconds at most."""


def wait_in_silence(_what: str, _limit_s: float) -> None:
    """An OnWait for callers who do not want to know."""


@dataclass(frozen=True)
class SeenIterating:
    """A running trainer that was seen iterating, and what distinguishes it from one that was started since."""

    pid: int
    """What the `pid` command printed; 0 where there is none."""
    process: Process | None
    """Its youngest process; None where the machine cannot say."""
    iteration: int
    """Of its last save."""

    def is_still(self, pid: int, process: Process | None, iteration: Callable[[], int]) -> bool:
        """Whether a trainer that is found now is this one. Without a process only an unchanged save shows that."""
        if pid != self.pid:
            return False
        if self.process is None or process is None:
            return self.process is None and process is None and iteration() == self.iteration
        return is_same_process(self.process, process)


class Trainer(Protocol):
    """One machine's trainer of one model."""

    @property
    def mode(self) -> ControlMode:
        """What this way of steering means for a round."""

    def is_running(self) -> bool:
        """Whether the trainer runs now; also True where it may run and nobody can say."""

    def wait_until_stoppable(
        self, on_wait: OnWait = wait_in_silence, seen: SeenIterating | None = None
    ) -> SeenIterating | None:
        """Return once the trainer may be asked to rest: what was seen of it iterating; None where none need be seen.

        DeepFaceLab that is interrupted while it loads hangs, and is lost. Stops nothing. `seen`: what an earlier call
        returned, which spares the wait as long as it is still that trainer. Raise TrainerError where it was not seen
        iterating within the limit, ignores SIGINT, or may not be stopped at all.
        """

    def settle(self, on_wait: OnWait = wait_in_silence, seen: SeenIterating | None = None) -> None:
        """Bring what the trainer has learned to disk, and see that it writes no more or only when asked.

        Waits until it may be stopped first, with `seen` as `wait_until_stoppable` does. Raise TrainerError when it
        does not: it does not end, or ended without saving, or what `wait_until_stoppable` raises.
        """

    def take(self, exchange: Exchange) -> int | None:
        """See that the staged files become the live ones with no save in between.

        Return the trainer's iteration when it took them; None where that is data.dat's, because it was down.

        Raise TrainerError when that cannot be, because a trainer runs that nobody controls. Safe to call again.
        """

    def resume(self, on_wait: OnWait = wait_in_silence) -> None:
        """Let it train again, whatever an earlier dfld that was killed had asked of it. Nothing for one that trains.

        Raise TrainerError when it does not start.
        """

    def progress(self, since_iteration: int) -> Progress | None:
        """Return how far it is, once it has trained beyond `since_iteration` on what it was given; None before."""

    def what_proves(self) -> str:
        """Return what is waited for until it is proved that the trainer trains on from what it was given."""

    def iterating_for_s(
        self, iterations: int, *, taken_ago_s: float, started_ago_s: float, pace_s: float | None
    ) -> float:
        """Return for how long a trainer that is seen iterating has been iterating, having trained `iterations` since.

        `taken_ago_s`: since it was given weights; `started_ago_s`: since it was started; both 0 where it was not.
        `pace_s`: seconds per iteration as measured before; None where not known.
        """

    def why_gone(self) -> str:
        """Return how it is known for certain that the trainer will not come; nothing when it may."""

    def wait_until(
        self, happened: Callable[[], bool], limit_s: float, *, heed_stop: bool = True, every: int = 1
    ) -> bool:
        """Check again and again until it happened or the limit passed; return whether it did.

        `heed_stop`: also end when dfld is asked to stop. Not for a trainer that was asked to stop or start: nobody
        would know what became of it. `every`: how many polls lie between two checks.
        """


class RefusedStates:
    """Which data.dat of one machine could not be read, so that it is not read again until it changes. One thread."""

    def __init__(self) -> None:
        self._refused: dict[str, tuple[FileStat, FormatError]] = {}

    def check(self, path: str, now: FileStat) -> None:
        """Raise again what was found wrong with this very file."""
        known = self._refused.get(path)
        if known and known[0] == now:
            raise FormatError(known[1].message, hint=known[1].hint)

    def remember(self, path: str, found: FileStat, error: FormatError) -> None:
        """Keep what is wrong with a file that had this size and time before it was read."""
        self._refused[path] = found, error


def read_state(transport: Transport, places: RemotePlaces, refused: RefusedStates) -> TrainingState:
    """Read iteration, options and losses of the machine's data.dat; its pictures never leave the machine.

    Raise FormatError, naming machine and file, when it is none: at once, without reading it, as long as it has the
    size and time that it had when it was found to be none, which `refused` remembers.
    """
    path = places.live(DATA)
    found = transport.stat(path)
    refused.check(path, found)
    with transport.open_ranges(path) as source:
        try:
            return read_training_state_source(source)
        except FormatError as error:
            failure = FormatError(
                f"machine {transport.machine.name}: {found.name} is no usable data.dat: {error.message}",
                hint="a crash while saving leaves such a file: restore it from the model's autobackups",
            )
            refused.remember(path, found, failure)
            raise failure from error


@dataclass(frozen=True)
class ControlledTrainer:
    """What all ways of control have."""

    mode: ClassVar[ControlMode]

    transport: Transport
    places: RemotePlaces
    settings: TrainerSettings
    stop: threading.Event
    refused: RefusedStates = field(default_factory=RefusedStates, compare=False)
    """The machine's, where others read its data.dat too; one alone needs no other than its own."""

    @property
    def name(self) -> str:
        return self.transport.machine.name

    def why_gone(self) -> str:
        return ""

    def what_proves(self) -> str:
        return "its trainer's first losses since the new weights"

    def iterating_for_s(
        self,
        iterations: int,
        *,
        taken_ago_s: float,  # noqa: ARG002  a save proves nothing before the trainer has loaded
        started_ago_s: float,
        pace_s: float | None,
    ) -> float:
        saved_s = self.transport.stat(self.places.live(DATA)).modified_s
        return iterating_for_s(
            started_ago_s=started_ago_s,
            saved_ago_s=self.transport.clock_s(self.places.own) - saved_s,
            iterations=iterations,
            pace_s=pace_s,
            save_period_s=self.settings.save_period_s,
        )

    def wait_until(
        self, happened: Callable[[], bool], limit_s: float, *, heed_stop: bool = True, every: int = 1
    ) -> bool:
        ends_at = time.monotonic() + limit_s
        while not happened():
            if time.monotonic() > ends_at or (heed_stop and self.stop.is_set()):
                return False
            pause(self.stop, self.settings.poll_s * every)
        return True

    def state_beyond(self, since_iteration: int) -> Progress | None:
        """Read progress from data.dat, which a trainer writes at its first save."""
        try:
            state = read_state(self.transport, self.places, self.refused)
        except RemoteFileMissingError:  # between unlink and rename of a save
            return None
        new = state.iteration - since_iteration
        return Progress(state.iteration, rows(state.losses[-new:])) if new > 0 else None
