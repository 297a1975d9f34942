"""What each file must hold, against networks that DeepFaceLab itself made."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dfl.weights import index_weights
from trainer.errors import SpecError
from trainer.model_folder.expected_tensors import optimizer_shapes, trained_parts, weight_shapes

DIMS = {"ae_dims": 3, "e_dims": 2, "d_dims": 2, "d_mask_dims": 1}


def golden_shapes(path: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    with np.load(path) as file:
        shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        for key in file:
            part, _, name = key.partition("/")
            shapes.setdefault(part, {})[name] = file[key].shape
    return shapes


def test_the_parts_of_every_architecture_are_deepfacelabs_in_name_shape_and_order(shared: Path) -> None:
    paths = sorted((shared / "golden/numerics/v2").glob("w_*.npz"))
    found = [(path, one) for path in paths if (one := re.fullmatch(r"w_((?:df|liae).*)_(\d+)", path.stem))]
    assert len(found) >= 7
    for path, (archi, resolution) in [(path, one.groups()) for path, one in found]:
        options = {**DIMS, "archi": archi, "resolution": int(resolution)}
        for part, shapes in golden_shapes(path).items():
            assert list(weight_shapes(f"{part}.npy", options).items()) == list(shapes.items()), (archi, part)


@pytest.mark.parametrize(("file", "dims", "patch"), [("gan16", 16, 16), ("gan4", 4, 16), ("gan_p8_nomask", 4, 8)])
def test_the_gan_is_deepfacelabs(shared: Path, file: str, dims: int, patch: int) -> None:
    [shapes] = golden_shapes(shared / f"golden/numerics/v2/w_disc_b_{file}.npz").values()
    options = {**DIMS, "archi": "liae-udt", "resolution": 64, "gan_dims": dims, "gan_patch_size": patch}
    assert list(weight_shapes("GAN.npy", options).items()) == list(shapes.items())


def test_the_code_discriminator_is_deepfacelabs(shared: Path) -> None:
    [shapes] = golden_shapes(shared / "golden/numerics/v2/w_disc_b_trueface.npz").values()
    options = {**DIMS, "archi": "df-udt", "resolution": 64}
    assert list(weight_shapes("code_discriminator.npy", options).items()) == list(shapes.items())


def test_the_optimizers_file_is_deepfacelabs(shared: Path) -> None:
    layout = index_weights(shared / "golden/models/machine_a/alice_SAEHD_src_dst_opt.npy")
    options = {**DIMS, "archi": "liae-ud", "resolution": 64}
    parts = ("encoder.npy", "inter_AB.npy", "inter_B.npy", "decoder.npy", "GAN.npy")
    trained = {part: weight_shapes(part, options) for part in trained_parts("src_dst_opt.npy", parts)}
    expected = optimizer_shapes(trained, ("ms", "vs"))
    assert list(expected.items()) == [(tensor.name, tensor.shape) for tensor in layout.tensors]


def test_each_optimizer_has_its_own_parts() -> None:
    parts = ("encoder.npy", "code_discriminator.npy", "GAN.npy")
    assert trained_parts("src_dst_opt.npy", parts) == ("encoder.npy",)
    assert trained_parts("GAN_opt.npy", parts) == ("GAN.npy",)
    assert trained_parts("D_code_opt.npy", parts) == ("code_discriminator.npy",)


@pytest.mark.parametrize(
    "wrong", [{"archi": "df-x"}, {"archi": 3}, {"resolution": 65}, {"ae_dims": 0}, {"e_dims": 2**40}, {"d_dims": True}]
)
def test_options_that_no_network_can_be_made_of_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=next(iter(wrong))):
        weight_shapes("encoder.npy", {**DIMS, "archi": "df", "resolution": 64, **wrong})
