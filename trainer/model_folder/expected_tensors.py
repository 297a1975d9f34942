"""Which tensors each file of a SAEHD model holds: names, shapes and order, from its options. Pure, without PyTorch.

What stands here is what DeepFaceLab would draw anew, without a word, where a file lacks it. An architecture of
`trainer.architectures` says the same of itself; tests compare the two.

    convolution      weight (k, k, in, out), bias (out,)       transposed   weight (k, k, out, in), bias (out,)
    dense            weight (in, out), bias (out,)             Up           a convolution to 4 · out channels

Source: DeepFaceLab commit 46fc239, core/leras/archis/DeepFakeArchi.py and core/leras/models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dfl.model_options import number_of
from trainer.architectures.patch_layers import strides_for_patch
from trainer.architectures.spec import NetworkSpec
from trainer.errors import ModelFolderError

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
ITERATIONS = "iters:0"
"""Of an optimizer: steps done, a numpy int64 number."""
MAX_GAN_CHANNELS = 512
DEFAULT_GAN_DIMS = 16
_OWNERS = {"code_discriminator.npy": "dis", "GAN.npy": "D_src"}
"""What an optimizer calls a part; each other one by its file."""
_TRAINED_BY = {"D_code_opt.npy": ("code_discriminator.npy",), "GAN_opt.npy": ("GAN.npy",)}


def accumulators_of(options: Mapping[str, object]) -> tuple[str, ...]:
    """Return what the optimizer of these options keeps for each weight, by the names of its file."""
    return ("ms", "vs") if options.get("adabelief", True) else ("acc",)


def weight_shapes(part: str, options: Mapping[str, object]) -> Shapes:
    """Return name → shape of every tensor in a weight file, in its order; raise SpecError for impossible options."""
    spec = NetworkSpec.from_options(options)
    if part == "encoder.npy":
        return _encoder(spec)
    if part.startswith("inter"):
        return _inter(spec)
    if part.startswith("decoder"):
        return _decoder(spec)
    if part == "code_discriminator.npy":
        return _code_discriminator(spec)
    if part == "GAN.npy":
        patch_size = int(number_of(options, "gan_patch_size")) or spec.resolution // 8
        return _gan(int(number_of(options, "gan_dims")) or DEFAULT_GAN_DIMS, len(strides_for_patch(patch_size)))
    raise ModelFolderError(f"{part} is no weight file of SAEHD")


def trained_parts(optimizer: str, weights: Iterable[str]) -> tuple[str, ...]:
    """Of the weight files in use, return those that one optimizer file belongs to, in its order."""
    own = _TRAINED_BY.get(optimizer)
    return tuple(part for part in weights if (part not in _OWNERS if own is None else part in own))


def optimizer_shapes(weights: Mapping[str, Mapping[str, Shape]], accumulators: Iterable[str]) -> Shapes:
    """Return name → shape of every tensor in an optimizer's file, given those of the weight files that it trains."""
    shapes: Shapes = {ITERATIONS: ()}
    for accumulator in accumulators:
        for part, tensors in weights.items():
            owner = _OWNERS.get(part, part.removesuffix(".npy"))
            for name, shape in tensors.items():
                shapes[f"{accumulator}_{owner}/{name.replace(':', '_')}:0"] = shape
    return shapes


def _convolution(name: str, inside: int, outside: int, kernel: int = 3) -> Shapes:
    return {f"{name}/weight:0": (kernel, kernel, inside, outside), f"{name}/bias:0": (outside,)}


def _up(name: str, inside: int, outside: int) -> Shapes:
    return _convolution(f"{name}/conv1", inside, 4 * outside)


def _residual(name: str, channels: int) -> Shapes:
    return _convolution(f"{name}/conv1", channels, channels) | _convolution(f"{name}/conv2", channels, channels)


def _dense(name: str, inside: int, outside: int) -> Shapes:
    return {f"{name}/weight:0": (inside, outside), f"{name}/bias:0": (outside,)}


def _encoder(spec: NetworkSpec) -> Shapes:
    dims = spec.e_dims
    if not spec.is_deeper:
        widths = (3, dims, 2 * dims, 4 * dims, 8 * dims)
        levels = (_convolution(f"down1/downs_{n}/conv1", widths[n], widths[n + 1], 5) for n in range(4))
        return {name: shape for level in levels for name, shape in level.items()}
    shapes = _convolution("down1/conv1", 3, dims, 5) | _residual("res1", dims)
    for level, (inside, outside) in enumerate(((1, 2), (2, 4), (4, 8), (8, 8)), 2):
        shapes |= _convolution(f"down{level}/conv1", inside * dims, outside * dims, 5)
    return shapes | _residual("res5", 8 * dims)


def _inter(spec: NetworkSpec) -> Shapes:
    encoded = 8 * spec.e_dims * spec.encoded_side**2
    outside = spec.inter_channels
    shapes = _dense("dense1", encoded, spec.ae_dims) | _dense("dense2", spec.ae_dims, spec.dense_side**2 * outside)
    return shapes if spec.is_deeper else shapes | _up("upscale1", outside, outside)


def _decoder(spec: NetworkSpec) -> Shapes:
    dims, mask = spec.d_dims, spec.d_mask_dims
    levels = (8, 8, 4, 2) if spec.is_deeper else (8, 4, 2)
    shapes: Shapes = {}
    for kind, width in (("upscale", dims), ("res", dims), ("upscalem", mask)):
        inside = spec.code_channels
        for number, factor in enumerate(levels):
            if kind == "res":
                shapes |= _residual(f"res{number}", factor * width)
            else:
                shapes |= _up(f"{kind}{number}", inside, factor * width)
                inside = factor * width
    shapes |= _convolution("out_conv", 2 * dims, 3, 1)
    if spec.doubles_output:
        for number in (1, 2, 3):
            shapes |= _convolution(f"out_conv{number}", 2 * dims, 3)
        shapes |= _up(f"upscalem{len(levels)}", 2 * mask, mask)
    return shapes | _convolution("out_convm", mask if spec.doubles_output else 2 * mask, 1, 1)


def _code_discriminator(spec: NetworkSpec) -> Shapes:
    shapes: Shapes = {}
    inside = spec.code_channels
    for level in range(1 + spec.code_side // 8):
        outside = 256 * min(2**level, 8)
        shapes |= _convolution(f"convs_{level}", inside, outside, 4 if level == 0 else 3)
        inside = outside
    return shapes | _convolution("out_conv", inside, 1, 1)


def _gan(dims: int, levels: int) -> Shapes:
    widths = [dims, *(min(dims * 2 ** (level + 1), MAX_GAN_CHANNELS) for level in range(levels))]
    shapes: Shapes = {}
    for level in range(levels):
        shapes |= _convolution(f"convs_{level}", widths[level], widths[level + 1])
    for place, level in enumerate(reversed(range(levels))):
        inside = widths[level + 1] * (1 if level == levels - 1 else 2)
        shapes |= {
            f"upconvs_{place}/weight:0": (3, 3, widths[level], inside),
            f"upconvs_{place}/bias:0": (widths[level],),
        }
    shapes |= _convolution("in_conv", 3, dims, 1) | _convolution("out_conv", 2 * dims, 1, 1)
    last = widths[-1]
    return shapes | _convolution("center_out", last, 1, 1) | _convolution("center_conv", last, last, 1)
