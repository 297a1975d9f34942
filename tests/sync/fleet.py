"""Several machines that train one model, and the settings that make their rounds quick."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sync.averaging.gates import GateSettings
from sync.model_files.snapshot import SnapshotSettings
from sync.rounds.rounds import Rounds
from sync.rounds.settings import SyncSettings
from sync.types import Machine
from tests.sync.standin_trainer import SHAPES
from tests.sync.training import MODEL, QUICK, TrainingMachine

SNAPSHOTS = SnapshotSettings(tries=100, wait_s=0.05, quiet_s=1.1, disk_reserve_bytes=0)


@dataclass
class Fleet:
    """The machines of one model."""

    machines: list[TrainingMachine]
    folder: Path
    """Where dfld keeps its things."""

    def settings(self, **changes: object) -> SyncSettings:
        plain = SyncSettings(
            MODEL,
            tuple(one.machine for one in self.machines),
            self.folder,
            quorum=2,
            gates=GateSettings(least_work=0.0),
            trainer=QUICK,
            snapshot=SNAPSHOTS,
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> TrainingMachine:
        return next(one for one in self.machines if one.machine.name == name)

    def train_by_hand(self, names: Sequence[str] = (), *, iterations: int = 100, step: float = 0.01) -> None:
        """Change every machine's weights a little and let its data.dat count on, as a trainer that has ended."""
        for seed, one in enumerate(self.machines):
            if names and one.machine.name not in names:
                continue
            move(one, iterations=iterations, step=step, seed=seed)

    def sets(self) -> dict[str, bytes]:
        """Machine → all its weights as one value, to compare sets by."""
        return {one.machine.name: weights_value(one) for one in self.machines}


def move(one: TrainingMachine, *, iterations: int, step: float, seed: int) -> None:
    rng = np.random.default_rng([seed, one.state()["iter"]])
    for part in SHAPES:
        path = one.folder / MODEL.file_name(part)
        tensors = pickle.loads(path.read_bytes())
        moved = {
            key: (value + step * rng.normal(size=value.shape)).astype(np.float32) for key, value in tensors.items()
        }
        path.write_bytes(pickle.dumps(moved, 4))
    state = one.state()
    state["iter"] += iterations
    state["loss_history"] += [[0.11, 0.11] for _ in range(iterations)]  # rows of their own, as DeepFaceLab has them
    (one.folder / MODEL.file_name("data.dat")).write_bytes(pickle.dumps(state, 3))


def weights_value(one: TrainingMachine) -> bytes:
    """All weights of a machine as one value: equal for equal weights, whatever the layout."""
    return b"".join(
        value.tobytes() for _, tensors in sorted(one.weights().items()) for _, value in sorted(tensors.items())
    )


def mean_of(sets: Sequence[TrainingMachine]) -> dict[str, dict[str, np.ndarray]]:
    """The plain float64 mean of the weights that lie in the machines' folders."""
    loaded = [one.weights() for one in sets]
    return {
        part: {
            key: np.mean([own[part][key].astype(np.float64) for own in loaded], axis=0).astype(np.float32)
            for key in loaded[0][part]
        }
        for part in SHAPES
    }


def as_value(weights: dict[str, dict[str, np.ndarray]]) -> bytes:
    return b"".join(value.tobytes() for _, part in sorted(weights.items()) for _, value in sorted(part.items()))


def make_fleet(folder: Path, names: tuple[str, ...] = ("gpu1", "gpu2", "gpu3")) -> Fleet:
    machines = []
    for seed, name in enumerate(names):
        model_dir = folder / name / "work space" / "model"
        model_dir.mkdir(parents=True)
        # Trainers that never run: their status says so.
        made = TrainingMachine(
            Machine(name=name, address="", model_dir=str(model_dir), transfer="local", status="false")
        )
        made.write_model(seed=seed)
        machines.append(made)
    return Fleet(machines, folder / "state")


def begun(fleet: Fleet, **changes: object) -> Rounds:
    """A fleet with a common start, each machine trained on from it."""
    rounds = Rounds(fleet.settings(**changes))
    assert rounds.start_from("gpu1").outcome == "initialised"
    fleet.train_by_hand()
    return rounds
