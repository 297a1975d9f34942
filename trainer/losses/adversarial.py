"""What a generator and its discriminators are trained by, and the total variation that keeps a GAN from adding grain.

Source: DeepFaceLab commit 46fc239, models/Model_SAEHD/Model.py and core/leras/ops (total_variation_mse).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from trainer.architectures.layers import at_least_float32

Axes = Literal["rows_columns", "channels_rows"]
"""Which neighbours a total variation compares. DeepFaceLab takes axes 1 and 2 of its tensors: on a GPU, where they
are (batch, channels, rows, columns), channels and rows; on a CPU rows and columns."""


def are_taken_for(logits: Tensor, label: float) -> Tensor:
    """Return (batch,): the mean cross entropy of raw logits (batch, 1, r, r) with a label of 0 or 1."""
    logits = at_least_float32(logits)
    # Cross entropy with a constant label: softplus(x) - label · x.
    return (functional.softplus(logits) - label * logits).mean((1, 2, 3))


def total_variation(pictures: Tensor, axes: Axes) -> Tensor:
    """Return (batch,): the sum of squared differences of neighbours along two axes."""
    first, second = (2, 3) if axes == "rows_columns" else (1, 2)
    return pictures.diff(dim=first).square().sum((1, 2, 3)) + pictures.diff(dim=second).square().sum((1, 2, 3))
