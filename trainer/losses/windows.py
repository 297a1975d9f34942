"""Pictures filtered by a window that is an outer product: rows first, then columns, each channel alone.

A 2-D window of n x n costs n² products a pixel, its two 1-D halves 2 n; the numbers are the same but for rounding.
Convolutions here are depthwise, which PyTorch runs in full float32 on a GPU too: TF32 would ruin an SSIM.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def filtered(pictures: Tensor, window: Tensor, *, padding: int = 0) -> Tensor:
    """Filter (batch, channels, rows, columns) by outer(window, window), `padding` zeros all round.

    `window` is (n,), of the pictures' type and device. The answer has rows + 2 · padding - n + 1 rows.
    """
    channels = pictures.shape[1]
    along_columns = window.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    along_rows = window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    half = functional.conv2d(pictures, along_columns, padding=(0, padding), groups=channels)
    return functional.conv2d(half, along_rows, padding=(padding, 0), groups=channels)


def gaussian(size: int, sigma: float, centre: float, like: Tensor) -> Tensor:
    """Return (size,) numbers exp(-(i - centre)² / (2 sigma²)) with the sum 1, of the type and device of `like`."""
    places = torch.arange(size, dtype=torch.float64) - centre
    values = torch.exp(-places.square() / (2 * sigma**2))
    return (values / values.sum()).to(like.device, like.dtype)
