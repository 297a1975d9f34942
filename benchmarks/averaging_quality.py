"""Does averaging make better models? Four machines against one, on a small model of DeepFaceLab's kind, on the CPU.

usage: python benchmarks/averaging_quality.py [--seed 0] [--steps 900] [--interval 90] [--warm-up 3000]

Needs PyTorch (`pip install '.[torch]'`); takes minutes. A shared encoder and two decoders learn to reconstruct drawn
faces of two people from warped pictures, with DeepFaceLab's optimizer (AdaBelief without bias correction, constant
rate), batch 4 per person. All machines have the same data and other random numbers. Weights go through real weight
files, the real gates and the real fused pass (sync.average_model), as in a round; optimizer state stays local.

The score is the mean squared error × 1000 on pictures never trained on, of the model that would be pushed: lower is
better. One random state per cell: differences below 3 % are noise.

    warm start     one machine trains `--warm-up` steps; then
    one machine    it trains `--steps` more
    mean           four machines train `--steps` each, averaged every `--interval`
    outer          the same with the outer Nesterov step (0.7, 0.9)
    garbage        one of the four sends noise every round: it must be left out
    cold           four machines train `--steps` apart from a fresh model: averaging must be refused, and is shown
                   to be a ruin by averaging all the same

Bars: mean 7 % better than one machine at equal steps, outer step 15 %, cold start refused, garbage left out.

What these numbers are worth: the set-up was chosen so that batch noise dominates, the phase of training that
averaging is for. Seven set-ups before it (other warps, amounts of data, rates and losses, where one machine was still
learning fast) gave the mean 2 to 5 % and the outer step 7.5 to 16 %. One seed, drawn faces, 32 px: this shows that the
machinery does what it should, not that a real model gains so much. Quote the range, not the best cell.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from sync.average import AverageSettings  # noqa: E402
from sync.average_model import ModelPlan, average_model  # noqa: E402
from sync.gates import GateSettings, Verdict, refuse_cold_start  # noqa: E402

SIZE = 32
GRID_LINES = 5
BATCH = 4
RATE = 5e-4
MACHINES = 4
TEST_PICTURES = 256
BAR_MEAN, BAR_OUTER = 0.07, 0.15
PART = "model.npy"
OPEN_GATES = GateSettings(spread_max=1e9, spread_warn=1e9, drift_max=1e9, cosine_gap=1e9)

Weights = dict[str, Tensor]


# -- data: drawn faces of two people


@dataclass(frozen=True)
class Person:
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    width: float
    eye_distance: float
    mouth_y: float


PEOPLE = (
    Person((0.85, 0.65, 0.55), (0.25, 0.15, 0.10), 0.62, 0.30, 0.42),
    Person((0.60, 0.42, 0.32), (0.75, 0.70, 0.45), 0.50, 0.22, 0.50),
)


def draw(person: Person, count: int, generator: torch.Generator) -> Tensor:
    """(count, 3, SIZE, SIZE) aligned pictures of one person: head roll and turn, open eyes and mouth at random.

    Few things vary and edges are soft, so that this small model gets into the late phase of training within
    minutes, where random batches and no longer missing progress make the error: the phase that averaging is for.
    """

    def vary(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(count, generator=generator)).view(-1, 1, 1)

    line = torch.linspace(-1, 1, SIZE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    roll, turn, opened, smile = vary(-0.15, 0.15), vary(-0.12, 0.12), vary(0.06, 0.14), vary(0.14, 0.30)
    u = x * torch.cos(roll) + y * torch.sin(roll)
    v = y * torch.cos(roll) - x * torch.sin(roll)
    picture = torch.full((count, 3, SIZE, SIZE), 0.3)  # masked training: the background does not count

    def paint(
        cu: Tensor | float, cv: float, ru: Tensor | float, rv: Tensor | float, colour: tuple[float, float, float]
    ) -> None:
        nonlocal picture
        mask = torch.sigmoid((1 - ((u - cu) / ru) ** 2 - ((v - cv) / rv) ** 2) * 4).unsqueeze(1)
        picture = picture * (1 - mask) + torch.tensor(colour).view(1, 3, 1, 1) * mask

    paint(0, -0.15, person.width + 0.12, 0.85, person.hair)
    paint(0, 0.05, person.width, 0.75, person.skin)
    for side in (-1, 1):
        paint(turn + side * person.eye_distance, -0.12, 0.14, opened, (0.95, 0.95, 0.95))
    paint(turn, person.mouth_y, smile, 0.1, (0.7, 0.2, 0.2))
    return picture


def warp(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Displace the inner points of a grid of 5 × 5 lines as DeepFaceLab's random_warp does: ±2.5 σ = 0.24 cells."""
    cell = 2 / (GRID_LINES - 1)
    noise = torch.randn(len(pictures), 2, GRID_LINES, GRID_LINES, generator=generator).clamp(-2.5, 2.5)
    inner = functional.pad(torch.ones(GRID_LINES - 2, GRID_LINES - 2), (1, 1, 1, 1))
    moved = noise / 2.5 * 0.24 * cell * inner
    shift = functional.interpolate(moved, SIZE, mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
    line = torch.linspace(-1, 1, SIZE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return functional.grid_sample(pictures, torch.stack([x, y], -1) + shift, align_corners=True, padding_mode="border")


# -- the model and one machine


class Model(nn.Module):
    """A shared encoder with a dense bottleneck, and one decoder per person."""

    def __init__(self) -> None:
        super().__init__()
        act = nn.LeakyReLU(0.1)
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2), act, nn.Conv2d(24, 48, 5, 2, 2), act, nn.Conv2d(48, 64, 5, 2, 2), act,
            nn.Flatten(), nn.Linear(64 * 16, 64), nn.Linear(64, 32 * 16), nn.Unflatten(1, (32, 4, 4)),
        )  # fmt: skip
        self.decoders = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(32, 128, 3, 1, 1), act, nn.PixelShuffle(2), nn.Conv2d(32, 96, 3, 1, 1), act,
                nn.PixelShuffle(2), nn.Conv2d(24, 64, 3, 1, 1), act, nn.PixelShuffle(2), nn.Conv2d(16, 3, 1),
                nn.Sigmoid(),
            )
            for _ in PEOPLE
        )  # fmt: skip

    def forward(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        codes = self.encoder(torch.cat(inputs)).split([len(part) for part in inputs])
        return [decoder(code) for decoder, code in zip(self.decoders, codes, strict=True)]


def loss_of(output: Tensor, target: Tensor) -> Tensor:
    """DeepFaceLab's: 10 DSSIM + 10 MSE, summed over the batch; at this size its window is 2 × 2."""
    pool = partial(functional.avg_pool2d, kernel_size=2, stride=1)
    mean_o, mean_t = pool(output), pool(target)
    products, squares = pool(output * target), pool(output**2 + target**2)
    light = (2 * mean_o * mean_t + 0.01**2) / (mean_o**2 + mean_t**2 + 0.01**2)
    contrast = (2 * (products - mean_o * mean_t) + 0.03**2) / (squares - mean_o**2 - mean_t**2 + 0.03**2)
    dssim = (1 - light * contrast) / 2
    return 10 * dssim.mean((1, 2, 3)).sum() + 10 * (output - target).square().mean((1, 2, 3)).sum()


@dataclass
class Machine:
    """One trainer: its weights, its optimizer state and its random numbers."""

    model: Model
    seed: int
    means: list[Tensor] = field(default_factory=list)
    variances: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        if not self.means:
            self.means = [torch.zeros_like(weight) for weight in self.model.parameters()]
            self.variances = [torch.zeros_like(weight) for weight in self.model.parameters()]

    def copy(self, seed: int) -> Machine:
        model = Model()
        model.load_state_dict(self.model.state_dict())
        return Machine(model, seed, [m.clone() for m in self.means], [v.clone() for v in self.variances])

    def train(self, steps: int) -> None:
        weights = list(self.model.parameters())
        for _ in range(steps):
            targets = tuple(draw(person, BATCH, self.generator) for person in PEOPLE)
            outputs = self.model(tuple(warp(target, self.generator) for target in targets))
            loss = torch.stack([loss_of(*pair) for pair in zip(outputs, targets, strict=True)]).sum()
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():  # AdaBelief without bias correction
                torch._foreach_mul_(self.means, 0.9)
                torch._foreach_add_(self.means, gradients, alpha=0.1)
                surprise = torch._foreach_sub(gradients, self.means)
                torch._foreach_mul_(self.variances, 0.999)
                torch._foreach_addcmul_(self.variances, surprise, surprise, value=0.001)
                scale = torch._foreach_add(torch._foreach_sqrt(self.variances), 1e-6)
                torch._foreach_addcdiv_(weights, self.means, scale, value=-RATE)

    def score(self) -> float:
        """Mean squared error × 1000 on the test pictures, not warped: as the merger shows faces to the model."""
        generator = torch.Generator().manual_seed(99_999)
        targets = tuple(draw(person, TEST_PICTURES, generator) for person in PEOPLE)
        with torch.no_grad():
            outputs = self.model(targets)
        errors = [(output - target).square().mean() for output, target in zip(outputs, targets, strict=True)]
        return 1000 * float(sum(errors)) / len(errors)


# -- rounds through real files


def save(model: Model, path: Path) -> None:
    weights = {f"{name}:0": weight.detach().numpy() for name, weight in model.named_parameters()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(weights, 4))


def load(model: Model, path: Path) -> None:
    weights = pickle.loads(path.read_bytes())  # noqa: S301  our own
    model.load_state_dict({name.removesuffix(":0"): torch.from_numpy(value.copy()) for name, value in weights.items()})


@dataclass
class Rounds:
    """What a run of rounds came to."""

    score: float
    local: float
    """Mean score of the machines' own weights before the last average."""
    verdicts: list[Verdict]

    def spreads(self) -> str:
        values = [verdict.divergence.spread_rel for verdict in self.verdicts]
        return f"spread_rel {min(values):.3f} – {max(values):.3f}"


def run_rounds(
    start: Machine,
    folder: Path,
    *,
    steps: int,
    interval: int,
    settings: AverageSettings,
    gates: GateSettings,
    spoil: Callable[[int, Model], None] | None = None,
) -> Rounds:
    """Train copies of `start` on four machines and average them every `interval` steps."""
    machines = [start.copy(1000 + number) for number in range(MACHINES)]
    base, momentum = folder / "base" / PART, None
    save(start.model, base)
    verdicts: list[Verdict] = []
    local = 0.0
    for number in range(steps // interval):
        here = folder / str(number)
        for index, machine in enumerate(machines):
            machine.train(interval)
            sent = machine.copy(0)
            if spoil:
                spoil(index, sent.model)
            save(sent.model, here / f"gpu{index}" / PART)
        local = sum(machine.score() for machine in machines) / len(machines)
        out = here / "average"
        out.mkdir()
        average = average_model(
            ModelPlan(
                {f"gpu{index}": {PART: here / f"gpu{index}" / PART} for index in range(MACHINES)},
                out,
                base={PART: base},
                momentum={PART: momentum} if momentum else None,
                settings=settings,
                gates=gates,
            )
        )
        verdicts.append(average.verdict)
        if average.verdict.held:
            continue
        base = average.files["gpu0"][PART].path
        momentum = average.momentum[PART].path if average.momentum else None
        for machine in machines:
            load(machine.model, base)
    pushed = start.copy(0)
    load(pushed.model, base)
    return Rounds(pushed.score(), local, verdicts)


def spoil_last(index: int, model: Model) -> None:
    """Machine 3 sends noise of the usual size."""
    if index == MACHINES - 1:
        with torch.no_grad():
            for weight in model.parameters():
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)) * weight.std())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--interval", type=int, default=90)
    parser.add_argument("--warm-up", type=int, default=3000)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    started = time.monotonic()
    fresh = Machine(Model(), seed=options.seed + 1)
    parameters = sum(weight.numel() for weight in fresh.model.parameters())
    print(f"{parameters} parameters, {torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory(prefix="dfld-quality-") as scratch:
        folder = Path(scratch)
        cold_start = fresh.copy(0)
        fresh.train(options.warm_up)
        print(f"warm start, {options.warm_up} steps     score {fresh.score():6.3f}", flush=True)
        single = fresh.copy(1000)
        single.train(options.steps)
        alone = single.score()
        print(f"one machine, {options.steps} more      score {alone:6.3f}", flush=True)
        gates = GateSettings(warm_up_iterations=options.warm_up)
        plain, outer = AverageSettings(), AverageSettings(outer="nesterov")
        rounds = {"steps": options.steps, "interval": options.interval}
        mean = run_rounds(fresh, folder / "mean", settings=plain, gates=gates, **rounds)
        tell("mean of 4", mean, alone)
        nesterov = run_rounds(fresh, folder / "outer", settings=outer, gates=gates, **rounds)
        tell("outer step of 4", nesterov, alone)
        spoilt = run_rounds(fresh, folder / "garbage", settings=plain, gates=gates, spoil=spoil_last, **rounds)
        tell("mean, 1 of 4 garbage", spoilt, alone)
        once = {"steps": options.steps, "interval": options.steps}
        cold = run_rounds(cold_start, folder / "cold", settings=plain, gates=gates, **once)
        ruin = run_rounds(cold_start, folder / "ruin", settings=plain, gates=OPEN_GATES, **once)
        print(f"cold start: {cold.verdicts[0].held or 'NOT held'}")
        print(f"  averaged all the same     score {ruin.score:6.3f}  its machines {ruin.local:6.3f}")
    print(f"{time.monotonic() - started:.0f} s")
    bars = {
        f"mean ≥ {BAR_MEAN:.0%} better than one machine": mean.score <= (1 - BAR_MEAN) * alone,
        f"outer step ≥ {BAR_OUTER:.0%} better": nesterov.score <= (1 - BAR_OUTER) * alone,
        "no healthy round was held": not any(verdict.held for verdict in mean.verdicts + nesterov.verdicts),
        "garbage left out in every round": all(set(verdict.refused) == {"gpu3"} for verdict in spoilt.verdicts),
        "cold start refused by warm-up": bool(refuse_cold_start(0, gates)),
        "cold start refused by what is measured": bool(cold.verdicts[0].held),
    }
    for name, met in bars.items():
        print(f"{'met    ' if met else 'NOT MET'}  {name}")
    return 0


def tell(name: str, rounds: Rounds, alone: float) -> None:
    held = sum(bool(verdict.held) for verdict in rounds.verdicts)
    print(f"{name:<26} score {rounds.score:6.3f}  {1 - rounds.score / alone:+.1%} better", end=", ")
    print(
        f"its machines {rounds.local:6.3f}, {rounds.spreads()}, {held} of {len(rounds.verdicts)} rounds held",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
