"""Trainings that DeepFaceLab recorded, repeated: outputs, losses, gradients, steps, in float64 and in float32.

The tolerances are those that an independent float64 program met (golden/numerics/v2, README), twice as much in
float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.saehd_golden import Case, forms, load_case, relative, summary_difference

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trainer.architectures.names import FileTensor  # noqa: E402
from trainer.optimizers.optimizer import Optimizer  # noqa: E402
from trainer.optimizers.schedule import Schedule  # noqa: E402
from trainer.optimizers.state_names import accumulator_key, state_keys  # noqa: E402
from trainer.training_step import TrainingStep  # noqa: E402

ARCHIS = ("a_df", "a_df-ud", "a_df-udt", "a_liae-ud", "a_liae-udt", "a_liae-udtc")
TERMS = (
    "b_emp", "b_blur_out", "b_style_face", "b_style_bg", "b_style_both", "b_nomask", "b_256", "b_rmsprop", "b_clipgrad",
    "b_lrd", "b_lrd_rms", "b_nowarp", "b_gan4", "b_gan16", "b_gan_p8_nomask", "b_gan4_nchw", "b_trueface",
)  # fmt: skip
DTYPES = {"float64": 1.05, "float32": 2.0}
"""Type -> how many times the tolerances; most of these have one digit, and were rounded to it."""
OUTPUTS = {"src_srcm": "src_src_mask", "dst_dstm": "dst_dst_mask", "src_dstm": "src_dst_mask"}
WEIGHT_ROUNDING = 3e-8
"""A recorded change is the difference of two float32 weights."""

every_type = pytest.mark.parametrize("dtype", DTYPES)

OF_OWN_GRADIENTS = {"df-ud": (1.1e-2, 3.6e-3), "df-udt": (1.4e-3, 3.6e-3)}
"""Archi -> how far changes of weights and accumulators may be off after a step by our own gradient, for which the
README has figures of liae-udt alone: a first step is g / |g|, which makes much of the rounding of a g near 0."""


@cache
def case_of(shared: Path, name: str) -> Case:
    return load_case(shared, name)


def type_of(name: str) -> torch.dtype:
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


@every_type
@pytest.mark.parametrize("name", [*ARCHIS, "b_256"])
def test_all_six_outputs_are_those_that_deepfacelab_recorded(shared: Path, name: str, dtype: str) -> None:
    case = case_of(shared, name)
    batch = case.batch(type_of(dtype))
    names = [OUTPUTS.get(key[9:], key[9:]) for key in case.arrays if key.startswith("out/pred_")]
    assert len(names) == 6
    with torch.no_grad():
        found = case.training(type_of(dtype)).network(batch.src.warped, batch.dst.warped, frozenset(names))
    stride = case.facts["outputs_stride"]
    for key, output in zip([key for key in case.arrays if key.startswith("out/pred_")], names, strict=True):
        ours = found[output].numpy().transpose(0, 2, 3, 1)[:, ::stride, ::stride]
        assert np.abs(ours - case.arrays[key]).max() <= 1.5e-7 * DTYPES[dtype], key


@every_type
@pytest.mark.parametrize("name", [*ARCHIS, *TERMS])
def test_losses_and_gradients_are_those_that_deepfacelab_recorded(shared: Path, name: str, dtype: str) -> None:
    case, factor = case_of(shared, name), DTYPES[dtype]
    training = case.training(type_of(dtype))
    compare_losses(case.facts, training, case, dtype)
    batch = case.batch(type_of(dtype))
    training.generator_losses(batch, *training._targets(batch)).total.sum().backward()
    compare_gradients(case, "grad", training.optimizer, forms(training.network), factor, style="style" in name)
    trained = case.facts["trained"]
    names = [name for name, one in forms(training.network).items() if one.parameter.requires_grad]
    assert trained == "all" or trained == names


@every_type
@pytest.mark.parametrize("name", ["b_gan4", "b_gan16", "b_gan_p8_nomask", "b_gan4_nchw", "b_trueface"])
def test_discriminators_answer_and_learn_as_recorded(shared: Path, name: str, dtype: str) -> None:
    case, factor = case_of(shared, name), DTYPES[dtype]
    training = case.training(type_of(dtype))
    batch = case.batch(type_of(dtype))
    src, _ = training._targets(batch)
    if training.patch_judge is not None:
        judge, part, key = training.patch_judge, "D_src", "gan"
        loss = training.patch_loss(batch, src)
        with torch.no_grad():
            answer = training.network(batch.src.warped, batch.dst.warped, frozenset(["src_src"]))["src_src"]
            given = {"pred": src.inside(answer), "target": src.masked}
            logits = {f"out/gan_{one}_{what}": out for one, x in given.items()
                      for what, out in zip(("center", "map"), judge.network(x), strict=True)}  # fmt: skip
    else:
        assert training.code_judge is not None
        judge, part, key = training.code_judge, "dis", "code"
        loss = training.code_loss(batch)
        with torch.no_grad():
            codes = training.network(batch.src.warped, batch.dst.warped, frozenset(["src_code", "dst_code"]))
            logits = {f"out/{name.replace('_code', '')}": judge.network(code) for name, code in codes.items()}
            logits = {key.replace("out/", "out/code_"): one for key, one in logits.items()}
    compare(loss, case.facts[f"D_{key}_loss"], 1.3e-7 * factor)
    for name, ours in logits.items():
        expected = case.arrays[name] if "nchw" in case.name else case.arrays[name].transpose(0, 3, 1, 2)
        assert np.abs(ours.numpy() - expected).max() <= 1e-6 * factor, name
    loss.sum().backward()
    for tensor, form in forms(judge.network, part).items():
        gradient = form.to_file(form.parameter.grad)
        if f"dgrad/{tensor}" in case.arrays:
            assert relative(gradient, case.arrays[f"dgrad/{tensor}"]) <= 1.1e-4 * factor, tensor
        else:
            assert summary_difference(gradient, case.facts["D_gan_grad"][tensor]) <= 2.5e-3 * factor, tensor


@every_type
@pytest.mark.parametrize("name", [*ARCHIS, *TERMS])
def test_steps_change_weights_and_accumulators_as_recorded(shared: Path, name: str, dtype: str) -> None:
    case, factor = case_of(shared, name), DTYPES[dtype]
    training = case.training(type_of(dtype))
    use_recorded_masks(training.optimizer, forms(training.network), case)
    changes, states = OF_OWN_GRADIENTS.get(case.options["archi"], (1.3e-3, 2.5e-3))
    optimizers = {"": (training.optimizer, forms(training.network), "src_dst_opt")}
    if training.patch_judge is not None:
        optimizers["D_gan_"] = (training.patch_judge.optimizer, forms(training.patch_judge.network, "D_src"), "GAN_opt")
    if training.code_judge is not None:
        optimizers["D_code_"] = (training.code_judge.optimizer, forms(training.code_judge.network, "dis"), "D_code_opt")
    for step in case.facts["steps"]:
        before = {key: [one.detach().clone() for one in opt.weights] for key, (opt, _, _) in optimizers.items()}
        shown = training([case.batch(type_of(dtype))])
        for key, loss in (("D_gan", shown.patch_discriminator), ("D_code", shown.code_discriminator)):
            if f"{key}_loss_after_G" in step:
                assert loss is not None
                compare(loss, [float(np.mean(step[f"{key}_loss_after_G"]))], 2e-7 * factor)
        for key, (optimizer, form, file) in optimizers.items():
            assert optimizer.steps_done == step["iters"]
            compare_changes(step[f"{key}delta"], optimizer, form, before[key], changes * factor)
            compare_states(step[f"{key}state"], optimizer, form, file, states * factor)
        compare_losses(step, training, case, dtype, after="_after")


@every_type
@pytest.mark.parametrize("name", [*ARCHIS, "b_emp", "b_blur_out", "b_style_both", "b_256", "b_gan4", "b_trueface"])
def test_a_recorded_gradient_changes_weights_and_accumulators_as_recorded(shared: Path, name: str, dtype: str) -> None:
    case, factor = case_of(shared, name), DTYPES[dtype]
    training = case.training(type_of(dtype))
    form = forms(training.network)
    before = [weight.detach().clone() for weight in training.optimizer.weights]
    for key, one in form.items():
        one.parameter.grad = one.from_file(case.arrays[f"grad/{key}"]).contiguous()
    training.optimizer.step()
    step = case.facts["steps"][0]
    compare_changes(step["delta"], training.optimizer, form, before, 1e-3 * factor)
    compare_states(step["state"], training.optimizer, form, "src_dst_opt", 2e-6 * factor)


def test_the_keys_of_an_optimizer_file_have_deepfacelabs_order(shared: Path) -> None:
    for name in ("a_df", "b_rmsprop"):
        case = case_of(shared, name)
        optimizer = case.training(torch.float32).optimizer
        keys = [f"src_dst_opt/{key}" for key in state_keys(optimizer.rule.accumulators, optimizer.names)]
        named = case.facts["steps"][1]["state_keys"]
        assert keys[: len(named)] == named
        assert keys[1:] == list(case.facts["steps"][0]["state"])


@every_type
def test_the_gradient_of_two_devices_is_the_mean_of_their_sums(shared: Path, dtype: str) -> None:
    case, factor = case_of(shared, "b_twodev"), DTYPES[dtype]
    training = case.training(type_of(dtype))
    form = forms(training.network)
    sums: dict[str, list[np.ndarray]] = {name: [] for name in form}
    for device in (0, 1):
        batch = case.batch(type_of(dtype), slice(device, device + 1))
        training.generator_losses(batch, *training._targets(batch)).total.sum().backward()
        for name, one in form.items():
            sums[name].append(one.to_file(one.parameter.grad))
            assert summary_difference(sums[name][-1], case.facts[f"grad_dev{device}"][name]) <= 2.5e-3 * factor
        training.optimizer.clear_gradients()
    for name, (one, other) in sums.items():
        assert summary_difference((one + other) / 2, case.facts["grad"][name]) <= 2.5e-3 * factor, name


@pytest.mark.parametrize(("name", "key"), [("b_lrcos", "lr_cos"), ("b_lrcos_combined", "lr_cos_combined")])
def test_the_cosine_takes_the_counter_as_it_was_before_the_step(shared: Path, name: str, key: str) -> None:
    schedule = Schedule(rate=1.0, dropout_cosine=True)
    for one in case_of(shared, name).facts[key]:
        ours = schedule.at(one["iters_after"] - 1)
        assert ours == pytest.approx(one["factor_if_before"], rel=1e-12)
        measured = one.get("factor_measured") or [mean for mean, _, _ in one["factor_mean_min_max_over_tensors"]]
        assert ours == pytest.approx(np.mean(measured), rel=2e-3)


# -- what is compared with what


def compare(found: torch.Tensor, expected: Sequence[float], tolerance: float) -> None:
    ours = found.detach().double().numpy().ravel()
    assert np.abs(ours / np.array(expected) - 1).max() <= tolerance


def compare_losses(
    facts: Mapping[str, Any], training: TrainingStep, case: Case, dtype: str, *, after: str = ""
) -> None:
    batch = case.batch(type_of(dtype))
    with torch.no_grad():
        losses = training.generator_losses(batch, *training._targets(batch))
    tolerance = (6e-6 if case.options["resolution"] == 256 else 5e-6 if after else 3e-6) * DTYPES[dtype]
    for ours, key in ((losses.src, "src_loss"), (losses.dst, "dst_loss"), (losses.total, "G_loss")):
        compare(ours, facts[key + after], tolerance)


def compare_gradients(
    case: Case, key: str, optimizer: Optimizer, form: Mapping[str, FileTensor], factor: float, *, style: bool
) -> None:
    squares = errors = 0.0
    for name, one in form.items():
        if not one.parameter.requires_grad:
            assert one.parameter.grad is None
            continue
        ours = one.to_file(one.parameter.grad)
        if f"{key}/{name}" in case.arrays:
            expected = np.asarray(case.arrays[f"{key}/{name}"], np.float64)
            assert relative(ours, expected) <= (1.2e-3 if style else 4e-4) * factor, name
            errors += float(((ours - expected) ** 2).sum())
            squares += float((expected**2).sum())
        else:
            assert summary_difference(ours, case.facts[key][name]) <= 2.5e-3 * factor, name
    assert errors <= (4e-5 * factor) ** 2 * squares


def compare_changes(
    expected: Mapping[str, Sequence[float]],
    optimizer: Optimizer,
    form: Mapping[str, FileTensor],
    before: Sequence[torch.Tensor],
    tolerance: float,
) -> None:
    for name, weight, old in zip(optimizer.names, optimizer.weights, before, strict=True):
        change = form[name].to_file(weight.detach().double() - old.double())
        rounding = WEIGHT_ROUNDING / expected[name][5] if expected[name][5] else 0.0
        assert summary_difference(change, expected[name]) <= tolerance + rounding, name


def compare_states(
    expected: Mapping[str, Sequence[float]],
    optimizer: Optimizer,
    form: Mapping[str, FileTensor],
    file: str,
    tolerance: float,
) -> None:
    for name, ours in accumulators(optimizer, form, file):
        assert summary_difference(ours, expected[name]) <= tolerance, name


def accumulators(optimizer: Optimizer, form: Mapping[str, FileTensor], file: str) -> Iterator[tuple[str, np.ndarray]]:
    for which, accumulator in enumerate(optimizer.rule.accumulators):
        for number, name in enumerate(optimizer.names):
            values = form[name].to_file(optimizer.accumulator(which, number))
            yield f"{file}/{accumulator_key(accumulator, name)}", values


class RecordedMasks:
    """The masks of LR dropout that DeepFaceLab was made to use, the same at each step."""

    def __init__(self, recorded: Sequence[torch.Tensor]) -> None:
        self.recorded = recorded

    def masks(self, _steps_done: int, _weights: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        return iter(self.recorded)


def use_recorded_masks(optimizer: Optimizer, form: Mapping[str, FileTensor], case: Case) -> None:
    if "mask_order" not in case.facts:
        return
    assert case.facts["mask_order"] == list(optimizer.names)
    recorded = []
    for name in optimizer.names:
        shape = form[name].file_shape
        bits = np.unpackbits(case.arrays[f"mask/{name}"])[: int(np.prod(shape))]
        recorded.append(form[name].from_file(bits.reshape(shape).astype(np.float32)))
    optimizer.settings = replace(optimizer.settings, lr_dropout=RecordedMasks(recorded))
