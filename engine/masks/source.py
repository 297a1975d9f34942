"""What every source of masks promises. How one finds its masks, and which mask a face gets, is decided elsewhere.

A source looks at aligned faces and predicts which of their pixels belong to the face. It reads and writes no file of a
face, and changes nothing of what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dfl.image import AlignedMetadata
from dfl.xseg_mask import FACE_FROM
from engine.types import Image, frozen_array


@dataclass(frozen=True, eq=False)
class FaceToMask:
    """An aligned face that a mask is wanted of."""

    pixels: Image
    """(S, S, 3) uint8 BGR, read-only."""
    metadata: AlignedMetadata
    """Landmarks and polygons lie in px of `pixels`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", frozen_array(self.pixels, np.uint8, (None, None, 3), "face pixels"))
        height, width = self.pixels.shape[:2]
        if height != width:
            raise ValueError(f"face pixels have shape {self.pixels.shape}, expected a square")

    @property
    def side_px(self) -> int:
        """Return S."""
        return int(self.pixels.shape[0])


@dataclass(frozen=True, eq=False)
class PredictedMask:
    """What a source takes for the face."""

    mask: NDArray[np.float32]
    """(S, S) float32, 0..1, read-only, in px of the aligned face: how certainly a pixel belongs to it."""
    source: str
    """Name of the source, as in `MaskSource.name`."""
    model_sha: str | None
    """SHA-256, hex, of the file of weights that made it; None where no weights did."""
    threshold: float = FACE_FROM
    """From this value on a pixel belongs to the face."""
    without_hair: NDArray[np.bool_] | None = None
    """(S, S) bool, read-only: of a mask that was asked to hold hair or a hat, the rest, which alone can be held against
    landmarks; None for other masks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", frozen_array(self.mask, np.float32, (None, None), "mask"))
        if self.without_hair is not None:
            core = frozen_array(self.without_hair, np.bool_, self.mask.shape, "mask without hair")
            object.__setattr__(self, "without_hair", core)

    @property
    def is_face(self) -> NDArray[np.bool_]:
        """(S, S) bool: the pixels that belong to the face."""
        return np.asarray(self.mask >= np.float32(self.threshold))


@dataclass(frozen=True)
class NoMask:
    """A source has no mask for a face."""

    source: str
    reason: str
    """Why, as the rest of a sentence that begins with the source: "the face has no source landmarks"."""
    check: str = ""
    """Name of the check that refused its mask (engine.masks.checks); "" where it has none to check."""


class MaskSource(Protocol):
    """Predicts masks. One thread at a time may use it."""

    @property
    def name(self) -> str:
        """`hull`, `polygons`, `xseg` or `parser`."""

    @property
    def model_sha(self) -> str | None:
        """SHA-256, hex, of the file of weights that is run; None for a source without weights."""

    def masks(self, faces: Sequence[FaceToMask]) -> Sequence[PredictedMask | NoMask]:
        """Return one answer for each face, in their order; the same face gets the same answer in any company.

        Raise FormatError for a face that cannot be drawn (landmarks nowhere near the picture), ModelError for weights
        that cannot be run.
        """
