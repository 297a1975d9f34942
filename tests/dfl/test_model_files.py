"""Which files a model has follows from its class and its options; a file name says whose it is."""

from __future__ import annotations

import pytest

from dfl.model_files import ModelName, optimizer_parts, split_file_name, weight_parts


@pytest.mark.parametrize(
    ("model_class", "options", "expected"),
    [
        ("SAEHD", {"archi": "liae-ud"}, "encoder inter_AB inter_B decoder"),
        ("SAEHD", {"archi": "df-udt"}, "encoder inter decoder_src decoder_dst"),
        (
            "SAEHD",
            {"archi": "df", "true_face_power": 0.1},
            "encoder inter decoder_src decoder_dst code_discriminator",
        ),
        ("SAEHD", {"archi": "liae", "gan_power": 0.1}, "encoder inter_AB inter_B decoder GAN"),
        ("SAEHD", {"archi": "liae", "gan_power": 0.1, "pretrain": True}, "encoder inter_AB inter_B decoder"),
        ("AMP", {}, "encoder inter_src inter_dst decoder"),
        ("Quick96", {}, "encoder inter decoder_src decoder_dst"),
        ("XSeg", {}, "256"),
        ("Q512", {}, "a b"),
    ],
)
def test_the_files_in_use_follow_from_class_and_options(model_class: str, options: dict, expected: str) -> None:
    present = ["a.npy", "b.npy", "b_opt.npy", "data.dat"]
    assert weight_parts(ModelName("x", model_class), options, present) == tuple(
        f"{part}.npy" for part in expected.split()
    )


def test_optimizer_files_are_those_that_belong_and_are_there() -> None:
    model = ModelName("x", "SAEHD")
    present = ["src_dst_opt.npy", "GAN_opt.npy", "D_code_opt.npy"]
    assert optimizer_parts(model, {"archi": "liae"}, present) == ("src_dst_opt.npy",)
    assert optimizer_parts(model, {"archi": "liae", "gan_power": 1}, present) == ("src_dst_opt.npy", "GAN_opt.npy")
    assert optimizer_parts(ModelName("x", "XSeg"), {}, ["256_opt.npy"]) == ("256_opt.npy",)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alice two_SAEHD_encoder.npy", ("alice two_SAEHD", "encoder.npy")),
        ("alice_SAEHD_src_dst_opt.npy", ("alice_SAEHD", "src_dst_opt.npy")),
        ("XSeg_256.npy", ("XSeg", "256.npy")),
        ("alice_SAEHDx_encoder.npy", None),
        ("encoder.npy", None),
    ],
)
def test_a_file_name_says_whose_part_it_is(name: str, expected: tuple[str, str] | None) -> None:
    assert split_file_name(name) == expected
