"""The style loss: two pictures compared by mean and deviation of each channel, once blurred.

Source: DeepFaceLab commit 46fc239, core/leras/ops (style_loss).
"""

from __future__ import annotations

from torch import Tensor

from trainer.losses.blur import blur

EPSILON = 1e-5


def style(one: Tensor, other: Tensor, radius: int, weight: float) -> Tensor:
    """Compare (batch, channels, R, R) pictures, blurred by `radius` px where that is not 0; return (batch,).

    The sum over channels of squared differences of means and of standard deviations, times weight / 3.
    """
    means, deviations = zip(*(_moments(blur(x, radius) if radius > 0 else x) for x in (one, other)), strict=True)
    differences = (means[0] - means[1]).square() + (deviations[0] - deviations[1]).square()
    loss: Tensor = differences.sum(1) * (weight / 3)
    return loss


def _moments(pictures: Tensor) -> tuple[Tensor, Tensor]:
    return pictures.mean((2, 3)), (pictures.var((2, 3), correction=0) + EPSILON).sqrt()
