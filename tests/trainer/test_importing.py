"""Weights taken from one model into another: what is taken, what stays, and what becomes of the means."""

from __future__ import annotations

import numpy as np
import pytest

from dfl.model_files import ModelName
from tests.model_rig import made_model
from trainer.errors import ModelFolderError
from trainer.importing import import_weights

BOB = ModelName("bob", "SAEHD")


def test_the_named_parts_are_taken_by_name_and_nothing_else_changes() -> None:
    source, target = made_model(seed=1), made_model(BOB, seed=2)
    done = import_weights(source, target, ["encoder", "decoder_dst"], match="name")
    assert (
        done.loaded == len(done.tensors) == len(source.tensors["encoder.npy"]) + len(source.tensors["decoder_dst.npy"])
    )
    for part in source.tensors:
        if part.endswith("_opt.npy"):
            continue
        expected = source if part in ("encoder.npy", "decoder_dst.npy") else target
        for name, values in done.model.tensors[part].items():
            np.testing.assert_array_equal(values, expected.tensors[part][name])
    assert done.model.data is target.data


def test_the_means_of_taken_tensors_are_zero_and_all_others_kept() -> None:
    source, target = made_model(seed=1, gan_power=0.1), made_model(BOB, seed=2, gan_power=0.1)
    done = import_weights(source, target, ["encoder", "GAN"], match="name")
    for part in ("src_dst_opt.npy", "GAN_opt.npy"):
        for key, values in done.model.tensors[part].items():
            if "_encoder/" in key or "_D_src/" in key:
                assert not values.any()
            else:
                np.testing.assert_array_equal(values, target.tensors[part][key])


def test_what_has_another_shape_or_no_counterpart_keeps_its_values_and_is_named() -> None:
    source, target = made_model(seed=1, ae_dims=np.int64(4)), made_model(BOB, seed=2)
    done = import_weights(source, target, ["encoder", "inter"], match="name")
    outcomes = {f"{one.part}/{one.name}": one.outcome for one in done.tensors}
    assert outcomes["inter/dense1/weight:0"] == "shape differs"
    name = "dense1/weight:0"
    assert done.model.tensors["inter.npy"][name] is target.tensors["inter.npy"][name]
    deeper = import_weights(made_model(seed=1, archi="df-ud"), made_model(BOB, archi="df-udt"), ["encoder", "decoder_src"], match="name")  # fmt: skip  # noqa: E501
    assert {"missing", "loaded"} <= {one.outcome for one in deeper.tensors}


def test_a_part_may_be_taken_from_one_of_another_name_and_tensors_by_shape() -> None:
    source, target = made_model(seed=1), made_model(BOB, seed=2)
    done = import_weights(source, target, ["decoder_dst=decoder_src"], match="shape")
    for name, values in done.model.tensors["decoder_dst.npy"].items():
        np.testing.assert_array_equal(values, source.tensors["decoder_src.npy"][name])
    sources = [one.source for one in done.tensors]
    assert len(set(sources)) == len(sources)
    assert sources[0].startswith("decoder_src/")


def test_unknown_parts_and_an_import_of_nothing_are_refused() -> None:
    source, target = made_model(seed=1), made_model(BOB, seed=2)
    for parts in (["nose"], ["encoder=nose"], ["src_dst_opt"]):
        with pytest.raises(ModelFolderError, match="has no part") as caught:
            import_weights(source, target, parts, match="name")
        assert "encoder" in caught.value.hint
    with pytest.raises(ModelFolderError, match="no tensor of"):
        import_weights(source, target, ["inter=encoder"], match="name")


def test_architectures_of_equal_shapes_and_other_functions_are_named() -> None:
    done = import_weights(made_model(archi="df-d"), made_model(BOB, archi="df-udc"), ["encoder"], match="name")
    assert done.differing_archi == "df-d and df-udc"
    assert import_weights(made_model(), made_model(BOB), ["encoder"], match="name").differing_archi == ""
