"""A whole step: accumulation, what is trained when, precision; and a second program that gives the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from benchmarks.plain_saehd import PlainStep  # noqa: E402
from trainer.architectures.names import part_tensors  # noqa: E402
from trainer.assembly import training_step_of  # noqa: E402
from trainer.errors import SettingsError  # noqa: E402
from trainer.losses.batch import Batch, Side  # noqa: E402
from trainer.losses.extra import extra_loss  # noqa: E402
from trainer.losses.saehd_losses import LossSettings  # noqa: E402
from trainer.networks import networks_of  # noqa: E402
from trainer.precision import checked_precision  # noqa: E402
from trainer.training_step import TrainingStep  # noqa: E402

OPTIONS: dict[str, object] = {
    "archi": "df-ud", "resolution": 64, "ae_dims": 4, "e_dims": 4, "d_dims": 4, "d_mask_dims": 2, "random_warp": True,
    "true_face_power": 0.5, "gan_power": 0.1, "gan_patch_size": 8, "gan_dims": 4, "face_style_power": 5.0,
    "bg_style_power": 5.0, "eyes_mouth_prio": True, "blur_out_mask": True, "lr_dropout": "y", "clipgrad": True,
}  # fmt: skip
CPU = torch.device("cpu")


def batch_of(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def pictures(channels: int) -> torch.Tensor:
        coarse = torch.rand(count, channels, 6, 6, generator=generator, dtype=dtype)
        return torch.nn.functional.interpolate(coarse, size=64, mode="bilinear")

    src, dst = (Side(pictures(3), pictures(3), pictures(1), pictures(1)) for _ in range(2))
    return Batch(src, dst)


def part_of(batch: Batch, rows: slice) -> Batch:
    src, dst = (Side(s.warped[rows], s.target[rows], s.mask[rows], s.eyes_mouth[rows]) for s in (batch.src, batch.dst))
    return Batch(src, dst)


def training_of(dtype: torch.dtype = torch.float32, **changed: object) -> TrainingStep:
    torch.set_num_threads(1)
    options = OPTIONS | changed
    networks = networks_of(options, seed=2)
    for network in (networks.saehd, networks.code_discriminator, networks.patch_discriminator):
        if network is not None:
            network.to(dtype)
    return training_step_of(networks, options, LossSettings.from_options(options), seed=9)


def weights_of(training: TrainingStep) -> list[torch.Tensor]:
    judges = [judge.optimizer for judge in (training.code_judge, training.patch_judge) if judge is not None]
    return [one.detach().clone() for optimizer in (training.optimizer, *judges) for one in optimizer.weights]


def test_several_batches_are_one_step_on_the_larger_batch() -> None:
    whole = batch_of(3, dtype=torch.float64)
    results = []
    for batches in ([whole], [part_of(whole, slice(0, 1)), part_of(whole, slice(1, 3))]):
        training = training_of(torch.float64)
        shown = [training(batches) for _ in range(3)]
        results.append(
            (weights_of(training), [float(one.src) for one in shown], [one.patch_discriminator for one in shown])
        )
    for one, other in zip(results[0][0], results[1][0], strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-9)
    assert results[0][1] == pytest.approx(results[1][1])
    assert [float(one) for one in results[0][2]] == pytest.approx([float(one) for one in results[1][2]])


def test_the_same_steps_twice_give_the_same_bits() -> None:
    results = []
    for _ in range(2):
        training = training_of()
        for number in range(3):
            training([batch_of(2, number)])
        results.append(weights_of(training))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_generators_step_leaves_no_gradient_in_a_discriminator() -> None:
    training = training_of()
    batch = batch_of(1)
    training.generator_losses(batch, *training._targets(batch)).total.sum().backward()
    assert training.patch_judge is not None
    assert training.code_judge is not None
    for judge in (training.patch_judge, training.code_judge):
        assert all(weight.grad is None and weight.requires_grad for weight in judge.network.parameters())


def test_pretraining_trains_no_discriminator_and_neither_styles_nor_gan() -> None:
    training = training_of(pretrain=True)
    assert training.patch_judge is None
    assert training.code_judge is not None
    before = [one.detach().clone() for one in training.code_judge.optimizer.weights]
    shown = training([batch_of(1)])
    assert shown.code_discriminator is None
    assert all(torch.equal(a, b) for a, b in zip(before, training.code_judge.optimizer.weights, strict=True))
    assert training.losses.branches.isdisjoint(("src_dst", "src_dst_of_stopped_code"))
    assert training.optimizer.settings.lr_dropout is None


def test_an_unwarped_liae_keeps_inter_ab() -> None:
    training = training_of(archi="liae-ud", random_warp=False)
    before = [one.detach().clone() for one in training.network.inter_AB.parameters()]
    training([batch_of(1)])
    assert all(torch.equal(a, b) for a, b in zip(before, training.network.inter_AB.parameters(), strict=True))


def test_an_extra_loss_counts_with_its_weight() -> None:
    batch = batch_of(2)
    training = training_of(gan_power=0.0, true_face_power=0.0)
    targets = training._targets(batch)
    with torch.no_grad():
        plain = training.generator_losses(batch, *targets)
        training.losses = LossSettings.from_options(OPTIONS | {"gan_power": 0.0}, extra=(extra_loss("l1", 3.0),))
        more = training.generator_losses(batch, *targets)
        answers = training.network(batch.src.warped, batch.dst.warped, frozenset(["dst_dst"]))
    expected = 3.0 * (targets[1].masked - targets[1].inside(answers["dst_dst"])).abs().mean((1, 2, 3))
    assert torch.allclose(more.dst - plain.dst, expected, atol=1e-5)


def test_in_bfloat16_losses_stay_in_float32_and_near_those_of_float32() -> None:
    batch = batch_of(2)
    training = training_of()
    with torch.no_grad():
        exact = training.generator_losses(batch, *training._targets(batch))
        training.precision = "bf16"
        rough = training.generator_losses(batch, *training._targets(batch))
    assert rough.total.dtype == torch.float32
    assert torch.allclose(rough.total, exact.total, rtol=0.02)
    assert not torch.equal(rough.total, exact.total)


def test_a_precision_that_cannot_work_is_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError, match="fp16 is refused"):
        checked_precision("fp16", torch.device("cuda"))
    with pytest.raises(SettingsError, match="tf32 is refused on a CPU"):
        checked_precision("tf32", CPU)
    with pytest.raises(SettingsError, match="none of avx512_bf16, amx_bf16"):
        checked_precision("bf16", CPU, frozenset(["avx2"]))
    with pytest.raises(SettingsError, match="expected fp32, tf32, bf16"):
        checked_precision("double", CPU)
    assert checked_precision("bf16", CPU, frozenset(["amx_bf16"])) == "bf16"
    assert checked_precision("tf32", torch.device("cuda")) == "tf32"


@pytest.mark.parametrize("archi", ["df-udt", "liae-ud", "df", "liae-udtc"])
def test_the_plain_program_of_the_benchmark_gives_the_same_losses_for_steps(archi: str) -> None:
    options = {key: OPTIONS[key] for key in ("resolution", "ae_dims", "e_dims", "d_dims", "d_mask_dims")}
    networks = networks_of(options | {"archi": archi}, seed=4)
    weights = {f"{part}/{key}": one for part, module in networks.saehd.named_children()
               for key, one in part_tensors(module).items()}  # fmt: skip
    plain = PlainStep(archi, 64, weights)
    networks.saehd.to(memory_format=torch.channels_last)
    step = training_step_of(networks, {"archi": archi}, LossSettings(), seed=1)
    batch = batch_of(2)
    sides = [(side.warped, side.target, side.mask) for side in (batch.src, batch.dst)]
    for _ in range(3):
        ours = step([batch])
        assert np.allclose([float(ours.src), float(ours.dst)], plain(*sides), rtol=3e-5)
