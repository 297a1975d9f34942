"""Faces that are too poor to train on, measured against their own set. Pure.

How sharp a face can be depends on camera, codec and light: the limits of sharpness and of landmarks follow from the set
itself, from the median and the quartile beside it, which a fifth of broken faces does not move much. They are printed,
so that everybody can see what a face was measured against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.facesets.curation.settings import CurationSettings
from engine.facesets.curation.verdicts import GATES, Reason
from engine.facesets.features import Column, Features
from engine.facesets.measures.sharpness import DARK_LUMA, DARK_STD

BLUR_SPREADS, MOTION_SPREADS, LANDMARK_SPREADS = 3.0, 3.0, 4.0
"""So many distances from median to quartile away from the median a face is out of its set. A normal distribution has
2 % of its faces beyond 3 of them, 0.4 % beyond 4."""
BLUR_MARGIN, MOTION_MARGIN, LANDMARK_MARGIN = 1.0, 0.6, 0.04
"""However much alike the faces of a set are, so far from its median none is out of it: a set of one sharp take has no
blurred third. Natural logarithms for blur and motion, distances between the eyes for landmarks."""

UPSCALE_OF_MEDIAN = 1.5
"""Where all faces of a set are small, none is too small that is not much smaller than most: there is nothing better."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """What the faces of one set are measured against."""

    upscale_max: float
    cut_off_max: float
    mask_over_hull_min: float
    brightness_min: float
    luma_std_min: float
    sharpness_min: float
    """Of nf. -inf where no face can be judged, and none is refused."""
    motion_max: float
    """Of nf - nfdir."""
    pose_error_max: float


@dataclass(frozen=True, eq=False)
class Gate:
    """One gate: which faces fail it, by which measure, against which limit."""

    failed: Flags
    measured: Column
    limit: float


def limits_of(features: Features, settings: CurationSettings) -> Limits:
    """Return the limits for a set of faces. Neither their order nor a fifth of broken ones moves them much."""
    judged = is_judged(features)
    return Limits(
        upscale_max=max(settings.upscale_max, round(UPSCALE_OF_MEDIAN * _median(features.upscale), 2)),
        cut_off_max=settings.cut_off_max,
        mask_over_hull_min=settings.mask_over_hull_min,
        brightness_min=DARK_LUMA,
        luma_std_min=DARK_STD,
        sharpness_min=-_upper(-features.nf[judged], BLUR_SPREADS, BLUR_MARGIN),
        motion_max=_upper((features.nf - features.nfdir)[judged], MOTION_SPREADS, MOTION_MARGIN),
        pose_error_max=_upper(features.pose_error, LANDMARK_SPREADS, LANDMARK_MARGIN),
    )


def is_judged(features: Features) -> Flags:
    """Return (N,) whether there is light and contrast enough that sharpness says something."""
    return np.asarray((features.brightness >= DARK_LUMA) & (features.luma_std >= DARK_STD))


def gates_of(features: Features, limits: Limits) -> Mapping[Reason, Gate]:
    """Return each gate, in the order in which they are asked. What was not measured fails only where that says it is
    broken: a face whose sharpness or landmarks cannot be measured, but not one without a mask."""
    motion = features.nf - features.nfdir
    gates = {
        "landmarks_unsure": Gate(
            ~(features.pose_error <= limits.pose_error_max), features.pose_error, limits.pose_error_max
        ),
        "cut_off": Gate(features.cut_off > limits.cut_off_max, features.cut_off, limits.cut_off_max),
        "occluded": Gate(
            features.mask_over_hull < limits.mask_over_hull_min, features.mask_over_hull, limits.mask_over_hull_min
        ),
        "too_small": Gate(features.upscale > limits.upscale_max, features.upscale, limits.upscale_max),
        "too_dark": Gate(_is_dark(features), features.brightness, limits.brightness_min),
        "too_flat": Gate(_is_flat(features), features.luma_std, limits.luma_std_min),
        "blurred": Gate(~(features.nf >= limits.sharpness_min), features.nf, limits.sharpness_min),
        "motion_blur": Gate(motion > limits.motion_max, motion, limits.motion_max),
    }
    return {reason: gates[reason] for reason in GATES}


def limit_words(limits: Limits) -> str:
    """Return the limits as one line."""
    parts = (
        f"sharpness at least {limits.sharpness_min:.2f}",
        f"motion at most {limits.motion_max:.2f}",
        f"enlarged at most {limits.upscale_max:.2f} times",
        f"landmarks off at most {limits.pose_error_max:.3f} eye distances",
        f"brightness at least {limits.brightness_min:.0f} and contrast {limits.luma_std_min:.0f} levels",
        f"cut off at most {limits.cut_off_max:.0%}",
        f"mask at least {limits.mask_over_hull_min:.0%} of the face",
    )
    return ", ".join(parts)


def _is_dark(features: Features) -> Flags:
    return np.asarray(~(features.brightness >= DARK_LUMA))


def _is_flat(features: Features) -> Flags:
    return np.asarray(~(features.luma_std >= DARK_STD))


def _median(values: Column) -> float:
    """Return the median of the known values, 0 for none."""
    known = values[np.isfinite(values)].astype(np.float64)
    return float(np.median(known)) if len(known) else 0.0


def _upper(values: Column, spreads: float, margin: float) -> float:
    """Return the median plus so many distances to the upper quartile, at least plus `margin`; inf for no values."""
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return float("inf")
    middle, quartile = np.percentile(known, (50, 75))
    return round(float(middle + max(margin, spreads * (quartile - middle))), 3)
