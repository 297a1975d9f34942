"""Trainings that DeepFaceLab recorded (golden/numerics/v2, described by its README), and ours set up alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from trainer.architectures.names import FileTensor
    from trainer.losses.batch import Batch
    from trainer.training_step import TrainingStep

SAMPLE_NAMES = ("warped_{}", "target_{}", "target_{}m", "target_{}m_em")
Values = NDArray[np.generic]


@dataclass(frozen=True)
class Case:
    """One recorded training."""

    name: str
    facts: dict[str, Any]
    arrays: Mapping[str, Values]
    weights: Mapping[str, Values]
    judge_weights: Mapping[str, Values]
    samples: Mapping[str, Values]

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.facts["options"])

    def batch(self, dtype: torch.dtype, only: slice = slice(None)) -> Batch:
        import torch

        from trainer.losses.batch import Batch, Side

        def tensor(name: str) -> torch.Tensor:
            values = self.samples[name][only].astype(np.float32) / np.float32(255)
            return torch.from_numpy(values.transpose(0, 3, 1, 2).copy()).to(dtype)

        src, dst = (Side(*(tensor(name.format(side)) for name in SAMPLE_NAMES)) for side in ("src", "dst"))
        return Batch(src, dst)

    def training(self, dtype: torch.dtype) -> TrainingStep:
        """Our training with the recorded weights and options, and accumulators of 0."""
        import torch

        from trainer.assembly import training_step_of
        from trainer.losses.saehd_losses import LossSettings
        from trainer.networks import networks_of

        torch.set_num_threads(1)
        networks = networks_of(self.options, seed=0)
        for part, network in networks.saehd.named_children():
            _fill(network, part, self.weights)
        for name, judge in (("dis", networks.code_discriminator), ("D_src", networks.patch_discriminator)):
            if judge is not None:
                _fill(judge, name, self.judge_weights)
        for one in (networks.saehd, networks.code_discriminator, networks.patch_discriminator):
            if one is not None:
                one.to(dtype)
        axes = "channels_rows" if "nchw" in self.name else "rows_columns"
        losses = LossSettings.from_options(self.options, axes=axes)
        return training_step_of(networks, self.options, losses, seed=0)


def load_case(shared: Path, name: str) -> Case:
    folder = shared / "golden" / "numerics" / "v2"
    facts = json.loads((folder / f"{name}.json").read_text())

    def arrays(key: str) -> Mapping[str, Values]:
        file = facts.get(key)
        return {} if file is None else dict(np.load(folder / file))

    return Case(name, facts, *(arrays(key) for key in ("arrays", "weights_file", "disc_weights_file", "batch_file")))


def _fill(network: torch.nn.Module, part: str, weights: Mapping[str, Values]) -> None:
    from trainer.architectures.names import load_part

    prefix = f"{part}/"
    load_part(network, {name.removeprefix(prefix): one for name, one in weights.items() if name.startswith(prefix)})


# -- comparing


def summary(values: Values) -> list[float]:
    """What most arrays are kept as: first, last, L2 norm, sum, a sum weighted by a cosine, the largest magnitude."""
    flat = np.asarray(values, np.float64).ravel()
    weighted = float((flat * np.cos(0.7 * np.arange(flat.size) + 0.3)).sum())
    return [flat[0], flat[-1], float(np.sqrt((flat**2).sum())), float(flat.sum()), weighted, float(np.abs(flat).max())]


def summary_difference(found: Values, expected: Sequence[float]) -> float:
    """The largest difference of two summaries, relative to the largest magnitude or to the L2 norm."""
    ours = summary(found)
    norm, largest = expected[2], expected[5]
    if largest == 0:
        return ours[5]
    scales = (largest, largest, norm, norm, norm, largest)
    return max(abs(a - b) / scale for a, b, scale in zip(ours, expected, scales, strict=True))


def relative(found: Values, expected: Values) -> float:
    """The largest difference, relative to the largest expected magnitude."""
    return float(np.abs(np.asarray(found, np.float64) - expected).max() / np.abs(expected).max())


def forms(network: torch.nn.Module, part: str = "") -> dict[str, FileTensor]:
    """Names as optimizers have them → how each tensor lies in the files. `part` names a network that is one part."""
    from trainer.architectures.names import file_tensors

    parts = {part: network} if part else dict(network.named_children())
    return {f"{name}/{tensor.key}": tensor for name, one in parts.items() for tensor in file_tensors(one)}
