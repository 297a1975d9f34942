"""Colour transfer in steps along random directions: idt (histograms) and sot (sorted colours).

Pictures are (H, W, 3) float32 BGR of 0..1; sot wants both of one size. The random numbers are arguments, so that the
results can be compared with recorded ones. Source: DeepFaceLab commit 46fc239, core/imagelib/color_transfer.py and
SOT.py, which state Pitié et al. 2007 and Rabin et al. 2011.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]

IDT_STEPS = 20
SOT_STEPS, SOT_DIRECTIONS = 10, 5
_IDT_BINS = 256
_IDT_RIGHT = 256.0
"""What DeepFaceLab maps values above the last bin to: a number meant for pictures of 0..255, kept as it is."""
_SMOOTH_COLOUR, _SMOOTH_SPACE_PX = 5.0, 16.0
"""Sigmas of the bilateral filter that sot smooths its change with."""


def idt(picture: Picture, reference: Picture, rotations: NDArray[np.float64]) -> Picture:
    """Iterative distribution transfer: for each (3, 3) rotation, match the histograms along its three axes."""
    moved, other = (one.reshape(-1, 3) for one in (picture.copy(), reference))
    for rotation in rotations.astype(np.float32):
        turned, wanted = moved @ rotation.T, other @ rotation.T
        matched = np.empty_like(turned)
        for axis in range(3):
            matched[:, axis] = _matched(turned[:, axis], wanted[:, axis])
        # DeepFaceLab relaxes each step by the number of steps.
        moved = moved + (matched - turned) @ np.linalg.inv(rotation).T / len(rotations)
    return np.asarray(np.clip(moved, 0, 1).reshape(picture.shape), np.float32)


def _matched(values: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the values moved so that their histogram is the wanted one's."""
    low, high = min(values.min(), wanted.min()), max(values.max(), wanted.max())
    counts, edges = np.histogram(values, bins=_IDT_BINS, range=(low, high))
    wanted_counts, _ = np.histogram(wanted, bins=_IDT_BINS, range=(low, high))
    cumulated, wanted_cumulated = (np.cumsum(one).astype(np.float64) for one in (counts, wanted_counts))
    cumulated, wanted_cumulated = cumulated / cumulated[-1], wanted_cumulated / wanted_cumulated[-1]
    upper = edges[1:]
    mapped = np.interp(cumulated, wanted_cumulated, upper)
    return np.asarray(np.interp(values, upper, mapped, left=0.0, right=_IDT_RIGHT), np.float64)


def sot(picture: Picture, reference: Picture, normals: NDArray[np.float64]) -> Picture:
    """Sliced optimal transport: along each of (SOT_STEPS · SOT_DIRECTIONS, 3) directions, move sorted colours to
    sorted colours; the change is smoothed by a bilateral filter and added to the picture."""
    moved, other = picture.reshape(-1, 3).copy(), reference.reshape(-1, 3)
    for step in normals.reshape(SOT_STEPS, SOT_DIRECTIONS, 3):
        advect = np.zeros_like(moved)
        for normal in step:
            direction = (normal / np.linalg.norm(normal)).astype(np.float32)
            projected, wanted = moved @ direction, other @ direction
            order = np.argsort(projected)
            advect[order] += (np.sort(wanted) - projected[order])[:, None] * direction
        moved += advect / np.float32(SOT_DIRECTIONS)
    change = moved.reshape(picture.shape) - picture
    smooth = cv2.bilateralFilter(change, 0, _SMOOTH_COLOUR, _SMOOTH_SPACE_PX)
    return np.asarray(np.clip(picture + smooth, 0, 1), np.float32)


def draw_rotations(draws: np.random.RandomState) -> NDArray[np.float64]:
    """Draw IDT_STEPS rotations of space, (IDT_STEPS, 3, 3), each as likely as any other (Stewart 1980)."""
    rotations = []
    for _ in range(IDT_STEPS):
        basis, upper = np.linalg.qr(draws.standard_normal((3, 3)))
        basis = basis * np.sign(np.diag(upper))
        rotations.append(basis * np.linalg.det(basis))
    return np.array(rotations)


def draw_normals(draws: np.random.RandomState) -> NDArray[np.float64]:
    """Draw the directions of `sot`, (SOT_STEPS · SOT_DIRECTIONS, 3), not yet of length 1."""
    return draws.standard_normal((SOT_STEPS * SOT_DIRECTIONS, 3))
