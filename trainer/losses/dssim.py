"""DSSIM: half of what a structural similarity of 1 lacks, as DeepFaceLab measures it.

    window    n x n Gaussian of sigma 1.5, its middle at (n - 1) / 2; n may be even
    F         the filter by that window, without padding
    lum       (2 Fa Fb + c1) / (Fa² + Fb² + c1)
    cs        (2 F(ab) - 2 Fa Fb + c2) / (F(a² + b²) - Fa² - Fb² + c2)        c1 = 0.01², c2 = 0.03²
    DSSIM     (1 - mean(lum · cs)) / 2 of each channel

Numerator and denominator of cs are differences of nearly equal numbers: never in less than float32. Source:
DeepFaceLab commit 46fc239, core/leras/ops (dssim).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from trainer.losses.windows import filtered, gaussian

SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


def dssim(one: Tensor, other: Tensor, size: int) -> Tensor:
    """Compare (batch, channels, R, R) pictures of 0..1 by windows of `size` px; return (batch, channels)."""
    luminance, contrast = ssim_terms(one, other, size)
    return (1 - (luminance * contrast).mean((2, 3))) / 2


def ssim_terms(one: Tensor, other: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return lum and cs at every place of the window, each (batch, channels, R - size + 1, R - size + 1)."""
    size = max(1, size)
    window = _window(size, one.dtype, one.device)
    fields = torch.cat([one, other, one * other, one.square() + other.square()], 1)
    mean_one, mean_other, mean_product, mean_squares = filtered(fields, window).chunk(4, 1)
    product = 2 * mean_one * mean_other
    squares = mean_one.square() + mean_other.square()
    luminance = (product + C1) / (squares + C1)
    contrast = (2 * mean_product - product + C2) / (mean_squares - squares + C2)
    return luminance, contrast


@cache
def _window(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The 1-D half of the window, with the sum of the n x n numbers that DeepFaceLab takes.

    Those are a softmax in float32, whose sum misses 1 by up to 1e-7, by how much depends on the library that computed
    it: here PyTorch's. F(ab) - Fa Fb shows it, by 2e-6 of a loss at 256 px, which the recorded losses are nearer to.
    """
    half = gaussian(size, SIGMA, (size - 1) / 2, torch.empty((), dtype=torch.float64))
    exponents = -(torch.arange(size, dtype=torch.float32) - (size - 1) / 2).square() / (2 * SIGMA**2)
    total = torch.softmax((exponents[:, None] + exponents).flatten(), 0).double().sum()
    return (half * total.sqrt()).to(device, dtype)
