"""The colours of a picture given to another by the way that DeepFaceLab's `ct_mode` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from trainer.randomness import derived_seed
from trainer.samples.colour_transfer.iterative import draw_normals, draw_rotations, idt, sot
from trainer.samples.colour_transfer.statistics import lct, mkl, rct

Picture = NDArray[np.float32]


def transfer_colours(name: str, picture: Picture, reference: Picture, seed: int) -> Picture:
    """Given two (R, R, 3) float32 BGR pictures of 0..1, return the first with the colours of the second.

    `name` is DeepFaceLab's: none, rct, lct, mkl, idt, sot. What is random in it follows from `seed`.
    """
    if name == "none":
        return picture
    return _WAYS[name](picture, reference, np.random.RandomState(derived_seed("colour transfer", seed)))


_WAYS: Mapping[str, Callable[[Picture, Picture, np.random.RandomState], Picture]] = MappingProxyType(
    {
        "rct": lambda picture, reference, _: rct(picture, reference),
        "lct": lambda picture, reference, _: lct(picture, reference),
        "mkl": lambda picture, reference, _: mkl(picture, reference),
        "idt": lambda picture, reference, draws: idt(picture, reference, draw_rotations(draws)),
        "sot": lambda picture, reference, draws: sot(picture, reference, draw_normals(draws)),
    }
)
