"""SAEHD's step in PyTorch as one writes it first: what `benchmarks/trainer_step.py` measures dfld's step against.

NCHW, each side on its own, SSIM and blur by windows of n x n, depth-to-space by a permutation, one tensor after the
other in the optimizer. It takes the tensors of DeepFaceLab's files and reads no line of `trainer`, so that it is also
a second opinion on every number: AdaBelief, masked training, no style, GAN or true face.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

RATE, BETA1, BETA2, EPSILON = 5e-5, 0.9, 0.999, 1e-6


class PlainStep:
    """One training step after the other of the network with these weights, named `<part>/<key>`."""

    def __init__(self, archi: str, resolution: int, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        self.kind, _, self.letters = archi.partition("-")
        self.resolution = resolution
        self.weights = {name: _as_torch(values).requires_grad_() for name, values in tensors.items()}
        self.means = {name: torch.zeros_like(one) for name, one in self.weights.items()}
        self.variances = {name: torch.zeros_like(one) for name, one in self.weights.items()}

    def __call__(self, src: tuple[Tensor, Tensor, Tensor], dst: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
        """Train on both sides' (warped, target, mask); return the mean losses of src and dst."""
        src_code, dst_code = self._inters(self._encoder(src[0]), self._encoder(dst[0]))
        decoders = ("decoder_src", "decoder_dst") if self.kind == "df" else ("decoder", "decoder")
        losses = [
            self._loss(*self._decoder(name, code), *side[1:])
            for name, code, side in zip(decoders, (src_code, dst_code), (src, dst), strict=True)
        ]
        (losses[0].sum() + losses[1].sum()).backward()
        self._update()
        return losses[0].mean().item(), losses[1].mean().item()

    # -- the network

    def _conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.weights[f"{name}/weight:0"]
        return functional.conv2d(x, weight, self.weights[f"{name}/bias:0"], stride, weight.shape[-1] // 2)

    def _act(self, x: Tensor, slope: float) -> Tensor:
        return x * torch.cos(x) if "c" in self.letters else functional.leaky_relu(x, slope)

    def _down(self, name: str, x: Tensor) -> Tensor:
        return self._act(self._conv(f"{name}/conv1", x, 2), 0.1)

    def _residual(self, name: str, x: Tensor) -> Tensor:
        inner = self._act(self._conv(f"{name}/conv1", x), 0.2)
        return self._act(x + self._conv(f"{name}/conv2", inner), 0.2)

    def _up(self, name: str, x: Tensor) -> Tensor:
        return _depth_to_space(self._act(self._conv(f"{name}/conv1", x), 0.1))

    def _encoder(self, x: Tensor) -> Tensor:
        if "t" in self.letters:
            x = self._residual("encoder/res1", self._down("encoder/down1", x))
            for number in (2, 3, 4, 5):
                x = self._down(f"encoder/down{number}", x)
            x = self._residual("encoder/res5", x)
        else:
            for number in range(4):
                x = self._down(f"encoder/down1/downs_{number}", x)
        x = x.flatten(1)
        return x / torch.sqrt(x.square().mean(1, keepdim=True) + 1e-6) if "u" in self.letters else x

    def _inter(self, name: str, x: Tensor) -> Tensor:
        for dense in ("dense1", "dense2"):
            x = x @ self.weights[f"{name}/{dense}/weight:0"] + self.weights[f"{name}/{dense}/bias:0"]
        side = self.resolution // (32 if "d" in self.letters else 16)
        x = x.reshape(len(x), -1, side, side)
        return x if "t" in self.letters else self._up(f"{name}/upscale1", x)

    def _inters(self, src: Tensor, dst: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind == "df":
            return self._inter("inter", src), self._inter("inter", dst)
        of_src = self._inter("inter_AB", src)
        return torch.cat([of_src, of_src], 1), torch.cat([self._inter("inter_B", dst), self._inter("inter_AB", dst)], 1)

    def _decoder(self, name: str, code: Tensor) -> tuple[Tensor, Tensor]:
        levels = 4 if "t" in self.letters else 3
        x = code
        for level in range(levels):
            x = self._residual(f"{name}/res{level}", self._up(f"{name}/upscale{level}", x))
        if "d" in self.letters:
            convs = [self._conv(f"{name}/out_conv{number}", x) for number in ("", 1, 2, 3)]
            picture = _depth_to_space(torch.cat(convs, 1))
        else:
            picture = self._conv(f"{name}/out_conv", x)
        mask = code
        for level in range(levels + ("d" in self.letters)):
            mask = self._up(f"{name}/upscalem{level}", mask)
        return torch.sigmoid(picture), torch.sigmoid(self._conv(f"{name}/out_convm", mask))

    # -- losses and optimizer

    def _loss(self, picture: Tensor, predicted_mask: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        soft = 2 * _blur(mask, max(1, self.resolution // 32)).clamp(0, 0.5)
        target, picture = target * soft, picture * soft
        parts = (11.6,) if self.resolution < 256 else (11.6, 23.2)
        loss = 10 * (target - picture).square().mean((1, 2, 3)) + 10 * (mask - predicted_mask).square().mean((1, 2, 3))
        for part in parts:
            loss = loss + 10 / len(parts) * _dssim(target, picture, int(self.resolution / part)).mean(1)
        return loss

    def _update(self) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                mean, variance, gradient = self.means[name], self.variances[name], weight.grad
                assert gradient is not None
                mean.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
                surprise = gradient - mean
                variance.mul_(BETA2).addcmul_(surprise, surprise, value=1 - BETA2)
                weight.sub_(RATE * mean / (variance.sqrt() + EPSILON))
                weight.grad = None


def _as_torch(values: NDArray[np.float32]) -> Tensor:
    tensor = torch.from_numpy(np.array(values))
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor


def _depth_to_space(x: Tensor) -> Tensor:
    count, channels, rows, columns = x.shape
    x = x.reshape(count, 2, 2, channels // 4, rows, columns).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(count, channels // 4, 2 * rows, 2 * columns)


def _filter(x: Tensor, row: list[float], padding: int) -> Tensor:
    line = torch.tensor(row, dtype=x.dtype)
    window = torch.outer(line, line)
    channels = x.shape[1]
    kernel = (window / window.sum()).expand(channels, 1, -1, -1)
    return functional.conv2d(x, kernel, padding=padding, groups=channels)


def _blur(x: Tensor, radius: int) -> Tensor:
    size = max(3, 4 * radius) // 2 * 2 + 1
    return _filter(x, [math.exp(-((i - size // 2) ** 2) / (2 * radius**2)) for i in range(size)], size // 2)


def _dssim(one: Tensor, other: Tensor, size: int) -> Tensor:
    row = [math.exp(-((i - (size - 1) / 2) ** 2) / (2 * 1.5**2)) for i in range(size)]
    mean_one, mean_other = _filter(one, row, 0), _filter(other, row, 0)
    product, squares = 2 * mean_one * mean_other, mean_one.square() + mean_other.square()
    luminance = (product + 0.01**2) / (squares + 0.01**2)
    mean_product = _filter(one * other, row, 0)
    mean_squares = _filter(one.square() + other.square(), row, 0)
    contrast = (2 * mean_product - product + 0.03**2) / (mean_squares - squares + 0.03**2)
    return (1 - (luminance * contrast).mean((2, 3))) / 2
