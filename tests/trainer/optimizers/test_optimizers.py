"""Optimizers against formulas written out, whatever the memory order of a weight and wherever blocks end."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trainer.errors import TrainerError  # noqa: E402
from trainer.optimizers import optimizer as optimizer_module  # noqa: E402
from trainer.optimizers.clip import AutoClip, DflClip  # noqa: E402
from trainer.optimizers.lr_dropout import KEEP_PROBABILITY, RandomMasks  # noqa: E402
from trainer.optimizers.optimizer import Optimizer, StepSettings  # noqa: E402
from trainer.optimizers.rules import RULES, AdamW, UpdateRule  # noqa: E402
from trainer.optimizers.schedule import Schedule  # noqa: E402

RATE = 1e-2


def weights_of(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv": (4, 3, 5, 5), "bias": (4,), "dense": (37, 11), "point": (6, 2, 1, 1)}
    made = {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}
    made["conv"] = made["conv"].to(memory_format=torch.channels_last)
    return {name: torch.nn.Parameter(values) for name, values in made.items()}


def gradients_of(weights: dict[str, torch.nn.Parameter], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    # Rows first, as autograd may give them, whatever the weight's own order.
    return {name: torch.randn(one.shape, generator=generator, dtype=one.dtype) for name, one in weights.items()}


def adabelief(w: np.ndarray, g: np.ndarray, state: list[np.ndarray]) -> None:
    state[0][:] = 0.9 * state[0] + 0.1 * g
    state[1][:] = 0.999 * state[1] + 0.001 * (g - state[0]) ** 2
    w -= RATE * state[0] / (np.sqrt(state[1]) + 1e-6)


def rmsprop(w: np.ndarray, g: np.ndarray, state: list[np.ndarray]) -> None:
    state[0][:] = 0.9 * state[0] + 0.1 * g**2
    w -= RATE * g / (np.sqrt(state[0]) + 1e-6)


@pytest.mark.parametrize("block", [7, 100, 1 << 20])
@pytest.mark.parametrize(("name", "formula"), [("adabelief", adabelief), ("rmsprop", rmsprop)])
def test_steps_are_deepfacelabs_formulas(
    name: str, formula: Callable[..., None], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizer_module, "CPU_BLOCK", block)
    weights = weights_of(1)
    expected = {key: one.detach().numpy().copy() for key, one in weights.items()}
    states = {key: [np.zeros_like(one), np.zeros_like(one)] for key, one in expected.items()}
    optimizer = Optimizer(weights, RULES[name](), StepSettings(Schedule(RATE)))
    for step in range(3):
        for key, gradient in gradients_of(weights, step).items():
            weights[key].grad = gradient
            formula(expected[key], gradient.numpy(), states[key])
        assert optimizer.step() is None
    for number, key in enumerate(optimizer.names):
        assert np.allclose(weights[key].detach().numpy(), expected[key], rtol=1e-12, atol=1e-14)
        for which in range(len(optimizer.rule.accumulators)):
            assert np.allclose(optimizer.accumulator(which, number).numpy(), states[key][which], rtol=1e-12, atol=1e-16)
    assert optimizer.steps_done == 3


def test_adamw_is_torchs() -> None:
    ours, theirs = weights_of(2), weights_of(2)
    optimizer = Optimizer(ours, AdamW(decay=0.05), StepSettings(Schedule(RATE)))
    reference = torch.optim.AdamW(theirs.values(), lr=RATE, weight_decay=0.05, eps=1e-8)
    for step in range(4):
        for key, gradient in gradients_of(ours, step).items():
            ours[key].grad, theirs[key].grad = gradient, gradient.clone()
        optimizer.step()
        reference.step()
    for key in ours:
        assert torch.allclose(ours[key], theirs[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", [rule() for rule in RULES.values()])
def test_a_frozen_weight_keeps_its_value_and_its_accumulators(rule: UpdateRule) -> None:
    weights = weights_of(3)
    optimizer = Optimizer(weights, rule, StepSettings(Schedule(RATE)))
    optimizer.accumulator(0, 2).fill_(0.25)
    weights["dense"].requires_grad_(False)
    before = weights["dense"].detach().clone()
    for key, gradient in gradients_of(weights, 1).items():
        weights[key].grad = None if key == "dense" else gradient
    optimizer.step()
    assert torch.equal(weights["dense"], before)
    assert (optimizer.accumulator(0, 2) == 0.25).all()
    assert optimizer.steps_done == 1


def test_a_trained_weight_without_a_gradient_is_named_and_nothing_changes() -> None:
    weights = weights_of(4)
    optimizer = Optimizer(weights, RULES["adabelief"](), StepSettings(Schedule(RATE)))
    before = weights["conv"].detach().clone()
    weights["conv"].grad = torch.ones_like(weights["conv"])
    with pytest.raises(TrainerError, match="bias is trained but has no gradient"):
        optimizer.step()
    assert torch.equal(weights["conv"], before)
    assert optimizer.steps_done == 0


def test_gradients_are_clipped_by_the_norm_over_all_of_them() -> None:
    assert DflClip().factor(4.0) == 0.25
    assert DflClip().factor(0.5) == 1.0
    changes = []
    for clip, scale in ((DflClip(), 1.0), (None, None)):
        weights = weights_of(5)
        optimizer = Optimizer(weights, RULES["rmsprop"](), StepSettings(Schedule(RATE), clip=clip))
        gradients = gradients_of(weights, 1)
        norm = math.sqrt(sum(float(one.square().sum()) for one in gradients.values()))
        for key, gradient in gradients.items():
            weights[key].grad = gradient if scale else gradient / norm
        found = optimizer.step()
        assert found == (pytest.approx(norm) if clip else None)
        changes.append(weights)
    for key in changes[0]:
        assert torch.allclose(changes[0][key], changes[1][key], rtol=1e-9)


def test_autoclip_brings_a_gradient_down_to_a_percentile_of_those_before() -> None:
    clip = AutoClip(percentile=50)
    assert [clip.factor(norm) for norm in (1.0, 1.0, 1.0)] == [1.0, 1.0, 1.0]
    assert clip.factor(10.0) == pytest.approx(0.1)
    assert list(clip.norms) == [1.0, 1.0, 1.0, 10.0]


def test_masks_follow_from_seed_optimizer_and_step_and_keep_308_of_1024() -> None:
    weights = [torch.zeros(300, 301), torch.zeros(16, 4, 3, 3).to(memory_format=torch.channels_last)]
    draw = lambda seed, name, step: list(RandomMasks(seed, name).masks(step, weights))  # noqa: E731
    first = draw(1, "src_dst_opt", 7)
    assert all(torch.equal(one, other) for one, other in zip(first, draw(1, "src_dst_opt", 7), strict=True))
    assert [one.shape for one in first] == [one.shape for one in weights]
    for different in (draw(2, "src_dst_opt", 7), draw(1, "GAN_opt", 7), draw(1, "src_dst_opt", 8)):
        assert not torch.equal(first[0], different[0])
    kept = first[0].double()
    deviation = math.sqrt(KEEP_PROBABILITY * (1 - KEEP_PROBABILITY) / kept.numel())
    assert abs(float(kept.mean()) - KEEP_PROBABILITY) < 4 * deviation
    pairs = float((kept[:, 1:] * kept[:, :-1]).mean())
    assert pairs == pytest.approx(KEEP_PROBABILITY**2, abs=0.01)


def test_lr_dropout_moves_the_kept_weights_alone_and_all_accumulators() -> None:
    weights, free = weights_of(6), weights_of(6)
    dropping = Optimizer(weights, RULES["adabelief"](), StepSettings(Schedule(RATE), lr_dropout=RandomMasks(1, "x")))
    plain = Optimizer(free, RULES["adabelief"](), StepSettings(Schedule(RATE)))
    start = {key: one.detach().clone() for key, one in weights.items()}
    for key, gradient in gradients_of(weights, 1).items():
        weights[key].grad, free[key].grad = gradient, gradient.clone()
    masks = list(RandomMasks(1, "x").masks(0, list(weights.values())))
    dropping.step()
    plain.step()
    for number, (key, mask) in enumerate(zip(weights, masks, strict=True)):
        assert torch.equal(weights[key], torch.where(mask.bool(), free[key], start[key]))
        assert torch.equal(dropping.accumulator(1, number), plain.accumulator(1, number))


def test_a_rate_warms_up_restarts_and_never_falls_below_its_floor() -> None:
    assert Schedule().at(0) == Schedule().at(10**6) == 5e-5
    warm = Schedule(rate=1.0, warm_up=4)
    assert [warm.at(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    again = Schedule(rate=1.0, restart_period=10, restart_growth=2.0, floor=0.1)
    assert again.at(0) == again.at(10) == again.at(30) == 1.0
    assert again.at(5) == pytest.approx(0.55)
    assert again.at(20) == pytest.approx(0.55)
    assert min(again.at(step) for step in range(200)) >= 0.1
    assert Schedule(rate=1.0, dropout_cosine=True).at(250) == pytest.approx(0.0, abs=1e-12)
