"""The XSeg network in plain numpy: what the ONNX graph is held against, to the last layer. Slow (0.6 s a picture).

    level N (0..5): blocks, kept as the skip of that level, then an anti-aliased pool that halves the side
    two dense layers at 4 x 4, channels first
    level N (5..0): transposed convolution that doubles the side, the skip beside it, blocks
    one convolution to the logit

A block is convolution 3x3 with a border of zeros, FRN, TLU. FRN divides each channel by the root of its mean square
over the picture plus |eps|, then scales and shifts it; TLU is the larger of that and tau. Arrays are (H, W, C)
float32 of one picture. Source: DeepFaceLab commit 46fc239, core/leras (models/XSeg.py, layers/FRNorm2D.py, TLU.py,
BlurPool.py, Conv2DTranspose.py), restated in prose in the format notes, section e.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dfl.xseg_weights import LEVELS, XSegWeights, level_blocks, up_blocks

Array = NDArray[np.float32]

POOL_KERNELS: tuple[tuple[float, ...], ...] = ((1, 3, 3, 1), (1, 2, 1), (1, 1), (1, 1), (1, 1), (1, 1))
"""Binomial rows of each level's pool; the kernel is their outer product, normalised to a sum of 1."""


ROWS_AT_ONCE = 64
"""Of a convolution's answer: what all 256 rows of the widest layer see would take 150 MB."""


def pool_kernel(level: int) -> Array:
    """Return a level's (n, n) pooling kernel. Pure."""
    row = np.array(POOL_KERNELS[level], np.float64)
    kernel = np.outer(row, row)
    return np.asarray(kernel / kernel.sum(), np.float32)


def pool_borders(level: int) -> tuple[int, int]:
    """Return how many zeros a level's pool sees before and behind each row and column. Pure."""
    spare = len(POOL_KERNELS[level]) - 1
    return spare // 2, spare - spare // 2


def probabilities(weights: XSegWeights, picture: Array) -> Array:
    """Given a (256, 256, 3) float32 BGR picture of 0..1, return (256, 256) float32: how certainly a pixel is face."""
    logits = network_logits(weights, picture)
    # Large negative logits overflow in exp, which says 0 as it should.
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)


def network_logits(weights: XSegWeights, picture: Array) -> Array:
    """Given a (256, 256, 3) float32 BGR picture of 0..1, return the network's (256, 256) float32 logits."""
    tensors = weights.tensors
    x = np.asarray(picture, np.float32)
    skips: list[Array] = []
    for level in range(len(LEVELS)):
        for name in level_blocks(level):
            x = _block(tensors, name, _convolved(x, tensors[f"{name}/conv/weight:0"]))
        skips.append(x)
        x = _pooled(x, level)
    x = _dense_layers(tensors, x)
    for level in reversed(range(len(LEVELS))):
        up = _block(tensors, f"up{level}", _doubled(x, tensors[f"up{level}/conv/weight:0"]))
        x = np.concatenate((up, skips[level]), axis=2)
        for name in up_blocks(level):
            x = _block(tensors, name, _convolved(x, tensors[f"{name}/conv/weight:0"]))
    return (_convolved(x, tensors["out_conv/weight:0"]) + tensors["out_conv/bias:0"])[..., 0]


def _block(tensors: Mapping[str, Array], name: str, convolved: Array) -> Array:
    """Bias, FRN and TLU of a convolution's answer."""
    x = convolved + tensors[f"{name}/conv/bias:0"]
    mean_square = np.mean(np.square(x, dtype=np.float64), axis=(0, 1))
    root = np.sqrt(mean_square + np.abs(tensors[f"{name}/frn/eps:0"]))
    scale = (tensors[f"{name}/frn/weight:0"] / root).astype(np.float32)
    shifted = x * scale + tensors[f"{name}/frn/bias:0"]
    return np.asarray(np.maximum(shifted, tensors[f"{name}/tlu/tau:0"]), np.float32)


def _convolved(x: Array, kernel: Array) -> Array:
    """3x3, a border of zeros; `kernel` is (3, 3, in, out)."""
    height, width, channels = x.shape
    flat_kernel = np.ascontiguousarray(kernel.transpose(2, 0, 1, 3)).reshape(9 * channels, -1)
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1))
    made = np.empty((height, width, kernel.shape[3]), np.float32)
    for first in range(0, height, ROWS_AT_ONCE):
        rows = seen[first : first + ROWS_AT_ONCE]
        made[first : first + ROWS_AT_ONCE] = (rows.reshape(-1, 9 * channels) @ flat_kernel).reshape(*rows.shape[:2], -1)
    return made


def _doubled(x: Array, kernel: Array) -> Array:
    """Transposed 3x3 convolution of stride 2, TensorFlow's SAME: twice the side; `kernel` is (3, 3, out, in)."""
    height, width, channels = x.shape
    made = np.zeros((2 * height + 1, 2 * width + 1, kernel.shape[2]), np.float32)
    flat = x.reshape(-1, channels)
    for row in range(3):
        for column in range(3):
            spread = (flat @ kernel[row, column].T).reshape(height, width, -1)
            made[row : row + 2 * height : 2, column : column + 2 * width : 2] += spread
    return made[:-1, :-1]


def _pooled(x: Array, level: int) -> Array:
    kernel = pool_kernel(level)
    bordered = np.pad(x, (pool_borders(level), pool_borders(level), (0, 0)))
    height, width = x.shape[0] // 2, x.shape[1] // 2
    made = np.zeros((height, width, x.shape[2]), np.float32)
    for row in range(len(kernel)):
        for column in range(len(kernel)):
            made += bordered[row : row + 2 * height : 2, column : column + 2 * width : 2] * kernel[row, column]
    return made


def _dense_layers(tensors: Mapping[str, Array], x: Array) -> Array:
    """The two dense layers on the flattened picture, channel by channel: index = c·H·W + y·W + x."""
    height, width, channels = x.shape
    flat = x.transpose(2, 0, 1).reshape(-1)
    for name in ("dense1", "dense2"):
        flat = flat @ tensors[f"{name}/weight:0"] + tensors[f"{name}/bias:0"]
    return np.ascontiguousarray(flat.reshape(channels, height, width).transpose(1, 2, 0))
