"""The tables of config.toml for training machines, the models they share, and hooks.

Plain frozen dataclasses like those of `daemon.config.schema`, by the same rules; `daemon` turns them into the settings
of `sync` when it builds a round. What must hold between keys is `daemon.config.checks`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from daemon.config.values import STRICT, Address, ConfigPath, Duration, KeyFile, Line, Name, RemotePath, Size

HookEvent = Literal["job.done", "job.failed", "quarantine", "round.ok", "round.failed"]


@dataclass(frozen=True)
class MachineConfig:
    """A training machine, reached over SSH."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Annotated[Name, Field(examples=["gpu1"])]
    """Name in logs, metrics and commands."""
    address: Annotated[Address, Field(examples=["gpu1.lan"])]
    """Host name or IP address."""
    model_dir: Annotated[RemotePath, Field(examples=["/home/train/workspace/model"])]
    """The DeepFaceLab model folder on that machine."""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    """Port of its SSH server."""
    user: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_.@\\-]{0,63})?$", examples=["train"])] = ""
    """Whom to log in as; needed unless transfer = "local"."""
    key: Annotated[KeyFile | None, Field(examples=["~/.ssh/dfld_ed25519"])] = None
    """Private key file, or "credential:NAME" for one that systemd provides; needed unless transfer = "local"."""
    known_hosts: ConfigPath = Path("/etc/dfld/known_hosts")
    """File of trusted host keys; an unknown or changed key is refused."""
    control: Literal["command", "cooperative", "none"] = "none"
    """How the trainer is stopped and started: by commands, by its own hook, or not at all (pushes wait for it)."""
    stop: Annotated[Line, Field(examples=["systemctl --user stop dfl-train@alice"])] = ""
    """Command that stops the trainer and waits for its last save (control = "command")."""
    start: Annotated[Line, Field(examples=["systemctl --user start dfl-train@alice"])] = ""
    """Command that starts the trainer (control = "command")."""
    status: Annotated[Line, Field(examples=["systemctl --user is-active dfl-train@alice"])] = ""
    """Command that exits 0 while the trainer runs; needed for control = "command", wanted for "none"."""
    pid: Annotated[Line, Field(examples=["systemctl --user show -P MainPID dfl-train@alice"])] = ""
    """Command that prints the trainer's process id; dfld then sends SIGINT itself where stop is left out."""
    share: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """This machine's part in the average, relative to the others."""
    transfer: Literal["auto", "openssh", "paramiko", "local"] = "auto"
    """How bytes travel: OpenSSH's sftp program, paramiko, the faster of them, or a folder on this computer."""
    deadline_s: Annotated[Duration, Field(alias="deadline", ge=1, le=7 * 86400)] = 3600.0
    """Longest time for one pull or push of a whole model."""


@dataclass(frozen=True)
class StageConfig:
    """A stage of training, and how often machines are averaged in it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Annotated[Name, Field(examples=["early"])]
    """Name in logs and commands: early, mid, late."""
    every_iterations: Annotated[int, Field(ge=1, le=100_000_000, examples=[5000])]
    """Iterations between two rounds; halved while a GAN is trained, never less than one save of the trainer."""
    from_iteration: Annotated[Annotated[int, Field(ge=0)] | None, Field(examples=[0])] = None
    """The stage starts at this iteration; left out = stages follow the loss."""
    below_loss: Annotated[Annotated[float, Field(gt=0)] | None, Field(examples=[0.2])] = None
    """The stage starts when the loss falls below this; left out = stages follow the trend of the loss."""


DEFAULT_STAGES = (StageConfig("early", 5000), StageConfig("mid", 2000), StageConfig("late", 1000))


@dataclass(frozen=True)
class SyncLimitsConfig:
    """How far apart machines may be whose weights are averaged; `dfld rounds show` prints what was measured."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    spread_max: Annotated[float, Field(gt=0)] = 0.2
    """A round is held when its machines are further apart than this (spread_rel)."""
    spread_warn: Annotated[float, Field(gt=0)] = 0.1
    """A round has a warning when its machines are further apart than this."""
    drift_max: Annotated[float, Field(gt=0)] = 0.5
    """A machine further from the last average than this (drift_rel) is left out."""
    cosine_gap: Annotated[float, Field(gt=0)] = 0.3
    """A machine is left out when its cosine to the others is this far below the median: it goes another way."""
    least_work: Annotated[float, Field(ge=0, le=1)] = 0.25
    """A machine with a smaller part of the median iterations since the last round is left out."""


@dataclass(frozen=True)
class WaitsConfig:
    """How long a trainer is waited for; the defaults suit DeepFaceLab."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    command_s: Annotated[Duration, Field(alias="command", ge=1, le=86400)] = 120.0
    """A start, status or pid command; they return at once, a loaded machine takes a little."""
    stop_s: Annotated[Duration, Field(alias="stop", ge=1, le=86400)] = 900.0
    """From the request to stop to the trainer's end: one iteration and one save."""
    answer_s: Annotated[Duration, Field(alias="answer", ge=1, le=86400)] = 900.0
    """From a request to the answer of a cooperating trainer: a save, or loading."""
    alive_s: Annotated[Duration, Field(alias="alive", ge=1, le=86400)] = 300.0
    """A cooperating trainer that was silent for so long is taken for dead where its machine cannot say."""
    reaction_s: Annotated[Duration, Field(alias="reaction", ge=1, le=86400)] = 120.0
    """From the request to stop to the first sign of the last save: one iteration, on a loaded machine."""
    poll_s: Annotated[Duration, Field(alias="poll", ge=0.05, le=3600)] = 1.0
    """How often a trainer that is waited for is asked."""
    proof_s: Annotated[Duration, Field(alias="proof", ge=1, le=7 * 86400)] = 3600.0
    """Until a started trainer must have been seen iterating: loading, then its first save."""
    save_period_s: Annotated[Duration, Field(alias="save_period", ge=1, le=7 * 86400)] = 1500.0
    """How often the trainer saves by itself; DeepFaceLab's 25 minutes are fixed, forks may differ."""


@dataclass(frozen=True)
class SnapshotConfig:
    """How patient a copy of a machine's weights is while its trainer may be saving."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    tries: Annotated[int, Field(ge=1, le=100_000)] = 40
    """How often it is tried; with `wait`, together longer than the longest save."""
    wait_s: Annotated[Duration, Field(alias="wait", ge=0.01, le=3600)] = 5.0
    """Between two tries."""
    quiet_s: Annotated[Duration, Field(alias="quiet", ge=0, le=3600)] = 3.0
    """A running trainer's data.dat must have rested so long: times on the machine are whole seconds."""
    reserve_bytes: Annotated[Size, Field(alias="reserve", ge=0)] = 512 * 2**20
    """Space that a round leaves free on this computer."""


@dataclass(frozen=True)
class SyncConfig:
    """A model that several machines train, and how its weights are averaged."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Annotated[Line, Field(min_length=1, max_length=200, pattern=r"^[^/\\_]+$", examples=["alice"])]
    """The model's name: its files are `<name>_<model_class>_*`; spaces are fine, `_` is not."""
    machines: Annotated[tuple[Name, ...], Field(min_length=1, examples=[["gpu1", "gpu2", "gpu3"]])]
    """Names of the [[machine]] tables that train it."""
    model_class: Name = "SAEHD"
    """DeepFaceLab's model class, such as SAEHD, AMP or XSeg."""
    quorum: Annotated[int, Field(ge=1)] = 2
    """Machines that must agree; with fewer a round is held."""
    poll_every_s: Annotated[Duration, Field(alias="poll_every", ge=1, le=86400)] = 60.0
    """How often each machine is asked how far it is."""
    rule: Literal["mean", "median", "trimmed"] = "mean"
    """How weights are averaged; trimmed needs five machines."""
    shares: Literal["uniform", "iterations"] = "uniform"
    """uniform = every machine's own share; iterations = also by the iterations done since the last round."""
    trim: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """The part of the machines that rule = "trimmed" leaves out at each end, at least one machine."""
    outer: Literal["none", "nesterov"] = "none"
    """Outer step on the average; nesterov only after warm-up."""
    outer_learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.7
    """The size of the outer step with nesterov; DiLoCo's value."""
    outer_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """How much of the last outer step stays with nesterov; DiLoCo's value."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """How much of the model to merge with (`deploy`) stays when a round's average joins it."""
    warm_up_iterations: Annotated[int, Field(ge=0)] = 10_000
    """No average is taken before every machine has so many iterations: averaging fresh models ruins them."""
    target_loss: Annotated[Annotated[float, Field(gt=0)] | None, Field(examples=[0.02])] = None
    """Rounds end when the loss reaches this."""
    keep_rounds: Annotated[int, Field(ge=1, le=1000)] = 5
    """Averages that are kept for a rollback."""
    stages: Annotated[tuple[StageConfig, ...], Field(alias="stage", min_length=1)] = DEFAULT_STAGES
    """[[sync.stage]] tables, first to last."""
    limits: SyncLimitsConfig = field(default_factory=SyncLimitsConfig)
    """How far apart machines may be."""
    waits: WaitsConfig = field(default_factory=WaitsConfig)
    """How long trainers are waited for."""
    snapshot: SnapshotConfig = field(default_factory=SnapshotConfig)
    """How patient a copy of a machine's weights is."""


@dataclass(frozen=True)
class HookConfig:
    """A ping or command that notifies others of what happened; never blocks work."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    on: Annotated[tuple[HookEvent, ...], Field(min_length=1, examples=[["job.failed", "quarantine", "round.failed"]])]
    """The events that trigger it."""
    url: Annotated[
        Line,
        Field(pattern=r"^(https?://.*|credential:[A-Za-z0-9_.-]+)?$", examples=["https://hc-ping.com/your-check"]),
    ] = ""
    """Address that gets a POST, or "credential:NAME" for a file that holds it; either this or a command."""
    command: Annotated[tuple[Line, ...], Field(examples=[["/usr/local/bin/notify-me", "dfld"]])] = ()
    """Program and arguments; run without a shell, the event as JSON on its standard input."""
    timeout_s: Annotated[Duration, Field(alias="timeout", ge=0.1, le=60)] = 10.0
    """It is given up after so long."""
