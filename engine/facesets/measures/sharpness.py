"""How sharp a face is, in a way that noise does not raise and darkness does not lower.

    nf = mean over windows of log((B - N) / (L - N))

of the power spectrum of the luma in windows inside the face: B the mean power of the band .08 to .25 cycles a px, where
focus shows, L that of the coarse structure below it, .03 to .08, which blur leaves, and N the noise's: noise is as
strong at every frequency, and beyond .40 c/px there is little else. A ratio does not change with brightness or
contrast. `nfdir` is the smallest nf of four directions: motion blurs across edges of one direction alone, so nf - nfdir
shows it, and the mean of both ranks best.

What else it could be made of, by `python -m benchmarks.sharpness --choices`: Spearman's correlation with known damage,
pooled over the 19 faces of the labelled photos; in brackets over 60 faces of the labelled clips, where .986 is most.

    |                                    | gauss       | motion      | upscale     | + noise     | + JPEG | + dark |
    |------------------------------------|-------------|-------------|-------------|-------------|--------|--------|
    | mean of nf and nfdir               | .968 (.986) | .895 (.950) | .916 (.984) | .959 (.984) | .934   | .966   |
    | nf alone                           | .967 (.986) | .833 (.952) | .913 (.974) | .960 (.985) | .943   | .966   |
    | 6 windows of 96 px, not 12 of 64   | .967 (.986) | .896 (.939) | .907 (.945) | .956 (.982) | .940   | .965   |
    | taper of Hann, not half a sine     | .964 (.986) | .891 (.958) | .901 (.986) | .957 (.983) | .925   | .960   |
    | no taper                           | .945 (.974) | .861 (.917) | .891 (.963) | .933 (.968) | .924   | .946   |
    | coarse from .015 c/px              | .953 (.986) | .862 (.961) | .866 (.986) | .945 (.985) | .924   | .951   |
    | coarse from .05 c/px               | .977 (.984) | .879 (.889) | .918 (.978) | .959 (.974) | .890   | .972   |
    | detail to .30 c/px                 | .969        | .898        | .917        | .952        | .932   | .966   |
    | noise not taken away               | .969        | .896        | .916        | .619        | .934   | .964   |
    | DeepFaceLab's blur (CPBD)          | .785 (.826) | .527 (.606) | .729 (.728) | -.22 (-.32) | .653   | .667   |
    | DeepFaceLab's motion-blur          | .549 (.953) | .408 (.867) | .459 (.928) | .542 (.939) | .546   | .261   |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.facesets.measures.face_luma import UNIT_PX

COARSE, DETAIL = (0.03, 0.08), (0.08, 0.25)
"""Bands, cycles a px where the unit square has UNIT_PX."""
NOISE_FROM = 0.40
"""Cycles a px of the picture itself: the upper end of what it can hold, where noise is all there is."""
MEDIAN_OF_NOISE = 0.69
"""The median of the power of noise over its mean: ln 2, powers being distributed exponentially. What texture there is
beyond NOISE_FROM moves a median less than a mean."""
DIRECTIONS = 4
WINDOW_PX, COLUMNS, ROWS = 64, 3, 4
"""Of windows: side where the unit square has UNIT_PX, and how many over the face."""
LOWEST = 1e-4
"""B over L below which nothing is left to compare: -9.2, blur of ten px and more."""
DARK_LUMA, DARK_STD = 30.0, 12.0
"""Below either, levels of 8 bits are few, and every ratio is noise."""


@dataclass(frozen=True)
class Sharpness:
    """Larger is sharper; both NaN where no window fits into the picture."""

    nf: float
    nfdir: float

    @property
    def overall(self) -> float:
        """The mean of both: one number to rank by. Sharp -4, blurred by 2 px of a face of 256 px -6."""
        return (self.nf + self.nfdir) / 2


def measure_sharpness(luma: NDArray[np.uint8], landmarks: NDArray[np.float64], unit_px: float) -> Sharpness:
    """Given the (S, S) luma of a face, its (68, 2) landmarks and the unit square's side, both in px of it, return how
    sharp it is."""
    scale = UNIT_PX / unit_px
    side = 2 * round(WINDOW_PX / scale / 2)
    if side > luma.shape[0] or side < 8:
        return Sharpness(float("nan"), float("nan"))
    spectra = _spectra(luma, landmarks, side)
    weights, is_noise = _bands(side, scale)
    noise = _medians(spectra[:, is_noise])[:, None] / MEDIAN_OF_NOISE
    power = np.maximum(spectra @ weights - noise, 0.0)
    # Rounding to whole levels is noise of a twelfth; structure below that is none.
    coarse = np.maximum(power[:, :1], (_taper(side) ** 2).sum() / 12)
    ratios = np.log(np.maximum(power[:, 1:] / coarse, LOWEST)).mean(axis=0)
    return Sharpness(float(ratios[0]), float(ratios[1:].min()))


def _spectra(luma: NDArray[np.uint8], landmarks: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """Return (windows, side * (side // 2 + 1)) the power of each window over the box of the landmarks.

    Power of a real picture is symmetric; of both halves one is kept. A window is tapered by half a sine wave, so that
    its edges are no edges.
    """
    last = luma.shape[0] - side
    low, high = np.clip(landmarks.min(axis=0), 0, last), np.clip(landmarks.max(axis=0) - side, 0, last)
    lefts = np.rint(np.linspace(low[0], max(low[0], high[0]), COLUMNS)).astype(int)
    tops = np.rint(np.linspace(low[1], max(low[1], high[1]), ROWS)).astype(int)
    windows = np.stack([luma[top : top + side, left : left + side] for top in tops for left in lefts])
    taper = _taper(side)
    values = windows.astype(np.float32)
    values -= np.tensordot(values, taper, axes=2)[:, None, None] / taper.sum()
    values *= taper
    power = np.empty((len(windows), side, side // 2 + 1), np.float32)
    for place, window in enumerate(values):  # OpenCV's takes 0.4 times as long as numpy's
        found = cv2.dft(window, flags=cv2.DFT_COMPLEX_OUTPUT)[:, : side // 2 + 1]
        power[place] = found[..., 0] ** 2 + found[..., 1] ** 2
    return power.reshape(len(windows), -1)


def _medians(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median of each row, of an even count the upper one; a fifth of the time that np.median takes."""
    middle = rows.shape[1] // 2
    return np.asarray(np.partition(rows, middle, axis=1)[:, middle])


@lru_cache(maxsize=8)
def _taper(side: int) -> NDArray[np.float32]:
    half_wave = np.sin(np.pi * (np.arange(side) + 0.5) / side)
    return np.outer(half_wave, half_wave).astype(np.float32)


@lru_cache(maxsize=8)
def _bands(side: int, scale: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return (frequencies, 2 + DIRECTIONS) weights whose products with a spectrum are the mean powers of coarse
    structure, detail, and detail of each direction; and (frequencies,) which hold noise alone.

    `scale`: px of the measured size for each px of the picture.
    """
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    radius = np.hypot(x, y)
    angle = np.arctan2(y, x)
    # Of columns other than the first and last, the other half of the spectrum is left out.
    twice = np.where((x == 0) | (x == 0.5), 1.0, 2.0) * np.ones_like(radius)

    def within(band: tuple[float, float]) -> NDArray[np.bool_]:
        # Never beyond what the picture holds besides noise.
        return np.asarray((radius >= band[0] * scale) & (radius < min(band[1] * scale, NOISE_FROM)))

    def facing(direction: int) -> NDArray[np.bool_]:
        turned = angle - direction * np.pi / DIRECTIONS
        off = np.abs((turned + np.pi / 2) % np.pi - np.pi / 2)
        return np.asarray(off <= np.pi / DIRECTIONS / 2 + 1e-9)

    detail = within(DETAIL)
    parts = [within(COARSE), detail, *(detail & facing(one) for one in range(DIRECTIONS))]
    weights = np.stack([np.where(part, twice, 0.0) / max(twice[part].sum(), 1.0) for part in parts], axis=-1)
    return weights.reshape(-1, len(parts)).astype(np.float32), (radius > NOISE_FROM).ravel()
