"""One training step of SAEHD: CPU seconds of dfld's, in pairs with a plain one in PyTorch.

usage: python benchmarks/trainer_step.py [--archi A] [--resolution R] [--dims AE,E,D,MASK] [--batch N] [--pairs N]
                                         [--precision fp32|bf16] [--memory-format contiguous|channels_last]

Both begin with the same weights and get the same batch; each does a step in turn, in changing order, on one thread.
The ratio is the median of the pairs'. Before that, the losses of three steps are compared: a step that computes
something else proves nothing. The bar is that of the default network: 0.92 in fp32, 0.6 in bf16.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.plain_saehd import PlainStep  # noqa: E402
from trainer.architectures.names import part_tensors  # noqa: E402
from trainer.assembly import training_step_of  # noqa: E402
from trainer.losses.batch import Batch, Side  # noqa: E402
from trainer.losses.saehd_losses import LossSettings  # noqa: E402
from trainer.networks import networks_of  # noqa: E402
from trainer.precision import PRECISIONS, checked_precision  # noqa: E402

BARS = {"fp32": 0.92, "bf16": 0.6}
WARM_UP_PAIRS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--archi", default="liae-ud")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--dims", default="128,48,48,16", help="ae_dims, e_dims, d_dims, d_mask_dims")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument("--memory-format", default="contiguous", choices=("channels_last", "contiguous"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = ("ae_dims", "e_dims", "d_dims", "d_mask_dims")
    dims = dict(zip(names, map(int, given.dims.split(",")), strict=True))
    options: dict[str, object] = {"archi": given.archi, "resolution": given.resolution, **dims}
    precision = checked_precision(given.precision, torch.device("cpu"))
    networks = networks_of(options, seed=1)
    saehd = networks.saehd
    weights = {
        f"{part}/{key}": values
        for part, module in saehd.named_children()
        for key, values in part_tensors(module).items()
    }
    plain = PlainStep(given.archi, given.resolution, weights)
    saehd.to(
        memory_format=getattr(torch, "channels_last" if given.memory_format == "channels_last" else "contiguous_format")
    )
    losses = LossSettings.from_options(options)
    step = training_step_of(networks, options, losses, seed=1, precision=precision)
    batch = _batch(given.batch, given.resolution)
    ours = lambda: step([batch])  # noqa: E731
    theirs = lambda: plain(*((side.warped, side.target, side.mask) for side in (batch.src, batch.dst)))  # noqa: E731
    for _ in range(WARM_UP_PAIRS):
        mine, other = ours(), theirs()
        print(f"losses      {float(mine.src):.6f} {float(mine.dst):.6f}, plain {other[0]:.6f} {other[1]:.6f}")
    seconds = _in_pairs(ours, theirs, given.pairs)
    ratios = [one / two for one, two in zip(*seconds, strict=True)]
    ratio, bar = statistics.median(ratios), BARS[precision]
    print(f"parameters  {sum(values.size for values in weights.values()) / 1e6:.1f} M")
    medians = [statistics.median(one) for one in seconds]
    print(f"a step      {medians[0]:.3f} CPU s, plain {medians[1]:.3f}, ratio {ratio:.3f} "
          f"(pairs from {min(ratios):.3f} to {max(ratios):.3f}; bar {bar:g})")  # fmt: skip
    return 0 if ratio <= bar else 1


def _batch(count: int, resolution: int) -> Batch:
    """Smooth pictures and a disc for a mask: the size of numbers counts, not what they show."""
    generator = torch.Generator().manual_seed(5)

    def pictures() -> Tensor:
        coarse = torch.rand(count, 3, 8, 8, generator=generator)
        return torch.nn.functional.interpolate(coarse, size=resolution, mode="bilinear")

    ramp = torch.linspace(-1, 1, resolution)
    disc = (ramp.square() + ramp.square()[:, None] < 0.6).float().expand(count, 1, -1, -1).contiguous()
    src, dst = (Side(pictures(), pictures(), disc, disc) for _ in range(2))
    return Batch(src, dst)


def _in_pairs(ours: Callable[[], object], theirs: Callable[[], object], count: int) -> tuple[list[float], list[float]]:
    seconds: tuple[list[float], list[float]] = ([], [])
    works = (ours, theirs)
    for number in range(count):
        for which in (0, 1) if number % 2 else (1, 0):
            begun = time.process_time()
            works[which]()
            seconds[which].append(time.process_time() - begun)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
