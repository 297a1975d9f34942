"""Parameters of a network ↔ tensors of DeepFaceLab's files: names, and how the numbers lie.

    layer                    in the file              here
    convolution              (k, k, in, out)          (out, in, k, k)
    ... of an Up             out = (place, channel)   out = (channel, place), weight and bias
    transposed convolution   (k, k, out, in)          (in, out, k, k)
    dense                    (in, out)                (in, out)

Whatever belongs to a parameter lies like it: gradients, moments, masks. A file's key is the path of the parameter in
its part, as `down1/downs_0/conv1/weight:0`. Source: DeepFaceLab commit 46fc239, core/leras/layers/Saveable.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.architectures.layers import Convolution, Dense, TransposedConvolution, Up
from trainer.errors import WeightsError

PLACES = 4
"""Pixels that one pixel becomes in an Up: 2 x 2."""


@dataclass(frozen=True)
class FileTensor:
    """One parameter of a part, and the tensor of the file that it is saved as."""

    key: str
    """Its name in the file of its part."""
    parameter: nn.Parameter
    axes: tuple[int, ...]
    """The parameter's axes in the file's order."""
    is_shuffled: bool
    """Whether output channels lie as (channel, place) here and as (place, channel) in the file."""

    @property
    def file_shape(self) -> tuple[int, ...]:
        """The shape that the file's tensor has."""
        return tuple(self.parameter.shape[axis] for axis in self.axes)

    def to_file(self, values: Tensor) -> NDArray[np.float32]:
        """Given what belongs to the parameter, in its shape, return it as the file holds it: C order, float32."""
        values = values.detach()
        if self.is_shuffled:
            values = values.unflatten(0, (-1, PLACES)).transpose(0, 1).flatten(0, 1)
        return np.ascontiguousarray(values.permute(self.axes).float().cpu().numpy())

    def from_file(self, values: NDArray[np.generic]) -> Tensor:
        """Given a tensor of the file, return it as the parameter lies; raise WeightsError for another shape."""
        if values.shape != self.file_shape:
            raise WeightsError(f"{self.key} has the shape {values.shape}, expected {self.file_shape}")
        like = self.parameter
        given = torch.from_numpy(np.array(values)).to(like.device, like.dtype)
        given = given.permute([self.axes.index(axis) for axis in range(len(self.axes))])
        if self.is_shuffled:
            given = given.unflatten(0, (PLACES, -1)).transpose(0, 1).flatten(0, 1)
        return given


def file_tensors(part: nn.Module) -> list[FileTensor]:
    """Return the tensors of a part (encoder, inter, a decoder, a discriminator), in the order of its file."""
    owners = dict(part.named_modules())
    found = []
    for path, parameter in part.named_parameters():
        owner, _, kind = path.rpartition(".")
        key = re.sub(r"\.(\d+)", r"_\1", path).replace(".", "/") + ":0"
        is_shuffled = isinstance(owners[owner.rpartition(".")[0]], Up)
        found.append(FileTensor(key, parameter, _axes(owners[owner], kind), is_shuffled))
    return found


def _axes(layer: nn.Module, kind: str) -> tuple[int, ...]:
    if kind == "bias":
        return (0,)
    if isinstance(layer, Dense):
        return (0, 1)
    if isinstance(layer, TransposedConvolution | Convolution):
        return (2, 3, 1, 0)  # (in, out, k, k) of a transposed one is (k, k, out, in) in the file
    raise TypeError(f"{type(layer).__name__} has no form in a file")


def load_part(part: nn.Module, tensors: Mapping[str, NDArray[np.generic]]) -> None:
    """Fill every parameter of `part` from a file's tensors; raise WeightsError for any difference.

    Nothing has changed then. DeepFaceLab draws new values for a tensor that is missing or misshapen, and says nothing.
    """
    wanted = file_tensors(part)
    missing = [tensor.key for tensor in wanted if tensor.key not in tensors]
    unknown = sorted(tensors.keys() - {tensor.key for tensor in wanted})
    if missing or unknown:
        what = [
            f"{len(names)} {word} ({names[0]})" for names, word in ((missing, "missing"), (unknown, "unknown")) if names
        ]
        raise WeightsError(f"of {len(wanted)} tensors {' and '.join(what)}", hint="the file belongs to another network")
    values = [tensor.from_file(tensors[tensor.key]) for tensor in wanted]
    with torch.no_grad():
        for tensor, value in zip(wanted, values, strict=True):
            tensor.parameter.copy_(value)


def part_tensors(part: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return every tensor of `part` as its file holds it."""
    return {tensor.key: tensor.to_file(tensor.parameter) for tensor in file_tensors(part)}
