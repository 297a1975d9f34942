"""Features of a faceset: what was measured of its faces, one column a measure, one row a face. Pure.

How each is measured: engine.facesets.measures. Where they come from: engine.facesets.feature_cache. What follows from
them (what is set aside, what is missing, in which order faces stand) is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float32]
"""(N,), one number a face. NaN where it cannot be measured, as each field says."""


@dataclass(frozen=True, eq=False)
class Features:
    """Columns of a faceset, N faces in the order in which DeepFaceLab reads them (by name). Arrays are read-only."""

    name: tuple[str, ...]
    """File name under aligned/."""
    face_id: tuple[str, ...]
    """32 hexadecimal digits; see engine.facesets.face_listing for files without `dfld_face_id`."""
    source: tuple[str, ...]
    """`source_filename` without the frame's number and ending: which clip, "" where frames have numbers alone."""
    frame: NDArray[np.int64]
    """(N,) number of the frame in its clip, from `source_filename`; -1 where it has none."""
    yaw: Column
    """Turn of the head, degrees; negative looks to the picture's left. Sorts as DeepFaceLab's `face-yaw` does, whose
    sign is the other one (engine.facesets.measures.pose)."""
    pitch: Column
    """Degrees; positive looks up."""
    roll: Column
    """Degrees; how far the head was turned in the frame, clockwise positive. An aligned face itself stands upright."""
    pose_error: Column
    """How far the 68 points lie from those of the mean head in that pose: root mean square over the points, in
    distances between the eyes' centres. Large where landmarks are wrong."""
    mouth_open: Column
    mouth_width: Column
    eye_opening: Column
    """See engine.facesets.measures.expression for units. Of two eyes the mean."""
    light_x: Column
    light_y: Column
    """Change of luma from the middle of the face to its edge, in parts of the mean: positive is brighter on the
    picture's right, or below."""
    brightness: Column
    """Mean luma inside the hull, 0..255."""
    luma_std: Column
    """Standard deviation of the luma inside the hull, levels."""
    nf: Column
    """Sharpness that noise does not raise: log of detail over coarse structure, larger is sharper. NaN where there is
    no picture inside the hull."""
    nfdir: Column
    """The smallest nf of four directions; nf - nfdir is large where motion blurred one direction."""
    upscale: Column
    """Aligned px for each px of the frame: above 1 the face was enlarged. NaN where the file does not say."""
    size: NDArray[np.int32]
    """(N,) side of the aligned image, px."""
    hull_area: Column
    """Part of the aligned image inside the hull, 0..1."""
    mask_over_hull: Column
    """Part of the hull that the stored mask covers, 0..1; NaN without a mask."""
    cut_off: Column
    """Part of the crop outside the frame, 0..1; 0 where the file does not say where the crop lay."""
    has_polygons: NDArray[np.bool_]
    """(N,) a person drew the mask."""
    luma_dct: NDArray[np.float32]
    """(N, 99) what the picture shows, coarsely: aligned luma of 32 x 32 px, mean 0 and length 1, its low
    coefficients of an orthonormal DCT-II, row by row. Lengths are 0.9 to 0.95 of 1: the rest is detail left out."""

    def __post_init__(self) -> None:
        count = len(self.name)
        for one in fields(self):
            value = getattr(self, one.name)
            if len(value) != count:
                raise ValueError(f"{one.name} has {len(value)} rows, expected {count}")
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __len__(self) -> int:
        return len(self.name)

    @property
    def sharpness(self) -> Column:
        """(N,) one number to rank by: the mean of nf and nfdir, which sees every kind of blur."""
        return (self.nf + self.nfdir) / np.float32(2)
