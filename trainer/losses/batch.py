"""What one training step is given, and what every loss of it is measured against."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trainer.losses.blur import soft_mask, without_background


@dataclass(frozen=True)
class Side:
    """The samples of one side. Pictures are (batch, 3, R, R), BGR, masks (batch, 1, R, R), all of 0..1."""

    warped: Tensor
    """What the network is shown."""
    target: Tensor
    """What it should answer."""
    mask: Tensor
    """Where the face is."""
    eyes_mouth: Tensor
    """Where eyes and mouth are."""


@dataclass(frozen=True)
class Batch:
    """The samples of one step."""

    src: Side
    dst: Side


@dataclass(frozen=True)
class Targets:
    """What the answers for one side are compared with: made once a step, for all of its losses."""

    picture: Tensor
    """The target; with blur_out_mask, without its background."""
    mask: Tensor
    eyes_mouth: Tensor
    soft_mask: Tensor
    masked: Tensor
    """The picture where it is compared: all of it, or with masked_training inside of the soft mask."""
    compares_inside: bool

    def inside(self, prediction: Tensor) -> Tensor:
        """Return the part of a prediction that is compared with `masked`."""
        return prediction * self.soft_mask if self.compares_inside else prediction


def targets_of(side: Side, *, masked_training: bool, blur_out_mask: bool) -> Targets:
    """Make of the samples of one side what its losses need."""
    picture = without_background(side.target, side.mask) if blur_out_mask else side.target
    soft = soft_mask(side.mask)
    masked = picture * soft if masked_training else picture
    return Targets(picture, side.mask, side.eyes_mouth, soft, masked, masked_training)
