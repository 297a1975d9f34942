"""First values of a new network, drawn as DeepFaceLab draws them.

Weights of convolutions and dense layers are Glorot uniform, ±√(6 / (fan in + fan out)) with a fan of k · k · channels;
biases are 0. Source: DeepFaceLab commit 46fc239, core/leras/layers. (Its "convolution aware" initialiser is not used
by any layer.) Normalising layers, which SAEHD has none of, are not made here.
"""

from __future__ import annotations

import torch
from torch import nn


def draw_initial_weights(part: nn.Module, generator: torch.Generator) -> None:
    """Give every weight of `part` a new value from `generator`, in the order of the file, and every bias a 0."""
    with torch.no_grad():
        for parameter in part.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)
