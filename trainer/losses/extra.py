"""Losses that DeepFaceLab does not have, by name; and a user's own, by `module:function`.

Each is given target and prediction where they are compared, (batch, 3, R, R) float32 of 0..1, and returns (batch,).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.errors import SettingsError
from trainer.losses.dssim import ssim_terms

Loss = Callable[[Tensor, Tensor], Tensor]

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, finest first: Wang, Simoncelli and Bovik, Multi-scale structural similarity, 2003."""
MS_SSIM_WINDOW = 11
SMALLEST_CONTRAST = 1e-6
"""A negative contrast has no root: it counts as this."""


@dataclass(frozen=True)
class ExtraLoss:
    """A loss and its weight in the sum of a side."""

    loss: Loss
    weight: float


def extra_loss(name: str, weight: float) -> ExtraLoss:
    """Return the loss of this name, or the function of a user's `module:function`; raise SettingsError for neither."""
    if name in LOSSES:
        return ExtraLoss(LOSSES[name], weight)
    module, _, function = name.partition(":")
    if not function:
        raise SettingsError(f"there is no loss {name}, expected {', '.join(LOSSES)} or module:function")
    try:
        loss = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"loss {name} was not found: {error}", hint="is the module on PYTHONPATH?") from error
    return ExtraLoss(loss, weight)


def ms_ssim(target: Tensor, prediction: Tensor) -> Tensor:
    """1 - the product of contrasts over up to five scales, as many as hold a window, and of the last one's SSIM."""
    scales = [scale for scale in range(len(MS_SSIM_WEIGHTS)) if target.shape[-1] >> scale >= MS_SSIM_WINDOW] or [0]
    weights = torch.tensor([MS_SSIM_WEIGHTS[scale] for scale in scales], dtype=target.dtype, device=target.device)
    weights = weights / weights.sum()
    product = target.new_ones(len(target))
    for scale, weight in zip(scales, weights, strict=True):
        luminance, contrast = ssim_terms(target, prediction, MS_SSIM_WINDOW)
        seen = luminance * contrast if scale == scales[-1] else contrast
        product = product * seen.mean((1, 2, 3)).clamp_min(SMALLEST_CONTRAST) ** weight
        target, prediction = functional.avg_pool2d(target, 2), functional.avg_pool2d(prediction, 2)
    return 1 - product


def gradient_difference(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean absolute difference of neighbours' differences: Mathieu, Couprie and LeCun, 2016."""
    along = [(target.diff(dim=axis) - prediction.diff(dim=axis)).abs().mean((1, 2, 3)) for axis in (2, 3)]
    return along[0] + along[1]


def focal_frequency(target: Tensor, prediction: Tensor) -> Tensor:
    """Squared distance of the spectra, each frequency weighted by its own distance: Jiang, Dai, Wu and Loy, 2021."""
    difference = torch.fft.rfft2(target - prediction, norm="ortho")
    distance = difference.real.square() + difference.imag.square()
    weights = distance.detach().sqrt()
    weights = weights / weights.amax((2, 3), keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    loss: Tensor = (weights * distance).mean((1, 2, 3))
    return loss


def l1(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (target - prediction).abs().mean((1, 2, 3))


def smooth_l1(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean of 0.5 d² / 0.1 below 0.1, of d - 0.05 above."""
    return functional.smooth_l1_loss(prediction, target, reduction="none", beta=0.1).mean((1, 2, 3))


def log_cosh(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean of log(cosh(d))."""
    d = (target - prediction).abs()
    return (d + functional.softplus(-2 * d) - torch.log(d.new_tensor(2.0))).mean((1, 2, 3))


LOSSES: dict[str, Loss] = {
    "ms_ssim": ms_ssim,
    "gradient_difference": gradient_difference,
    "focal_frequency": focal_frequency,
    "l1": l1,
    "smooth_l1": smooth_l1,
    "log_cosh": log_cosh,
}
