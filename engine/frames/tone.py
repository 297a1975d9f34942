"""HDR → SDR: PQ and HLG video to what an SDR screen shows, by one fixed curve. Pure: planes in, pixels out.

    Y'CbCr codes → R'G'B' by the stream's matrix and range → linear light, 1 = 100 cd/m² → BT.709 primaries
    → Hable's curve on the brightest channel, the others in proportion → gamma 2.4 → 8 bits

Numbers are those of `ffmpeg -vf zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0:peak=10,
zscale=t=bt709`, which most tools and instructions use: its HLG display has a peak of 1000 cd/m² and a system gamma of
1.2, its SDR display follows BT.1886. Diffuse white (203 cd/m², BT.2408) comes out as 192 of 255 from either. The peak
is fixed at 1000 cd/m², where ffmpeg would read it from each stream: the same light is the same pixel in every clip of a
set, and in every frame of a clip. Brighter light is white.

What is not HDR never comes here. Dolby Vision without an HDR10 or HLG base layer, and HDR10+ metadata, are not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.types import Image

Transfer = Literal["PQ", "HLG"]
Plane = NDArray[np.uint16]
Numbers = NDArray[np.float32]

TRANSFERS: dict[int, Transfer] = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of ITU-T H.273, table 3."""
BITS = 16
"""Codes come in the upper bits of 16."""
REFERENCE_NITS = 100.0
"""Linear light of 1, cd/m²: `npl` of zscale, and the white that the curve of the SDR display was made for."""
PEAK = 10.0
"""Linear light that becomes white: 1000 cd/m², what most HDR is mastered for."""
HLG_PEAK_NITS, HLG_GAMMA = 1000.0, 1.2
"""BT.2100 table 5, note 5e: the reference display, and its system gamma."""
DISPLAY_GAMMA = 2.4
"""BT.1886 with black at 0."""
BLOCK_PX = 1 << 15
"""Pixels that are worked on at once: their planes stay in the processor's cache, which is twice as fast."""

_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""K_R and K_B of each matrix (H.273 table 4); HDR that names none is BT.2020's."""
_RGB_MATRIX = 0
_BT2020_MATRIX = 9
_WHITE = (0.3127, 0.3290)
_BT709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_PRIMARIES = {
    1: _BT709,
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Red, green, blue in CIE x, y (H.273 table 2): BT.709, BT.2020, P3 with D65; HDR that names none is BT.2020's."""
_BT2020_PRIMARIES = 9
_GAMMA_STEPS = 8191


@dataclass(frozen=True)
class Hdr:
    """How a stream codes HDR."""

    transfer: Transfer
    matrix: int
    """H.273 matrix coefficients; 0 is R'G'B'."""
    primaries: int
    """H.273 colour primaries."""
    full_range: bool
    bits: int
    """Of a code, before it was shifted into the upper bits of 16."""


def hdr_of(*, transfer: int, matrix: int, primaries: int, full_range: bool, bits: int) -> Hdr | None:
    """Return how a stream with these tags (H.273) codes HDR; None for SDR. Unknown tags count as BT.2020's."""
    name = TRANSFERS.get(transfer)
    if name is None:
        return None
    known = matrix if matrix in (*_LUMA_WEIGHTS, _RGB_MATRIX) else _BT2020_MATRIX
    return Hdr(name, known, primaries if primaries in _PRIMARIES else _BT2020_PRIMARIES, full_range, bits)


def tone_map(planes: tuple[Plane, Plane, Plane], hdr: Hdr) -> Image:
    """Return SDR pixels, (H, W, 3) uint8 BGR, of the planes Y', Cb, Cr (G', B', R' where the matrix is 0).

    Each plane is (H, W) uint16, its codes in the upper bits.
    """
    height, width = planes[0].shape
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, BLOCK_PX // width)
    for top in range(0, height, rows):
        first, second, third = (plane[top : top + rows] for plane in planes)
        red, green, blue = _linear(_coded(first, second, third, hdr), hdr)
        scale = _curve(np.maximum(np.maximum(red, green), blue))
        for channel, light in enumerate((blue, green, red)):
            pixels[top : top + rows, :, channel] = _display(light * scale)
    return pixels


@cache
def luma_table(hdr: Hdr) -> NDArray[np.uint8]:
    """Return what 8-bit luma codes of gray become, (256,) uint8: SDR luma in the same range.

    For thumbnails, which hold luma alone: colours come out by their luma, brighter than the curve makes them.
    """
    black, scale = (0.0, 255.0) if hdr.full_range else (16.0, 219.0)
    code = np.clip((np.arange(256, dtype=np.float32) - black) / scale, 0.0, 1.0)
    light = _light_of(hdr.transfer)[np.asarray(code * 65535.0 + 0.5, np.uint16)]
    shown = _display(light * _curve(light)).astype(np.float32) / 255.0
    return np.asarray(np.rint(shown * scale + black), np.uint8)


def hable(light: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return Hable's filmic curve, not normalised (J. Hable, Filmic Tonemapping Operators, 2010)."""
    a, b, c, d, e, f = 0.15, 0.50, 0.10, 0.20, 0.02, 0.30
    return (light * (a * light + b * c) + d * e) / (light * (a * light + b) + d * f) - e / f


def _coded(first: Plane, second: Plane, third: Plane, hdr: Hdr) -> tuple[Numbers, Numbers, Numbers]:
    """Return R', G', B' of the codes, 0..1 where they are legal (H.273 §8.3)."""
    one = float(1 << BITS - 8)
    top = float(((1 << hdr.bits) - 1) << BITS - hdr.bits)
    black, luma_scale, chroma_scale = (0.0, top, top) if hdr.full_range else (16 * one, 219 * one, 224 * one)
    if hdr.matrix == _RGB_MATRIX:
        green, blue, red = (
            (plane.astype(np.float32) - np.float32(black)) * np.float32(1 / luma_scale)
            for plane in (first, second, third)
        )
        return red, green, blue
    middle = np.float32(1 << BITS - 1)
    luma = (first.astype(np.float32) - np.float32(black)) * np.float32(1 / luma_scale)
    blueness = (second.astype(np.float32) - middle) * np.float32(1 / chroma_scale)
    redness = (third.astype(np.float32) - middle) * np.float32(1 / chroma_scale)
    k_r, k_b = _LUMA_WEIGHTS[hdr.matrix]
    k_g = 1 - k_r - k_b
    red = luma + np.float32(2 * (1 - k_r)) * redness
    blue = luma + np.float32(2 * (1 - k_b)) * blueness
    green = luma - np.float32(2 * k_r * (1 - k_r) / k_g) * redness - np.float32(2 * k_b * (1 - k_b) / k_g) * blueness
    return red, green, blue


def _linear(coded: tuple[Numbers, Numbers, Numbers], hdr: Hdr) -> tuple[Numbers, Numbers, Numbers]:
    """Return linear light of BT.709's primaries; colours outside of them have a negative channel."""
    table = _light_of(hdr.transfer)
    red, green, blue = (
        table[np.asarray(np.clip(channel, 0.0, 1.0) * np.float32(65535.0) + np.float32(0.5), np.uint16)]
        for channel in coded
    )
    rows = _to_bt709(hdr.primaries)
    first, second, third = (row[0] * red + row[1] * green + row[2] * blue for row in rows)
    return first, second, third


def _curve(brightest: Numbers) -> Numbers:
    """Return by how much the curve scales the light of a pixel whose brightest channel this is."""
    light = np.maximum(brightest, np.float32(1e-6))
    return np.asarray(hable(light) / light * np.float32(1 / float(hable(np.array(PEAK)))), np.float32)


def _display(light: Numbers) -> NDArray[np.uint8]:
    """Return 8-bit codes of linear light, 0..1, on the SDR display."""
    steps = np.sqrt(np.clip(light, 0.0, 1.0)) * np.float32(_GAMMA_STEPS) + np.float32(0.5)
    return _display_codes()[steps.astype(np.uint16)]


@cache
def _display_codes() -> NDArray[np.uint8]:
    """Return the code of each step; steps are those of the light's square root, fine enough in the dark."""
    light = (np.arange(_GAMMA_STEPS + 1) / _GAMMA_STEPS) ** 2
    return np.rint(255 * light ** (1 / DISPLAY_GAMMA)).astype(np.uint8)


@cache
def _light_of(transfer: Transfer) -> Numbers:
    """Return the light of each 16-bit code, 1 = 100 cd/m²: PQ's (ST 2084), or HLG's on the reference display.

    BT.2100 applies HLG's system gamma to luminance; zscale applies it to each channel, and so does this.
    """
    code = np.arange(1 << BITS) / ((1 << BITS) - 1)
    if transfer == "PQ":
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = code ** (1 / m2)
        nits = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
        return np.asarray(nits / REFERENCE_NITS, np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return np.asarray(HLG_PEAK_NITS / REFERENCE_NITS * scene**HLG_GAMMA, np.float32)


@cache
def _to_bt709(primaries: int) -> Numbers:
    """Return the (3, 3) matrix from linear light of these primaries to that of BT.709 (SMPTE RP 177)."""
    return np.asarray(np.linalg.inv(_to_xyz(_BT709)) @ _to_xyz(_PRIMARIES[primaries]), np.float32)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([_WHITE[0] / _WHITE[1], 1.0, (1 - _WHITE[0] - _WHITE[1]) / _WHITE[1]])
    return columns * np.linalg.solve(columns, white)
