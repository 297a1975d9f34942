"""One round under way: its record, its machines, and the journal line that every step writes.

The steps are in `sync.rounds.before_decision` and `sync.rounds.after_decision`, their order in `sync.rounds.rounds`.
Every step writes to the journal before it begins something that would have to be put right, and after it has done
something that need not be done again; so a round can be resumed from its journal at any line.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from core.errors import DfldError
from sync.averaging.average_model import AveragedFile
from sync.errors import ComputerError, RoundError, TrainerError
from sync.failures import failing_alone
from sync.journal.journal import Entry, Journal
from sync.journal.lines import Excluded, Line
from sync.journal.record import RoundRecord, with_entry
from sync.machines import MachineLink, on_each
from sync.pausing import pause
from sync.rounds.feasibility import Prospect
from sync.rounds.settings import SyncSettings
from sync.rounds.store import Store
from sync.trainers.contract import OnWait, SeenIterating
from sync.types import Snapshot

T = TypeVar("T")
TRIES = 3
"""For what must not stay undone on a machine because of one lost reply: starting its trainer, changing its files."""


@dataclass(frozen=True)
class Waiting:
    """A machine's trainer is waited for, perhaps for long. Not in the journal."""

    machine: str
    reason: str
    limit_s: float


OnProgress = Callable[[Line | Waiting], None]
"""Gets every line as it is written to the journal, and each wait that may be long before it begins."""


@dataclass(frozen=True)
class RoundTools:
    """What every step works with."""

    settings: SyncSettings
    store: Store
    journal: Journal
    links: Mapping[str, MachineLink]
    stop: threading.Event
    on_progress: OnProgress


@dataclass(frozen=True)
class NewWeights:
    """What is to be pushed."""

    files: Mapping[str, Mapping[str, AveragedFile]]
    """Machine → part → file in that machine's own layout; a machine without any keeps what it has."""
    kept: Mapping[str, AveragedFile]
    """The set that is kept here as the base of the next round; empty where none is."""
    iteration: int
    """Of the most advanced machine behind it."""
    momentum: Mapping[str, AveragedFile]


def pass_over(_failure: DfldError) -> None:
    """For a failure that is not worth a round or a trainer."""


class RoundWork:
    """One round under way. `record` says at any time what its journal says."""

    def __init__(self, tools: RoundTools, record: RoundRecord, *, journaled: bool = True) -> None:
        self.tools = tools
        self.record = record
        self.number = record.number
        self.snapshots: dict[str, Snapshot] = {}
        self.prospects: dict[str, Prospect] = {}
        self.iterating: dict[str, SeenIterating] = {}
        """Machine → the trainer that was seen iterating, for the stop that follows in this round."""
        self.journal_error: DfldError | None = None
        """Why lines are missing from the journal: only ever of a round that is being brought to its end."""
        self.must_end = bool(record.decided or record.ended)
        """Whether the round is past its decision or given up: then nothing holds it up any more."""
        self._journaled = journaled
        self._lock = threading.Lock()

    def note(self, line: Line) -> None:
        """Write one line to the journal; it is on disk when this returns.

        While the round is brought to its end a line that cannot be written is passed over: trainers come first, and
        whoever takes the round up later finds on the machines what was done.
        """
        entry = Entry(line)
        with self._lock:
            if self._journaled:
                self._append(entry)
            self.record = with_entry(self.record, entry)
        self._report(line)

    def _append(self, entry: Entry) -> None:
        failures: list[DfldError] = []
        with failing_alone(f"the journal of round {self.number}", failures.append):
            self.tools.journal.append(self.number, entry)
        if failures and not self.must_end:
            raise failures[0]
        self.journal_error = failures[0] if failures else self.journal_error

    def _report(self, line: Line | Waiting) -> None:
        """Hand a line on; who listens decides nothing about a round."""
        with failing_alone(f"who follows round {self.number}", pass_over), contextlib.suppress(OSError):
            self.tools.on_progress(line)  # a closed terminal is foreseen

    def on_wait(self, link: MachineLink) -> OnWait:
        """Return what a trainer is handed to report that it waits."""
        return lambda reason, limit_s: self._report(Waiting(link.name, reason, limit_s))

    def each(
        self, names: Iterable[str], work: Callable[[MachineLink], T], *, bulk: bool = False
    ) -> tuple[dict[str, T], dict[str, DfldError]]:
        """Do `work` on each machine; return what each gave, or why it failed: what is raised is its machine's failure.

        Raise ComputerError where it is this computer's and the round can still be given up.
        """
        done, failed = on_each(self.tools.links, names, work, bulk=bulk)
        own = next((error for error in failed.values() if isinstance(error, ComputerError)), None)
        if own and not self.must_end:
            raise own
        return done, failed

    def exclude(self, reasons: Mapping[str, DfldError | str]) -> None:
        """Leave machines out of the average, each with its reason."""
        for machine in [name for name in self.tools.links if name in reasons]:  # whoever failed first
            reason = reasons[machine]
            if machine not in self.record.excluded:
                self.note(Excluded(machine, reason if isinstance(reason, str) else reason.message))

    def taking_part(self) -> list[str]:
        """Machines that are not left out."""
        return [name for name in self.record.machines if name not in self.record.excluded]

    def check_enough(self, least: int) -> None:
        """Raise RoundError, with every reason, when fewer than `least` machines take part."""
        left = self.taking_part()
        if len(left) < least:
            raise RoundError(f"{len(left)} machines take part, {least} are needed ({self.reasons()})")

    def check_snapshots(self, least: int) -> None:
        """Raise RoundError, with every reason, when fewer machines gave a snapshot."""
        if len(self.snapshots) < least:
            raise RoundError(f"{len(self.snapshots)} machines gave a snapshot, {least} are needed ({self.reasons()})")

    def reasons(self) -> str:
        """Why machines are left out, as one text."""
        return (
            "; ".join(f"{machine}: {reason}" for machine, reason in self.record.excluded.items())
            or "no machine answers"
        )

    def tried(self, work: Callable[[], T]) -> T:
        """Do what must not fail by one lost reply or one bad answer: a few times, whatever is raised."""
        for _ in range(TRIES - 1):
            failures: list[DfldError] = []
            with failing_alone(f"a try in round {self.number}", failures.append):
                return work()
            if isinstance(failures[0], TrainerError):
                raise failures[0]  # it waited as long as it may, and says what is wrong
            pause(self.tools.stop, self.tools.settings.trainer.poll_s)
        return work()
