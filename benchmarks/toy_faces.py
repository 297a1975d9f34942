"""A small model of DeepFaceLab's kind on drawn faces: what benchmarks.averaging_quality trains. Needs PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 32
GRID_LINES = 5
BATCH = 4
RATE = 5e-4
EMA_DECAY = 0.99
TEST_PICTURES = 256


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


def draw(person: Person, count: int, generator: torch.Generator, variety: float) -> Tensor:
    """(count, 3, SIZE, SIZE) aligned pictures of one person: head roll and turn, open eyes and mouth at random.

    At variety 1 few things vary and edges are soft, so that this small model gets into the late phase of training
    within minutes, where random batches and no longer missing progress make the error: the phase that averaging is
    for. `variety` scales how far everything varies.
    """

    def vary(low: float, high: float) -> Tensor:
        half = (high - low) / 2 * variety
        return ((low + high) / 2 + half * (2 * torch.rand(count, generator=generator) - 1)).view(-1, 1, 1)

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
    variety: float
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
        return Machine(model, seed, self.variety, [m.clone() for m in self.means], [v.clone() for v in self.variances])

    def train(self, steps: int, *, average: Model | None = None) -> None:
        """Train; let every step's weights join `average`, where one is given."""
        weights = list(self.model.parameters())
        for _ in range(steps):
            targets = tuple(draw(person, BATCH, self.generator, self.variety) for person in PEOPLE)
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
                if average:
                    torch._foreach_lerp_(list(average.parameters()), weights, 1 - EMA_DECAY)

    def score(self) -> float:
        return score_of(self.model, self.variety)


def score_of(model: Model, variety: float) -> float:
    """Mean squared error × 1000 on the test pictures, not warped: as the merger shows faces to the model."""
    generator = torch.Generator().manual_seed(99_999)
    targets = tuple(draw(person, TEST_PICTURES, generator, variety) for person in PEOPLE)
    with torch.no_grad():
        outputs = model(targets)
    errors = [(output - target).square().mean() for output, target in zip(outputs, targets, strict=True)]
    return 1000 * float(sum(errors)) / len(errors)
