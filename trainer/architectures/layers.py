"""The layers that DeepFaceLab's networks are made of. Tensors are (batch, channels, rows, columns).

Weights lie as PyTorch wants them; `file_layout` of `trainer.architectures.names` turns them into those of the files.
Two things differ from other libraries. A convolution has k // 2 zeros on all four sides, also with stride 2, where
TensorFlow's SAME has more behind than before. And the file orders the output channels of an `Up` as
(place in the 2 x 2 block, channel), PyTorch's `pixel_shuffle` as (channel, place): they are put into this order
once, when a file is read. Source: DeepFaceLab commit 46fc239, core/leras/layers and archis/DeepFakeArchi.py.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[Tensor, float], Tensor]
"""Given a tensor that nobody else needs and a slope, return the activated one, maybe in the same memory."""

PIXEL_NORM_EPSILON = 1e-6


def leaky(x: Tensor, slope: float) -> Tensor:
    """max(x, slope · x), in place: no layer before an activation needs its own answer for the gradient."""
    return functional.leaky_relu_(x, slope)


def cosine(x: Tensor, slope: float) -> Tensor:
    """x · cos(x): what the letter `c` puts into the place of every leaky ReLU. It has no slope."""
    del slope
    return x * x.cos()


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x`, in float32 where it has half precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def pixel_norm(flat: Tensor) -> Tensor:
    """x / √(mean(x²) + 1e-6) over the whole vector of each sample, never in less than float32. Shape (batch, n)."""
    flat = at_least_float32(flat)
    return flat * torch.rsqrt(flat.square().mean(dim=1, keepdim=True) + PIXEL_NORM_EPSILON)


class Convolution(nn.Module):
    """A convolution with bias, of an odd or even kernel, and k // 2 zeros on all four sides.

    An even kernel with stride 2 thus gives n / 2 + 1 rows for n. Values are drawn by
    `trainer.architectures.initial_weights`, or read.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.weight.shape[-1] // 2)


class TransposedConvolution(nn.Module):
    """A 3 x 3 transposed convolution with bias whose answer has exactly `stride` times the side (TensorFlow's SAME).

    With stride 2 the full answer of 2n + 1 rows loses the last row and column; with stride 1 it is symmetric.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return functional.conv_transpose2d(x, self.weight, self.bias, padding=1)
        return functional.conv_transpose2d(x, self.weight, self.bias, stride=2)[..., :-1, :-1]


class Dense(nn.Module):
    """x · W + b of vectors (batch, inputs). Up to 160 000 inputs are summed: never in less than float32."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return torch.addmm(self.bias, x.to(self.weight.dtype), self.weight)


class Down(nn.Module):
    """Half the side: a 5 x 5 convolution with stride 2, activated."""

    def __init__(self, inputs: int, outputs: int, activate: Activation) -> None:
        super().__init__()
        self.conv1 = Convolution(inputs, outputs, 5, stride=2)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.conv1(x), 0.1)


class Downs(nn.Module):
    """Four times half the side, twice the channels each time."""

    def __init__(self, inputs: int, outputs: int, activate: Activation) -> None:
        super().__init__()
        widths = (inputs, *(outputs * 2**level for level in range(4)))
        self.downs = nn.ModuleList(Down(one, two, activate) for one, two in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for down in self.downs:
            x = down(x)
        return x


class Up(nn.Module):
    """Twice the side: a 3 x 3 convolution to four times the channels, activated, each four laid out as 2 x 2 pixels."""

    def __init__(self, inputs: int, outputs: int, activate: Activation) -> None:
        super().__init__()
        self.conv1 = Convolution(inputs, 4 * outputs, 3)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.activate(self.conv1(x), 0.1), 2)


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity, activated after each."""

    def __init__(self, channels: int, activate: Activation) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, channels, 3)
        self.conv2 = Convolution(channels, channels, 3)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(x + self.conv2(self.activate(self.conv1(x), 0.2)), 0.2)
