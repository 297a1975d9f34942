"""What a round is given: one model, its machines, and the limits of every step. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dfl.model_files import ModelName
from sync.averaging.average import AverageSettings
from sync.averaging.gates import GateSettings
from sync.errors import RoundError
from sync.model_files.snapshot import SnapshotSettings
from sync.trainers.contract import TrainerSettings
from sync.types import Machine


@dataclass(frozen=True)
class SyncSettings:
    """One model that several machines train. `daemon.config.load` fills this from `[[sync]]`."""

    model: ModelName
    machines: tuple[Machine, ...]
    folder: Path
    """Where dfld keeps journals, snapshots and averages of this model."""
    quorum: int = 2
    keep_rounds: int = 5
    average: AverageSettings = field(default_factory=AverageSettings)
    gates: GateSettings = field(default_factory=GateSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    snapshot: SnapshotSettings = field(default_factory=SnapshotSettings)

    def check_machine(self, name: str) -> None:
        """Raise RoundError for a machine that this model is not trained on."""
        have = [machine.name for machine in self.machines]
        if name not in have:
            raise RoundError(f"{self.model.prefix} is not trained on a machine {name!r}; it has: {', '.join(have)}")
