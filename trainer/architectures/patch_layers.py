"""How many layers the GAN's discriminator has, and which of them halve the picture: a question of its patch size. Pure.

Source: DeepFaceLab commit 46fc239, core/leras/models/PatchDiscriminator.py.
"""

from __future__ import annotations

from functools import cache
from itertools import product

MAX_PATCH_LAYERS = 9


@cache
def patch_strides() -> dict[int, tuple[int, ...]]:
    """Return receptive field (px) → strides of the 3 x 3 convolutions that have it.

    Of 1 to 9 convolutions the first has stride 2 and each other one 1 or 2. The field is 3, and grows with each
    further layer by twice the product of the strides before it. The list with the fewest layers is kept, then that
    with the largest sum of strides, then the one whose bits (bit i: layer i + 2 has stride 2) count highest.
    """
    best: dict[int, tuple[int, ...]] = {}
    for layers in range(1, MAX_PATCH_LAYERS + 1):
        of_this_depth: dict[int, tuple[int, ...]] = {}
        # product counts the last place fastest, the first bit belongs to the first place: hence reversed.
        for bits in product((2, 1), repeat=layers - 1):
            strides = (2, *reversed(bits))
            field = _receptive_field(strides)
            if field not in of_this_depth or sum(strides) > sum(of_this_depth[field]):
                of_this_depth[field] = strides
        for field, strides in of_this_depth.items():
            best.setdefault(field, strides)
    return best


def strides_for_patch(patch_size: int) -> tuple[int, ...]:
    """Return the strides whose receptive field is nearest to `patch_size` px; the smaller one of two."""
    fields = patch_strides()
    return fields[min(fields, key=lambda field: (abs(field - patch_size), field))]


def _receptive_field(strides: tuple[int, ...]) -> int:
    field, step = 3, strides[0]
    for stride in strides[1:]:
        field += 2 * step
        step *= stride
    return field
