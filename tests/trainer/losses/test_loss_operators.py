"""The operators that losses are made of, against DeepFaceLab's results and against formulas written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trainer.errors import SettingsError  # noqa: E402
from trainer.losses.adversarial import are_taken_for, total_variation  # noqa: E402
from trainer.losses.blur import blur, without_background  # noqa: E402
from trainer.losses.dssim import dssim  # noqa: E402
from trainer.losses.extra import LOSSES, extra_loss, log_cosh, smooth_l1  # noqa: E402
from trainer.losses.style import style  # noqa: E402

DSSIM_TOLERANCES = {22: 2e-5, 11: 2e-5, 8: 4e-6, 5: 4e-6, 2: 4e-6, 1: 4e-6}


@pytest.fixture(scope="module")
def ops(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "golden" / "numerics" / "v2" / "ops2.npz"))


def pictures(ops: dict[str, np.ndarray], name: str, dtype: torch.dtype) -> torch.Tensor:
    values = ops[name].astype(np.float32) / np.float32(255)
    return torch.from_numpy(values.transpose(0, 3, 1, 2).copy()).to(dtype)


@pytest.mark.parametrize(("dtype", "factor"), [(torch.float64, 1.05), (torch.float32, 2.0)])
def test_operators_give_what_deepfacelab_gave(ops: dict[str, np.ndarray], dtype: torch.dtype, factor: float) -> None:
    x, y = pictures(ops, "x_u8", dtype), pictures(ops, "y_u8", dtype)
    for size, tolerance in DSSIM_TOLERANCES.items():
        assert np.abs(dssim(x, y, size).numpy() - ops[f"dssim_{size}"]).max() <= tolerance * factor, size
    for radius in (8, 4, 3, 2, 1, 0.5):
        ours = blur(x, radius).numpy().transpose(0, 2, 3, 1)[:, ::3, ::3]
        assert np.abs(ours - ops[f"blur_{radius}"]).max() <= 1.2e-6 * factor, radius
    assert np.allclose(style(x, y, 8, 1000), ops["style_8_1000"], rtol=3e-5 * factor, atol=0)
    assert np.allclose(total_variation(x, "rows_columns"), ops["tv_nhwc"], rtol=6e-7 * factor, atol=0)
    assert np.allclose(total_variation(x, "channels_rows"), ops["tv_nchw"], rtol=6e-7 * factor, atol=0)


def test_cross_entropy_with_a_constant_label_is_torchs() -> None:
    logits = torch.randn(3, 1, 4, 4, dtype=torch.float64) * 5
    for label in (0.0, 1.0):
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.full_like(logits, label), reduction="none"
        )
        assert torch.allclose(are_taken_for(logits, label), expected.mean((1, 2, 3)))


def test_without_its_background_a_target_is_itself_inside_and_blurred_outside() -> None:
    target = torch.rand(1, 3, 128, 128)
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 32:96, 32:96] = 1
    found = without_background(target, mask)
    assert torch.equal(found[..., 40:88, 40:88], target[..., 40:88, 40:88])
    assert found[..., :8, :].var() < target[..., :8, :].var()
    assert torch.isfinite(without_background(target, torch.ones_like(mask))).all()


@pytest.mark.parametrize("name", LOSSES)
def test_an_extra_loss_is_nothing_for_equal_pictures_and_grows_with_the_difference(name: str) -> None:
    target = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    loss = extra_loss(name, 0.5).loss
    values = [loss(target, target + amount * noise) for amount in (0.0, 0.02, 0.1)]
    assert all(value.shape == (2,) for value in values)
    assert values[0].abs().max() < 1e-5
    assert (values[0] < values[1]).all()
    assert (values[1] < values[2]).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_an_extra_loss_is_finite_where_pictures_are_equal(name: str) -> None:
    target = torch.rand(1, 3, 32, 32)
    prediction = target.clone().requires_grad_()
    LOSSES[name](target, prediction).sum().backward()
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


def test_log_cosh_and_smooth_l1_have_their_formulas() -> None:
    one, other = torch.full((1, 3, 2, 2), 0.7, dtype=torch.float64), torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    assert float(log_cosh(one, other)) == pytest.approx(np.log(np.cosh(0.7)))
    assert float(smooth_l1(one, other)) == pytest.approx(0.7 - 0.05)


def test_a_users_own_loss_is_found_by_its_name_and_what_is_none_is_refused() -> None:
    found = extra_loss("torch.nn.functional:mse_loss", 2.0)
    assert found.loss is torch.nn.functional.mse_loss
    with pytest.raises(SettingsError, match="there is no loss perceptual, expected ms_ssim"):
        extra_loss("perceptual", 1.0)
    with pytest.raises(SettingsError, match="was not found"):
        extra_loss("no_such_module:loss", 1.0)
