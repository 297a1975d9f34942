"""DeepFaceLab's blur, and what is made with it of masks and targets. Source: commit 46fc239, core/leras/ops
(gaussian_blur) and models/Model_SAEHD/Model.py."""

from __future__ import annotations

from torch import Tensor

from trainer.losses.windows import filtered, gaussian


def blur(pictures: Tensor, radius: float) -> Tensor:
    """Blur (batch, channels, R, R) by a Gaussian of `radius` px; beyond the border there are zeros.

    The window has max(3, int(4 · radius)) px, one more where that is even.
    """
    size = max(3, int(4 * radius))
    size += 1 - size % 2
    return filtered(pictures, gaussian(size, radius, size // 2, pictures), padding=size // 2)


def soft_mask(mask: Tensor) -> Tensor:
    """Return 2 · clip(blur(mask), 0, 0.5): 1 inside and on the border, falling to 0 outside. (batch, 1, R, R)."""
    return 2 * blur(mask, max(1, mask.shape[-1] // 32)).clamp(0, 0.5)


def without_background(target: Tensor, mask: Tensor) -> Tensor:
    """Return the target with everything outside of `mask` blurred, as if the face were not there (blur_out_mask)."""
    outside = 1 - mask
    radius = mask.shape[-1] / 128
    covered = 1 - blur(mask, radius)
    covered = covered.masked_fill(covered == 0, 1)
    return target * mask + blur(target * outside, radius) / covered * outside
