"""The sharpest face of each pose cell, small. Reads the aligned pictures; a face that cannot be read has none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from engine.errors import InputError
from engine.facesets.coverage.report import CoverageReport
from engine.facesets.curation.cells import PoseCell
from engine.footage.image_folder import read_image
from engine.types import Image

THUMBNAIL_PX = 176
"""Twice what a cell has on a page, for fine screens."""


def thumbnails_of(report: CoverageReport, aligned: Path) -> Mapping[PoseCell, Image]:
    """Return (THUMBNAIL_PX, THUMBNAIL_PX, 3) uint8 BGR for each cell with a face in the folder `aligned`."""
    found = {}
    for one in report.cells:
        if one.sharpest is None:
            continue
        try:
            pixels = read_image(aligned / one.sharpest)
        except InputError:
            continue  # moved or changed by its owner since it was measured
        small = cv2.resize(pixels, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
        found[one.cell] = np.asarray(small, np.uint8)
    return found
