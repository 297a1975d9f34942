"""The two discriminators that SAEHD can be trained against: of pictures (GAN) and of codes (true face).

Source: DeepFaceLab commit 46fc239, core/leras/models/PatchDiscriminator.py and CodeDiscriminator.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.architectures.layers import Convolution, TransposedConvolution, leaky
from trainer.architectures.patch_layers import strides_for_patch
from trainer.errors import SpecError

MAX_CHANNELS = 512
SMALLEST_PATCH, LARGEST_PATCH = 3, 640
"""px: what DeepFaceLab lets a user choose."""
_SLOPE = 0.2


class PatchDiscriminator(nn.Module):
    """A U-Net that says of the picture's middle (in patches) and of each pixel whether it is real: raw logits.

    File GAN.npy. Pictures are (batch, 3, R, R). The answer is (center (batch, 1, r, r), map (batch, 1, R, R)).
    """

    def __init__(self, resolution: int, patch_size: int, dims: int) -> None:
        """Build it with weights that hold no values yet; raise SpecError where R cannot be halved so often."""
        super().__init__()
        if not SMALLEST_PATCH <= patch_size <= LARGEST_PATCH:
            raise SpecError(f"gan_patch_size is {patch_size}, expected {SMALLEST_PATCH} to {LARGEST_PATCH}")
        if not 0 < dims <= MAX_CHANNELS:
            raise SpecError(f"gan_dims is {dims}, expected 1 to {MAX_CHANNELS}")
        strides = strides_for_patch(patch_size)
        halvings = strides.count(2)
        if resolution % 2**halvings:
            raise SpecError(
                f"gan_patch_size {patch_size} halves a picture {halvings} times, which {resolution} px do not allow",
                hint="choose a smaller gan_patch_size; resolution / 8 is usual",
            )
        widths = [dims, *(min(dims * 2 ** (level + 1), MAX_CHANNELS) for level in range(len(strides)))]
        deepest = len(strides) - 1
        # The order of the file's tensors is the order of these lines.
        self.convs = nn.ModuleList(
            Convolution(widths[level], widths[level + 1], 3, stride) for level, stride in enumerate(strides)
        )
        self.upconvs = nn.ModuleList(
            TransposedConvolution(widths[level + 1] * (1 if level == deepest else 2), widths[level], strides[level])
            for level in reversed(range(len(strides)))
        )
        self.in_conv = Convolution(3, dims, 1)
        self.out_conv = Convolution(2 * dims, 1, 1)
        self.center_out = Convolution(widths[-1], 1, 1)
        self.center_conv = Convolution(widths[-1], widths[-1], 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x = leaky(self.in_conv(pictures), _SLOPE)
        kept = []
        for conv in self.convs:
            kept.append(x)
            x = leaky(conv(x), _SLOPE)
        center = self.center_out(x)
        x = leaky(self.center_conv(x), _SLOPE)
        for upconv in self.upconvs:
            # Not in place: the answer of a stride of 2 is a part of a larger tensor.
            x = torch.cat([kept.pop(), functional.leaky_relu(upconv(x), _SLOPE)], 1)
        return center, self.out_conv(x)


class CodeDiscriminator(nn.Module):
    """Says of a code (batch, channels, side, side) whether it is dst's: raw logits. File code_discriminator.npy."""

    def __init__(self, channels: int, side: int) -> None:
        """Build it with weights that hold no values yet."""
        super().__init__()
        count = 1 + side // 8
        widths = [channels, *(256 * min(2**level, 8) for level in range(count))]
        self.convs = nn.ModuleList(
            Convolution(widths[level], widths[level + 1], 4 if level == 0 else 3, 2) for level in range(count)
        )
        self.out_conv = Convolution(widths[-1], 1, 1)

    def forward(self, code: Tensor) -> Tensor:
        x = code
        for conv in self.convs:
            x = leaky(conv(x), 0.1)
        logits = self.out_conv(x)
        assert isinstance(logits, Tensor)
        return logits
