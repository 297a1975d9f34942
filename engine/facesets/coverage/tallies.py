"""Expression, light and enlargement of a faceset as numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine.facesets.curation.cells import LIGHTS, Light, cells_of, has_open_mouth, has_shut_eyes
from engine.facesets.features import Features

UPSCALE_EDGES = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Between the bars of the histogram: below the first, between two, above the last."""
ADVISED_SIZES_PX = (256, 384, 512, 768)
UPSCALE_ADVISED = 1.5
"""An aligned size is advised at which half of the faces are enlarged less than this."""


@dataclass(frozen=True)
class Tally:
    """What is counted of one faceset."""

    faces: int
    open_mouths: int
    shut_eyes: int
    lights: dict[Light, int]
    """Which side of the picture is brighter, in the order of LIGHTS."""
    upscales: tuple[int, ...]
    """Faces in each bar between UPSCALE_EDGES; those of unknown enlargement in none."""
    upscale_median: float | None
    """None where no file says what its face was cut from."""
    sizes_px: tuple[int, ...]
    """Sides of the aligned pictures that occur, the most frequent first."""
    advised_size_px: int | None
    """The largest aligned size that the footage fills; None where nothing is known of the footage."""

    def share(self, count: int) -> str:
        """Return a part of the faces in percent: `2.5 %`, `40 %`."""
        share = 100 * count / max(1, self.faces)
        return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"


def tally_of(features: Features) -> Tally:
    """Count a faceset."""
    lights = np.bincount(cells_of(features).light, minlength=len(LIGHTS)).tolist()
    known = np.isfinite(features.upscale)
    upscale = features.upscale[known].astype(np.float64)
    bars = np.bincount(np.searchsorted(UPSCALE_EDGES, upscale, side="right"), minlength=len(UPSCALE_EDGES) + 1)
    sizes, counts = np.unique(features.size, return_counts=True)
    return Tally(
        faces=len(features),
        open_mouths=int(has_open_mouth(features).sum()),
        shut_eyes=int(has_shut_eyes(features).sum()),
        lights=dict(zip(LIGHTS, lights, strict=True)),
        upscales=tuple(bars.tolist()),
        upscale_median=round(float(np.median(upscale)), 2) if len(upscale) else None,
        sizes_px=tuple(int(one) for one in sizes[np.argsort(-counts, kind="stable")]),
        advised_size_px=_advised(features),
    )


def upscale_labels() -> tuple[str, ...]:
    """Return what each bar of the histogram is called: `1 to 1.5`."""
    edges = [f"{edge:g}" for edge in UPSCALE_EDGES]
    between = [f"{low} to {high}" for low, high in pairwise(edges)]
    return (f"below {edges[0]}", *between, f"above {edges[-1]}")


def _advised(features: Features) -> int | None:
    known = np.isfinite(features.upscale) & (features.upscale > 0)
    if not known.any():
        return None
    crop_px = float(np.median(features.size[known] / features.upscale[known].astype(np.float64)))
    fitting = [size for size in ADVISED_SIZES_PX if size / crop_px <= UPSCALE_ADVISED]
    return max(fitting, default=ADVISED_SIZES_PX[0])
