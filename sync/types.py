"""The values that flow through a synchronisation: machines, model names, snapshots, rounds.

Frozen dataclasses; nothing is filled in later. Paths on a machine are `str` with `/` between folders (SFTP's own
rule, also for OpenSSH on Windows: `C:/workspace/model`); paths on this computer are `pathlib.Path`. What compares
and averages (`sync.averaging.compare`, `sync.averaging.average`) keeps its own types beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from dfl.model_files import ModelName

Control = Literal["command", "cooperative", "none"]
"""How a machine's trainer is steered: by commands, by a line inside the trainer, or not at all."""

Transfer = Literal["auto", "openssh", "paramiko", "local"]
"""Which road the bytes take: `auto` = openssh where installed, else paramiko; `local` = a folder on this computer."""


@dataclass(frozen=True)
class Machine:
    """One computer that trains, and how to reach it. `daemon.config.load` fills this from `[[machine]]`."""

    name: str
    address: str
    model_dir: str
    """Folder of the model files on the machine, absolute; spaces are normal."""
    port: int = 22
    user: str = ""
    key: Path | None = None
    """Private key without a passphrase; None for `local`."""
    known_hosts: Path | None = None
    control: Control = "none"
    stop: str = ""
    start: str = ""
    """Command that starts the trainer, returns, and does nothing where it runs already (as `systemctl start`)."""
    status: str = ""
    """Command whose exit status 0 means: the trainer runs."""
    pid: str = ""
    """Command that prints the trainer's main process id; with it dfld sends SIGINT itself where `stop` is empty."""
    weight: float = 1.0
    """Its part in the average, relative to the others; `share` in the configuration."""
    transfer: Transfer = "auto"
    deadline_s: float = 3600.0
    """Total time that one pull or one push of a whole model may take on this machine."""


@dataclass(frozen=True)
class FileStat:
    """What a machine says about one of its files."""

    name: str
    """Last part of the path."""
    size_bytes: int
    modified_s: int
    """Whole seconds since 1970 by the machine's own clock (SFTP version 3 carries no fraction)."""


@dataclass(frozen=True)
class WeightFile:
    """One model file of a snapshot, pulled and verified."""

    part: str
    """What follows `<name>_<Class>_`: `encoder.npy`."""
    path: Path
    """The copy on this computer."""
    size_bytes: int
    modified_s: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """One consistent copy of a machine's weights, with what data.dat says about them."""

    machine: str
    model: ModelName
    iteration: int
    taken_at: datetime
    files: Mapping[str, WeightFile]
    """By part; weights, and optimizer state only where it was asked for."""
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    recent_losses: tuple[float, ...] = ()
    """The tail of loss_history, oldest first: per iteration the sum of its row (src and dst)."""
    saved_s: int = 0
    """When data.dat was written, by the machine's own clock."""


@dataclass(frozen=True)
class Forecast:
    """What a round is expected to cost one machine's training."""

    seconds: float
    parts: Mapping[str, float]
    """What it is made of, in seconds: save, transfer and average, load."""
    unknown: tuple[str, ...] = ()
    """Parts that nobody has measured yet; they are not in `seconds`."""
    iterations: int | None = None
    """The same in the machine's own iterations; None where its pace is not known."""


Outcome = Literal["averaged", "initialised", "rolled_back", "dry_run", "held", "aborted", "undone", "not_undone"]
"""averaged: new weights everywhere in `receivers`. held: a gate or the quorum refused. aborted: a failure before
the decision, every machine as it was. undone: pushed, found bad, and the weights from before put back. not_undone:
pushed, found bad, and still there; no end, but what such a round is until a later call undoes it."""


@dataclass(frozen=True)
class Round:
    """What one round did. Reported to ledger and metrics by `daemon.averaging`, to a person by `dfld rounds show`."""

    number: int
    model: ModelName
    outcome: Outcome
    reason: str
    """One sentence: why it ended like this."""
    started_at: datetime
    ended_at: datetime
    contributors: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → why it is not in the average."""
    fenced: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → why it still has to be given these weights before it counts again."""
    iterations: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    divergences: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → name of the measure → value, as `sync.averaging.compare` names them."""
    seconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Phase → seconds it took."""
    bytes_pulled: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    bytes_pushed: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    paused_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → seconds its trainer did not train because of this round, or trained what was thrown away: from the
    request to stop or save until it iterated on what it was given."""
    not_seen: tuple[str, ...] = ()
    """Machines whose trainers were not seen iterating again: they did not train at least as long as `paused_s` says."""
    downtime_s: float = 0.0
    """From the first request to stop or save until the last trainer iterated again."""
    lost_iterations: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → iterations that a cooperating trainer made between its save and the new weights that replaced them."""
    forecast: Mapping[str, Forecast] = field(default_factory=lambda: MappingProxyType({}))
    """Of a dry run: machine → what a round would cost its training."""
    transfer_s: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → pull, push → seconds that it took."""
    spread_rel: float | None = None
    """How far the contributors were apart; None where nothing was measured."""
    warnings: tuple[str, ...] = ()
    doubted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → why its trainer did not prove that it trains on from the new weights."""


@dataclass(frozen=True)
class CommandResult:
    """How a command ended on a machine."""

    exit_status: int
    output: str
    """The end of what it printed, for messages and single-line answers."""
