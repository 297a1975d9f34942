"""SAEHD: encoder, inter and decoder, and how df and liae join them.

            src code                dst code               swap: decoded from
    df      inter(src)              inter(dst)             the dst code, by src's decoder
    liae    [AB(src), AB(src)]      [B(dst), AB(dst)]      [AB(dst), AB(dst)], by the one decoder

where src and dst went through the encoder, and [x, y] are the channels of x, then those of y.

There are no statistics over a batch anywhere, so src and dst go through shared parts as one batch. Pictures are
(batch, 3, R, R), BGR, 0..1; masks (batch, 1, R, R). Source: DeepFaceLab commit 46fc239,
core/leras/archis/DeepFakeArchi.py and models/Model_SAEHD/Model.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from trainer.architectures.layers import (
    Convolution,
    Dense,
    Down,
    Downs,
    Residual,
    Up,
    at_least_float32,
    cosine,
    leaky,
    pixel_norm,
)
from trainer.architectures.spec import NetworkSpec

Branch = Literal[
    "src_code", "dst_code", "src_src", "src_src_mask", "dst_dst", "dst_dst_mask",
    "src_dst", "src_dst_mask", "src_dst_of_stopped_code",
]  # fmt: skip
"""What a network can be asked for. `src_dst` is the swap. No loss differentiates its mask, which therefore carries no
gradient. `src_dst_of_stopped_code` is the swap once more, whose gradient ends at the code."""


class Encoder(nn.Module):
    """Pictures → one vector a sample, flattened channels first."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        activate = cosine if spec.activates_by_cosine else leaky
        e = spec.e_dims
        if spec.is_deeper:
            self.down1: nn.Module = Down(3, e, activate)
            self.res1 = Residual(e, activate)
            self.down2 = Down(e, 2 * e, activate)
            self.down3 = Down(2 * e, 4 * e, activate)
            self.down4 = Down(4 * e, 8 * e, activate)
            self.down5 = Down(8 * e, 8 * e, activate)
            self.res5 = Residual(8 * e, activate)
        else:
            self.down1 = Downs(3, e, activate)
        self.normalises = spec.normalises_code
        self.outputs = 8 * e * spec.encoded_side**2

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures
        for layer in self.children():
            x = layer(x)
        flat = x.flatten(1)
        return pixel_norm(flat) if self.normalises else flat


class Inter(nn.Module):
    """Vectors of the encoder → (batch, channels, side, side), through a narrow vector of ae_dims numbers."""

    def __init__(self, spec: NetworkSpec, inputs: int) -> None:
        super().__init__()
        self.channels, self.side = spec.inter_channels, spec.dense_side
        self.dense1 = Dense(inputs, spec.ae_dims)
        self.dense2 = Dense(spec.ae_dims, self.channels * self.side**2)
        if not spec.is_deeper:
            activate = cosine if spec.activates_by_cosine else leaky
            self.upscale1 = Up(self.channels, self.channels, activate)
        self.doubles = not spec.is_deeper

    def forward(self, flat: Tensor) -> Tensor:
        x = self.dense2(self.dense1(flat)).view(-1, self.channels, self.side, self.side)
        code: Tensor = self.upscale1(x) if self.doubles else x
        return code


class Decoder(nn.Module):
    """A code → a picture and its mask, from two branches that share nothing but the code."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        activate = cosine if spec.activates_by_cosine else leaky
        widths = (8, 8, 4, 2) if spec.is_deeper else (8, 4, 2)
        self.doubles = spec.doubles_output
        picture_widths = [width * spec.d_dims for width in widths]
        mask_widths = [width * spec.d_mask_dims for width in widths]
        # The order of a file's tensors is the order of these lines.
        self._add("upscale", _ups(spec.code_channels, picture_widths, activate))
        self._add("res", (Residual(width, activate) for width in picture_widths))
        self._add("upscalem", _ups(spec.code_channels, mask_widths, activate))
        self.out_conv = Convolution(picture_widths[-1], 3, 1)
        if self.doubles:
            self.out_conv1, self.out_conv2, self.out_conv3 = (Convolution(picture_widths[-1], 3, 3) for _ in range(3))
            last_up = Up(mask_widths[-1], spec.d_mask_dims, activate)
            self._add("upscalem", [last_up], first=len(widths))
        self.out_convm = Convolution(spec.d_mask_dims * (1 if self.doubles else 2), 1, 1)
        self.levels = len(widths)

    def picture(self, code: Tensor) -> Tensor:
        """Decode pictures (batch, 3, R, R) of 0..1."""
        x = code
        for level in range(self.levels):
            x = self.get_submodule(f"res{level}")(self.get_submodule(f"upscale{level}")(x))
        if not self.doubles:
            return torch.sigmoid(at_least_float32(self.out_conv(x)))
        four = [self.out_conv, self.out_conv1, self.out_conv2, self.out_conv3]
        # One 3 x 3 convolution for all four, channel by channel as pixel_shuffle wants it; the first kernel is 1 x 1.
        kernels = torch.stack([functional.pad(four[0].weight, (1, 1, 1, 1)), *(conv.weight for conv in four[1:])], 1)
        biases = torch.stack([conv.bias for conv in four], 1)
        x = functional.conv2d(x, kernels.flatten(0, 1), biases.flatten(), padding=1)
        return torch.sigmoid(at_least_float32(functional.pixel_shuffle(x, 2)))

    def mask(self, code: Tensor) -> Tensor:
        """Decode masks (batch, 1, R, R) of 0..1."""
        x = code
        for level in range(self.levels + self.doubles):
            x = self.get_submodule(f"upscalem{level}")(x)
        return torch.sigmoid(at_least_float32(self.out_convm(x)))

    def _add(self, name: str, layers: Iterable[nn.Module], first: int = 0) -> None:
        for number, layer in enumerate(layers, first):
            self.add_module(f"{name}{number}", layer)


def _ups(inputs: int, widths: list[int], activate: Callable[[Tensor, float], Tensor]) -> list[Up]:
    return [Up(one, two, activate) for one, two in zip([inputs, *widths], widths, strict=False)]


class Saehd(nn.Module):
    """The whole network. Its children are the parts that have a file each, in the order in which they are saved."""

    def __init__(self, spec: NetworkSpec, *, recomputes_decoders: bool = False) -> None:
        """Build the network with weights that hold no values yet.

        `recomputes_decoders` keeps no activations of the decoders for the gradient and computes them again: 40 % of
        the memory for 30 % more time.
        """
        super().__init__()
        self.spec = spec
        self.recomputes_decoders = recomputes_decoders
        self.encoder = Encoder(spec)
        if spec.kind == "df":
            self.inter = Inter(spec, self.encoder.outputs)
            self.decoder_src = Decoder(spec)
            self.decoder_dst = Decoder(spec)
        else:
            self.inter_AB = Inter(spec, self.encoder.outputs)
            self.inter_B = Inter(spec, self.encoder.outputs)
            self.decoder = Decoder(spec)

    def forward(self, warped_src: Tensor, warped_dst: Tensor, wanted: frozenset[Branch]) -> dict[Branch, Tensor]:
        """Given pictures of both sides, return the `wanted` branches; whatever none of them needs is not computed."""
        codes = self._codes(warped_src, warped_dst, wanted)
        found: dict[Branch, Tensor] = {}
        for name in ("src_code", "dst_code"):
            if name in wanted:
                found[name] = codes[name]
        self._decode_own(codes, wanted, found)
        swap_decoder = self.decoder_src if self.spec.kind == "df" else self.decoder
        if "src_dst" in wanted:
            found["src_dst"] = self._run(swap_decoder.picture, codes["swap_code"])
        if "src_dst_of_stopped_code" in wanted:
            found["src_dst_of_stopped_code"] = self._run(swap_decoder.picture, codes["swap_code"].detach())
        if "src_dst_mask" in wanted:
            with torch.no_grad():
                found["src_dst_mask"] = swap_decoder.mask(codes["swap_code"])
        return found

    def _codes(self, src: Tensor, dst: Tensor, wanted: frozenset[Branch]) -> dict[str, Tensor]:
        """The codes that the wanted branches need, with `swap_code` in both kinds."""
        needs_src = not wanted.isdisjoint(("src_code", "src_src", "src_src_mask"))
        needs_own_dst = not wanted.isdisjoint(("dst_code", "dst_dst", "dst_dst_mask"))
        needs_swap = not wanted.isdisjoint(("src_dst", "src_dst_mask", "src_dst_of_stopped_code"))
        needs_dst = needs_own_dst or needs_swap
        pictures = [one for one, needed in ((src, needs_src), (dst, needs_dst)) if needed]
        encoded = self.encoder(torch.cat(pictures) if len(pictures) > 1 else pictures[0])
        of_dst = encoded[len(src) if needs_src else 0 :]
        if self.spec.kind == "df":
            both = self.inter(encoded)
            src_code, dst_code = both[: len(src)], both[len(src) if needs_src else 0 :]
            return {"src_code": src_code, "dst_code": dst_code, "swap_code": dst_code}
        shared = self.inter_AB(encoded)
        twice = torch.cat([shared, shared], 1)
        codes = {"src_code": twice[: len(src)], "swap_code": twice[len(src) if needs_src else 0 :]}
        if needs_own_dst:
            shared_dst = shared[len(src) if needs_src else 0 :]
            codes["dst_code"] = torch.cat([self.inter_B(of_dst), shared_dst], 1)
        return codes

    def _decode_own(self, codes: dict[str, Tensor], wanted: frozenset[Branch], found: dict[Branch, Tensor]) -> None:
        """Decode each side's own picture and mask; liae's one decoder takes both sides as one batch."""
        kinds: tuple[tuple[Branch, Branch, Literal["picture", "mask"]], ...] = (
            ("src_src", "dst_dst", "picture"),
            ("src_src_mask", "dst_dst_mask", "mask"),
        )
        for src_name, dst_name, kind in kinds:
            if self.spec.kind == "liae" and {src_name, dst_name} <= wanted:
                both = torch.cat([codes["src_code"], codes["dst_code"]])
                decoded = self._run(getattr(self.decoder, kind), both)
                found[src_name], found[dst_name] = decoded.split([len(codes["src_code"]), len(codes["dst_code"])])
                continue
            for name, code, side in ((src_name, "src_code", "src"), (dst_name, "dst_code", "dst")):
                if name in wanted:
                    decoder = self.decoder if self.spec.kind == "liae" else self.get_submodule(f"decoder_{side}")
                    found[name] = self._run(getattr(decoder, kind), codes[code])

    def _run(self, decode: Callable[[Tensor], Tensor], code: Tensor) -> Tensor:
        if self.recomputes_decoders and torch.is_grad_enabled():
            again = checkpoint(decode, code, use_reentrant=False)
            assert isinstance(again, Tensor)
            return again
        return decode(code)
