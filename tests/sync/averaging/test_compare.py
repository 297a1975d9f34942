"""Comparing: who trains the same network, from the same start."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfl.training_state import read_training_state
from dfl.weights import index_weights
from sync.averaging.compare import agree_on_options, agree_on_start, agree_on_tensors, warn_of_learning_rates

PARTS = ("encoder.npy", "inter_AB.npy", "inter_B.npy", "decoder.npy")
OPTIONS = {"archi": "liae-ud", "resolution": 128, "ae_dims": 256, "batch_size": 8, "adabelief": True, "gan_dims": 16}


def options(**changed: object) -> dict[str, object]:
    return {**OPTIONS, **changed}


def test_golden_machines_agree_and_the_mismatched_one_is_named(shared: Path) -> None:
    models = shared / "golden/models"
    machines = ("machine_a", "machine_b", "machine_c", "machine_mismatch")
    read = {name: read_training_state(models / name / "alice_SAEHD_data.dat").options for name in machines}
    agreement = agree_on_options(read, PARTS)
    assert agreement.agreed == ("machine_a", "machine_b", "machine_c")
    assert "ae_dims is 5, not 3" in agreement.refused["machine_mismatch"]
    layouts = {
        name: {part: index_weights(models / name / f"alice_SAEHD_{part}") for part in PARTS} for name in machines
    }
    agreement = agree_on_tensors(layouts)
    assert agreement.agreed == ("machine_a", "machine_b", "machine_c")
    assert "decoder.npy has 36 tensors" in agreement.refused["machine_mismatch"]


@pytest.mark.parametrize(
    ("name", "value"), [("archi", "liae-udc"), ("archi", "df-ud"), ("resolution", 256), ("pretrain", True)]
)
def test_another_network_is_refused_even_where_no_shape_differs(name: str, value: object) -> None:
    agreement = agree_on_options({"gpu0": options(), "gpu1": options(), "gpu2": options(**{name: value})}, PARTS)
    assert agreement.agreed == ("gpu0", "gpu1")
    assert f"{name} is " in agreement.refused["gpu2"]


def test_the_order_of_architecture_flags_does_not_matter() -> None:
    agreement = agree_on_options({"gpu0": options(), "gpu1": options(archi="liae-du")}, PARTS)
    assert agreement.agreed == ("gpu0", "gpu1")


def test_the_optimizer_and_the_gan_count_only_where_their_files_are_averaged() -> None:
    machines = {"gpu0": options(), "gpu1": options(), "gpu2": options(adabelief=False, gan_dims=32)}
    assert agree_on_options(machines, PARTS).agreed == ("gpu0", "gpu1", "gpu2")
    assert "adabelief" in agree_on_options(machines, [*PARTS, "src_dst_opt.npy"]).refused["gpu2"]
    assert "gan_dims is 32, not 16" in agree_on_options(machines, [*PARTS, "GAN.npy"]).refused["gpu2"]


def test_another_batch_size_is_told_not_refused() -> None:
    agreement = agree_on_options({"gpu0": options(), "gpu1": options(batch_size=4)}, PARTS)
    assert agreement.agreed == ("gpu0", "gpu1")
    assert agreement.warnings == ("option batch_size differs: gpu0 8, gpu1 4",)


def test_two_machines_that_differ_have_no_majority() -> None:
    agreement = agree_on_options({"gpu0": options(), "gpu1": options(resolution=256)}, PARTS)
    assert agreement.agreed == ()
    assert agreement.refused == {
        "gpu0": "other than gpu1: resolution is 128, not 256",
        "gpu1": "other than gpu0: resolution is 256, not 128",
    }


def test_a_machine_without_one_of_the_files_is_named(shared: Path) -> None:
    folder = shared / "golden/models/machine_a"
    whole = {part: index_weights(folder / f"alice_SAEHD_{part}") for part in PARTS}
    lacking = {part: layout for part, layout in whole.items() if part != "inter_B.npy"}
    agreement = agree_on_tensors({"gpu0": whole, "gpu1": whole, "gpu2": lacking})
    assert agreement.refused == {"gpu2": "other than gpu0: inter_B.npy is missing"}


def test_machines_with_another_start_or_none_are_refused() -> None:
    agreement = agree_on_start({"gpu0": "aa11", "gpu1": "bb22", "gpu2": ""}, "aa11")
    assert agreement.agreed == ("gpu0",)
    assert "bb22" in agreement.refused["gpu1"]
    assert "dfld sync init" in agreement.refused["gpu2"]


def test_machines_at_other_places_of_the_learning_rates_wave_are_told() -> None:
    own = {"gpu0": options(lr_dropout="y"), "gpu1": options(lr_dropout="cpu"), "gpu2": options(lr_dropout="n")}
    (told,) = warn_of_learning_rates({"gpu0": 5000, "gpu1": 9250, "gpu2": 0}, own)
    assert "gpu0 at 100%, gpu1 at 0%" in told
    assert "gpu2" not in told
    assert warn_of_learning_rates({"gpu0": 5000, "gpu1": 10_500}, own) == ()
    assert warn_of_learning_rates({"gpu0": 5000, "gpu2": 250}, own) == ()
