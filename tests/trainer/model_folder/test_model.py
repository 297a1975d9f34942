"""Models read and saved: golden ones byte for byte, made ones of every kind, broken ones refused by name."""

from __future__ import annotations

import pickle
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DfldError
from dfl.pickles.dumping import dump_for_dfl
from tests.model_rig import ALICE, contents, made_model, saved_model
from trainer.errors import ModelFolderError, SaveError
from trainer.model_folder.examination import examine
from trainer.model_folder.model import Model, read_model, save_model


@pytest.mark.parametrize("machine", ["machine_a", "machine_b", "machine_c"])
def test_a_golden_model_is_read_and_saved_again_byte_for_byte(shared: Path, tmp_path: Path, machine: str) -> None:
    golden = shared / "golden/models" / machine
    source = tmp_path / "model"
    source.mkdir()
    for path in golden.iterdir():
        shutil.copyfile(path, source / path.name)
    if not (golden / "alice_SAEHD_src_dst_opt.npy").exists():
        with pytest.raises(ModelFolderError, match=r"lacks alice_SAEHD_src_dst_opt\.npy"):
            read_model(source, ALICE)
        shutil.copyfile(
            shared / "golden/models/machine_a/alice_SAEHD_src_dst_opt.npy", source / "alice_SAEHD_src_dst_opt.npy"
        )
    before = contents(source)
    save_model(source, read_model(source, ALICE), device="CPU")
    assert contents(source).keys() == before.keys()
    assert {name for name in before if contents(source)[name] != before[name]} <= {"alice_SAEHD_summary.txt"}


def test_the_summary_is_deepfacelabs(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden/models/machine_a"
    for path in golden.iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    before = (golden / "alice_SAEHD_summary.txt").read_text().replace("alice_SAEHD", "alice_SAEHD")
    save_model(tmp_path, read_model(tmp_path, ALICE), device="CPU")
    assert (tmp_path / "alice_SAEHD_summary.txt").read_text() == before


def test_a_golden_file_is_the_same_without_the_one_before_it_as_a_template(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden/models/machine_a"
    save_model(tmp_path, read_model(golden, ALICE), device="CPU")
    for path in golden.glob("*.npy"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


KINDS: list[dict[str, Any]] = [
    {"archi": "df"}, {"archi": "liae-udtc"}, {"archi": "df-t", "true_face_power": 0.5}, {"adabelief": False},
    {"archi": "liae-ud", "gan_power": 0.1}, {"gan_power": 0.1, "true_face_power": 0.1, "adabelief": False},
    {"gan_power": 0.1, "pretrain": True},
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_any_kind_is_read_as_it_was_saved_and_saved_again_byte_for_byte(
    tmp_path: Path, kind: dict[str, Any]
) -> None:
    made = saved_model(tmp_path, **kind)
    found = read_model(tmp_path, ALICE)
    require_same(found, made)
    before = contents(tmp_path)
    save_model(tmp_path, found, device="CPU")
    assert contents(tmp_path) == before
    assert examine(tmp_path, ALICE).problems == ()


def require_same(found: Model, made: Model) -> None:
    assert list(found.tensors) == list(made.tensors)
    for part, tensors in made.tensors.items():
        assert list(found.tensors[part]) == list(tensors)
        for name, values in tensors.items():
            np.testing.assert_array_equal(found.tensors[part][name], values)
            assert found.tensors[part][name].dtype == values.dtype
    assert found.data.options == made.data.options
    assert found.data.content["loss_history"] == made.data.content["loss_history"]


def test_every_file_unpickles_as_in_deepfacelab(tmp_path: Path) -> None:
    made = saved_model(tmp_path, gan_power=0.1)
    for part, tensors in made.tensors.items():
        content = pickle.loads((tmp_path / f"alice_SAEHD_{part}").read_bytes())
        assert list(content) == list(tensors)
        if part.endswith("_opt.npy"):
            assert type(content["iters:0"]) is np.int64
    data = pickle.loads((tmp_path / "alice_SAEHD_data.dat").read_bytes())
    assert list(data) == ["iter", "options", "loss_history", "sample_for_preview", "choosed_gpu_indexes"]


def test_only_what_is_changed_changes_in_data_dat(tmp_path: Path) -> None:
    model = saved_model(tmp_path)
    changed = model.data.changed(iteration=11, options={"batch_size": 8}, losses=[[0.5, np.float32(0.25)]])
    save_model(tmp_path, Model(model.name, changed, model.tensors), device="CPU")
    data = pickle.loads((tmp_path / "alice_SAEHD_data.dat").read_bytes())
    assert (data["iter"], data["options"]["batch_size"], data["loss_history"][-1]) == (11, 8, [0.5, 0.25])
    assert type(data["loss_history"][-1][1]) is float
    assert len(data["loss_history"]) == 11
    np.testing.assert_array_equal(data["sample_for_preview"], np.array(model.data.content["sample_for_preview"]))


def test_every_missing_file_is_refused_by_name_and_drawn_anew_only_where_that_is_said(tmp_path: Path) -> None:
    saved_model(tmp_path, gan_power=0.1)
    for path in sorted(tmp_path.glob("*.npy")):
        kept = path.read_bytes()
        path.unlink()
        stem = path.stem.removeprefix("alice_SAEHD_")
        with pytest.raises(ModelFolderError, match=path.name) as caught:
            read_model(tmp_path, ALICE)
        assert "from a backup" in caught.value.hint
        model = read_model(tmp_path, ALICE, to_draw=[stem])
        assert model.to_draw == (f"{stem}.npy",)
        with pytest.raises(SaveError, match="hold no values"):
            save_model(tmp_path, model, device="CPU")
        path.write_bytes(kept)
    with pytest.raises(ModelFolderError, match="no part 'nose'"):
        read_model(tmp_path, ALICE, to_draw=["nose"])


def tampered(path: Path, change: Any) -> None:
    content = pickle.loads(path.read_bytes())
    change(content)
    path.write_bytes(dump_for_dfl(content))


NAME = "dense1/weight:0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(NAME), "dense1/weight:0 is missing"),
        (lambda tensors: tensors.update({NAME: tensors[NAME].T.copy()}), "has the shape"),
        (lambda tensors: tensors.update({NAME: tensors[NAME].reshape(-1)}), "has the shape"),
        (lambda tensors: tensors.update({NAME: tensors[NAME].astype(np.int32)}), "expected floats"),
        (lambda tensors: tensors.update({"more:0": np.zeros(3, np.float32)}), "belongs to no such network"),
        (lambda tensors: tensors.update({NAME: tensors[NAME] * np.float32("nan")}), "not finite"),
        (lambda tensors: tensors.update({NAME: tensors[NAME].astype(np.float64) + 1e300}), "not finite"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_file_and_name(tmp_path: Path, change: Any, said: str) -> None:
    saved_model(tmp_path)
    tampered(tmp_path / "alice_SAEHD_inter.npy", change)
    with pytest.raises(ModelFolderError, match=said) as caught:
        read_model(tmp_path, ALICE)
    assert "alice_SAEHD_inter.npy" in caught.value.message
    assert any(said in problem for problem in examine(tmp_path, ALICE).problems)


def test_half_and_double_precision_become_single_as_in_deepfacelab(tmp_path: Path) -> None:
    model = saved_model(tmp_path)
    tampered(tmp_path / "alice_SAEHD_inter.npy", lambda t: t.update({NAME: t[NAME].astype(np.float16)}))
    tampered(tmp_path / "alice_SAEHD_encoder.npy", lambda t: t.update({n: v.astype(np.float64) for n, v in t.items()}))
    found = read_model(tmp_path, ALICE)
    expected = model.tensors["inter.npy"][NAME].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found.tensors["inter.npy"][NAME], expected)
    save_model(tmp_path, found, device="CPU")
    assert pickle.loads((tmp_path / "alice_SAEHD_inter.npy").read_bytes())[NAME].dtype == np.float32
    require_same(read_model(tmp_path, ALICE), found)


def test_the_golden_hostile_and_truncated_files_are_refused_by_name(shared: Path, tmp_path: Path) -> None:
    for folder in ("hostile", "truncated"):
        for path in sorted((shared / "golden/models" / folder).glob("alice_SAEHD_*")):
            for good in (shared / "golden/models/machine_a").iterdir():
                shutil.copyfile(good, tmp_path / good.name)
            name = path.name.replace("_empty", "")
            shutil.copyfile(path, tmp_path / name)
            with pytest.raises(DfldError, match=name):
                read_model(tmp_path, ALICE)


def test_a_model_of_another_network_is_refused(shared: Path) -> None:
    with pytest.raises(ModelFolderError, match="alice_SAEHD_"):
        read_model(shared / "golden/models/machine_mismatch", ALICE)


@settings(max_examples=150)
@given(st.data())
def test_a_file_that_is_cut_or_changed_anywhere_is_refused_or_read_as_numbers(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mutated"
    if not folder.is_dir():
        saved_model(folder)
    name = data.draw(st.sampled_from(["data.dat", "inter.npy", "src_dst_opt.npy"]))
    path = folder / f"alice_SAEHD_{name}"
    content = bytearray(path.read_bytes())
    kept = bytes(content)
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        with suppress(DfldError):
            require_numbers(read_model(folder, ALICE))
    finally:
        path.write_bytes(kept)


def require_numbers(model: Model) -> None:
    for part, tensors in made_model().tensors.items():
        assert list(model.tensors[part]) == list(tensors)
        assert all(np.isfinite(values).all() for values in model.tensors[part].values())


def test_numbers_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    model = saved_model(tmp_path)
    before = contents(tmp_path)
    tensors = {**model.tensors["decoder_dst.npy"]}
    name = next(iter(tensors))
    tensors[name] = np.full_like(tensors[name], np.inf)
    bad = Model(model.name, model.data, {**model.tensors, "decoder_dst.npy": tensors})
    with pytest.raises(SaveError, match=r"decoder_dst\.npy is not saved.*not finite"):
        save_model(tmp_path, bad, device="CPU")
    assert contents(tmp_path) == before


def test_another_model_of_the_folder_is_named_where_there_is_none_of_that_name(tmp_path: Path) -> None:
    saved_model(tmp_path)
    with pytest.raises(ModelFolderError, match=r"bob_SAEHD_data\.dat") as caught:
        read_model(tmp_path, made_model(type(ALICE)("bob", "SAEHD")).name)
    assert "alice" in caught.value.hint


def test_too_few_rows_of_losses_are_a_problem(tmp_path: Path) -> None:
    model = saved_model(tmp_path)
    save_model(tmp_path, Model(model.name, model.data.changed(iteration=500), model.tensors), device="CPU")
    [problem] = examine(tmp_path, ALICE).problems
    assert "10 rows of losses for 500 iterations" in problem


def test_saves_have_the_times_that_a_round_waits_for(tmp_path: Path) -> None:
    """sync.model_files.snapshot takes a set whose summary is the oldest file and whose data.dat is the newest."""
    saved_model(tmp_path, gan_power=0.1)
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("alice_SAEHD_*.*")}
    assert min(times.values()) == times["alice_SAEHD_summary.txt"]
    assert max(times.values()) == times["alice_SAEHD_data.dat"]
