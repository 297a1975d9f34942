"""A picture of some samples as the network gets them, for people: a row a sample, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.samples.settings import AnySample

_TITLES = ("warped", "target", "mask", "eyes, mouth")
_TITLE_PX = 22
_GAP_PX = 6
_PAPER, _INK = 245, (40, 40, 40)


def sample_sheet(batches: Sequence[tuple[str, AnySample]]) -> NDArray[np.uint8]:
    """Given the name and the batch of each side, with as many samples each, return a (H, W, 3) uint8 BGR picture."""
    blocks: list[NDArray[np.uint8]] = []
    for name, batch in batches:
        warped, target, masks = _as_bytes(batch.warped), _as_bytes(batch.target), _as_bytes(batch.masks)
        grey = [np.repeat(masks[:, number, :, :, None], 3, axis=3) for number in range(masks.shape[1])]
        tiles = zip(_TITLES, (warped, target, *grey), strict=True)
        blocks += [_column(f"{name} {title}", pictures) for title, pictures in tiles]
    return np.hstack(blocks)


def _column(title: str, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    count, side = tiles.shape[:2]
    column = np.full((_TITLE_PX + count * (side + _GAP_PX), side + _GAP_PX, 3), _PAPER, np.uint8)
    cv2.putText(column, title, (2, _TITLE_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
    for number, tile in enumerate(tiles):
        top = _TITLE_PX + number * (side + _GAP_PX)
        column[top : top + side, :side] = tile
    return column


def _as_bytes(values: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.uint8]:
    scale = 1 if values.dtype == np.uint8 else 255
    rounded: NDArray[np.uint8] = np.rint(values * np.float32(scale)).astype(np.uint8)
    return rounded
