"""The fused pass: exact means in each machine's own layout, measured while they are made, or nothing at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import resource
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from dfl.weights import index_weights
from sync.averaging.average import AverageSettings, uniform_weights
from sync.averaging.averaging_pass import CHUNK_ITEMS, Output, PassPlan, run_averaging_pass
from sync.averaging.divergence import measure_divergence
from sync.averaging.gates import GateSettings, judge_weights
from sync.averaging.tensor_file import TensorFile
from sync.errors import AverageError, DisagreementError

Model = dict[str, np.ndarray]


def tensor_file(path: Path) -> TensorFile:
    return TensorFile(path, index_weights(path))


def write_model(path: Path, model: dict[str, object], protocol: int = 4) -> TensorFile:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(model, protocol))
    return tensor_file(path)


def random_models(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Machines near one base: a large tensor of several chunks, small ones, a half, a double and a counter."""
    generator = np.random.default_rng(seed)
    shapes = {"large:0": (CHUNK_ITEMS * 2 + 17,), "small:0": (3, 4), "half:0": (9,), "double:0": (5,), "scale:0": ()}
    types = {"half:0": np.float16, "double:0": np.float64}
    base = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    models = []
    for number in range(count):
        model: dict[str, object] = {"iters:0": np.int64(100 + number)}
        for name, value in base.items():
            moved = value + 0.05 * generator.standard_normal(value.shape)
            model[name] = np.asarray(moved, types.get(name, np.float32))
        models.append(model)
    return models


def files_of(tmp_path: Path, models: list[dict[str, object]], protocol: int = 4) -> dict[str, TensorFile]:
    return {
        f"gpu{number}": write_model(tmp_path / f"gpu{number}" / "alice_SAEHD_encoder.npy", model, protocol)
        for number, model in enumerate(models)
    }


def averaged(tmp_path: Path, files: dict[str, TensorFile], **plan: object) -> Model:
    """Run the pass with one output in the first machine's layout; return the result as pickle reads it."""
    template = next(iter(files.values()))
    out = tmp_path / "average.npy"
    shares = plan.pop("shares", uniform_weights(list(files)))
    run_averaging_pass(PassPlan("encoder.npy", files, shares, outputs=[Output(template, out)], **plan))
    return pickle.loads(out.read_bytes())


def plain(models: list[dict[str, object]], name: str) -> np.ndarray:
    return np.stack([np.asarray(model[name], np.float64) for model in models])


def test_the_golden_means_are_met_bit_for_bit_in_every_machines_own_layout(shared: Path, tmp_path: Path) -> None:
    models = shared / "golden/models"
    expected = json.loads((models / "expected_mean.json").read_text())["files"]
    assert len(expected) == 5
    for name, facts in expected.items():
        files = {machine: tensor_file(models / machine / name) for machine in ("machine_a", "machine_b", "machine_c")}
        outputs = [Output(file, tmp_path / f"{machine} {name}") for machine, file in files.items()]
        run_averaging_pass(PassPlan(name, files, uniform_weights(list(files)), outputs=outputs))
        for output in outputs:
            mean = pickle.loads(output.path.read_bytes())
            own = pickle.loads(output.template.path.read_bytes())
            assert list(mean) == (facts["key_order_in_file"] or list(own))
            digest = hashlib.sha256()
            for key in sorted(mean.keys() - {"iters:0"}):
                digest.update(mean[key].tobytes())
            assert digest.hexdigest() == facts["file_sha256"]
            assert mean.get("iters:0") == own.get("iters:0")
            assert type(mean.get("iters:0")) is type(own.get("iters:0"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_mean_is_the_float64_mean_rounded_once_whatever_wrote_the_files(tmp_path: Path, protocol: int) -> None:
    models = random_models(3)
    mean = averaged(tmp_path, files_of(tmp_path, models, protocol))
    assert list(mean) == list(models[0])
    for name in models[0].keys() - {"iters:0"}:
        first = np.asarray(models[0][name])
        np.testing.assert_array_equal(mean[name], plain(models, name).mean(axis=0).astype(first.dtype))
        assert mean[name].dtype == first.dtype
    assert mean["iters:0"] == 100


def test_machines_with_other_pickle_protocols_are_matched_by_name(tmp_path: Path) -> None:
    models = random_models(3)
    reordered = dict(reversed(models[1].items()))
    files = {
        "gpu0": write_model(tmp_path / "a.npy", models[0], 2),
        "gpu1": write_model(tmp_path / "b.npy", reordered, 5),
        "gpu2": write_model(tmp_path / "c.npy", models[2], 3),
    }
    outputs = [Output(file, tmp_path / f"out {machine}") for machine, file in files.items()]
    run_averaging_pass(PassPlan("encoder.npy", files, uniform_weights(list(files)), outputs=outputs))
    results = [pickle.loads(output.path.read_bytes()) for output in outputs]
    assert [list(result) for result in results] == [list(models[0]), list(reordered), list(models[2])]
    assert [result["iters:0"] for result in results] == [100, 101, 102]
    for name in models[0].keys() - {"iters:0"}:
        for result in results[1:]:
            np.testing.assert_array_equal(result[name], results[0][name])


def test_a_stream_of_me_advanced_stays_a_stream(tmp_path: Path) -> None:
    models = random_models(2)
    files = {}
    for number, model in enumerate(models):
        stream = io.BytesIO()
        pickle.dump(len(model), stream)
        for name, value in model.items():
            pickle.dump({name: value}, stream)
        path = tmp_path / f"{number}.npy"
        path.write_bytes(stream.getvalue())
        files[f"gpu{number}"] = tensor_file(path)
    out = tmp_path / "out.npy"
    template = files["gpu1"]
    run_averaging_pass(PassPlan("encoder.npy", files, uniform_weights(list(files)), outputs=[Output(template, out)]))
    written = io.BytesIO(out.read_bytes())
    assert pickle.load(written) == len(models[0])
    for name in models[0]:
        part = pickle.load(written)
        if name != "iters:0":
            expected = plain(models, name).mean(axis=0).astype(np.asarray(models[0][name]).dtype)
            np.testing.assert_array_equal(part[name], expected)


def test_shares_weigh_the_machines(tmp_path: Path) -> None:
    models = random_models(2)
    mean = averaged(tmp_path, files_of(tmp_path, models), shares={"gpu0": 0.75, "gpu1": 0.25})
    expected = 0.75 * plain(models, "large:0")[0] + 0.25 * plain(models, "large:0")[1]
    np.testing.assert_allclose(mean["large:0"], expected, rtol=1e-7)


@pytest.mark.parametrize("count", [4, 5])
def test_the_median_is_numpys(tmp_path: Path, count: int) -> None:
    models = random_models(count)
    median = averaged(tmp_path, files_of(tmp_path, models), settings=AverageSettings(rule="median"))
    np.testing.assert_array_equal(median["large:0"], np.median(plain(models, "large:0"), axis=0).astype(np.float32))


def test_the_trimmed_mean_leaves_out_the_ends(tmp_path: Path) -> None:
    models = random_models(6)
    models[3]["large:0"] = np.full(CHUNK_ITEMS * 2 + 17, 1e9, np.float32)
    trimmed = averaged(tmp_path, files_of(tmp_path, models), settings=AverageSettings(rule="trimmed"))
    expected = np.sort(plain(models, "large:0"), axis=0)[1:-1].mean(axis=0)
    np.testing.assert_allclose(trimmed["large:0"], expected, rtol=1e-6)


def test_a_trimmed_mean_of_four_machines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DisagreementError, match="at least 5 machines"):
        averaged(tmp_path, files_of(tmp_path, random_models(4)), settings=AverageSettings(rule="trimmed"))


def test_the_measurements_are_those_of_the_whole_tensors(tmp_path: Path) -> None:
    models = random_models(3)
    base_model = random_models(1, seed=9)[0]
    base = write_model(tmp_path / "base.npy", base_model)
    files = files_of(tmp_path, models)
    result = run_averaging_pass(PassPlan("encoder.npy", files, uniform_weights(list(files)), base=base))
    for entry in result.grams.tensors:
        start = np.asarray(base_model[entry.tensor], np.float64).ravel()
        rows = np.stack([start, *(plain(models, entry.tensor).reshape(3, -1) - start)])
        np.testing.assert_allclose(entry.gram, rows @ rows.T, rtol=2e-3, atol=1e-3)
        assert entry.nonfinite.tolist() == [0, 0, 0]
    assert result.grams.has_base
    assert result.written == {}


def test_not_a_number_is_counted_for_the_machine_that_has_it_and_spoils_no_others_measurement(tmp_path: Path) -> None:
    models = random_models(3)
    spoilt = np.array(models[0]["large:0"])
    spoilt[[5, CHUNK_ITEMS + 3]] = np.nan, np.inf
    models[0]["large:0"] = spoilt
    files = files_of(tmp_path, models)
    table = run_averaging_pass(PassPlan("encoder.npy", files, uniform_weights(list(files)))).grams
    entry = next(tensor for tensor in table.tensors if tensor.tensor == "large:0")
    assert entry.nonfinite.tolist() == [2, 0, 0]
    assert np.isfinite(entry.gram[np.ix_([2, 3], [2, 3])]).all()


def test_numbers_too_large_for_float32_products_are_still_measured(tmp_path: Path) -> None:
    models = random_models(2)
    models[1]["small:0"] = np.full((3, 4), 1e30, np.float32)
    files = files_of(tmp_path, models)
    table = run_averaging_pass(PassPlan("encoder.npy", files, uniform_weights(list(files)))).grams
    entry = next(tensor for tensor in table.tensors if tensor.tensor == "small:0")
    assert entry.nonfinite.tolist() == [0, 0]
    assert entry.gram[2, 2] == pytest.approx(12e60, rel=1e-3)


def test_the_outer_step_is_torchs_nesterov_over_two_rounds(tmp_path: Path) -> None:
    settings = AverageSettings(outer="nesterov")
    base = random_models(1, seed=4)[0]
    weights = np.asarray(base["large:0"], np.float64)
    velocity = np.zeros_like(weights)
    momentum: TensorFile | None = None
    base_file = write_model(tmp_path / "base.npy", base)
    for number in range(2):
        models = random_models(2, seed=number)
        folder = tmp_path / str(number)
        files = files_of(folder, models) if folder.mkdir() is None else {}
        plan = PassPlan(
            "encoder.npy",
            files,
            uniform_weights(list(files)),
            settings,
            base=base_file,
            momentum=momentum,
            outputs=[Output(base_file, folder / "new.npy")],
            momentum_output=Output(base_file, folder / "momentum.npy"),
        )
        run_averaging_pass(plan)
        gradient = weights - plain(models, "large:0").mean(axis=0)
        velocity = 0.9 * velocity + gradient
        weights = weights - 0.7 * (gradient + 0.9 * velocity)
        base_file, momentum = tensor_file(folder / "new.npy"), tensor_file(folder / "momentum.npy")
        np.testing.assert_allclose(pickle.loads(base_file.path.read_bytes())["large:0"], weights, rtol=1e-5, atol=1e-6)


def test_the_outer_step_without_a_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DisagreementError, match="given last"):
        averaged(tmp_path, files_of(tmp_path, random_models(2)), settings=AverageSettings(outer="nesterov"))


def test_other_shapes_and_other_tensors_are_refused_by_name(tmp_path: Path, shared: Path) -> None:
    golden = shared / "golden/models"
    name = "alice_SAEHD_encoder.npy"
    files = {machine: tensor_file(golden / machine / name) for machine in ("machine_a", "machine_mismatch")}
    with pytest.raises(DisagreementError, match=r"machine_mismatch does not fit machine_a: .* has shape"):
        run_averaging_pass(PassPlan(name, files, uniform_weights(list(files))))
    models = random_models(2)
    del models[1]["small:0"]
    with pytest.raises(DisagreementError, match=r"5 tensors instead of 6, missing \['small:0'\]"):
        averaged(tmp_path, files_of(tmp_path, models))


def test_a_pass_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    files = files_of(tmp_path, random_models(2))
    stop = threading.Event()
    out = tmp_path / "out"
    out.mkdir()
    plan = PassPlan(
        "encoder.npy", files, uniform_weights(list(files)), outputs=[Output(files["gpu0"], out / "average.npy")]
    )
    with pytest.raises(AverageError, match="stopped"):
        run_averaging_pass(plan, stop=stop, on_progress=lambda *_: stop.set())
    assert list(out.iterdir()) == []


def test_a_file_that_shrinks_while_it_is_read_is_an_error_not_a_crash(tmp_path: Path) -> None:
    files = files_of(tmp_path, random_models(2))
    path = files["gpu1"].path
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DisagreementError, match="cut meanwhile"):
        averaged(tmp_path, files)
    assert not (tmp_path / "average.npy").exists()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    files = files_of(tmp_path, random_models(2))
    out = tmp_path / "out"
    out.mkdir()
    (out / "average.npy").write_bytes(b"old")
    plan = PassPlan(
        "encoder.npy", files, uniform_weights(list(files)), outputs=[Output(files["gpu0"], out / "average.npy")]
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(AverageError, match=r"average\.npy cannot be written"):
            run_averaging_pass(plan)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in out.iterdir()] == ["average.npy"]
    assert (out / "average.npy").read_bytes() == b"old"


def test_only_values_differ_between_an_average_and_its_template(tmp_path: Path) -> None:
    files = files_of(tmp_path, random_models(2), protocol=3)
    averaged(tmp_path, files)
    written, template = (tmp_path / "average.npy").read_bytes(), files["gpu0"].path.read_bytes()
    assert len(written) == len(template)
    position = 0
    for offset, length in files["gpu0"].layout.gaps():
        assert written[offset : offset + length] == template[offset : offset + length]
        position += length
    assert position < 3000 < len(written)


def test_the_python_of_deepfacelab_reads_an_average_of_golden_files(shared: Path, tmp_path: Path) -> None:
    models = shared / "golden/models"
    name = "alice_SAEHD_src_dst_opt.npy"
    files = {machine: tensor_file(models / machine / name) for machine in ("machine_a", "machine_b")}
    out = tmp_path / name
    run_averaging_pass(PassPlan(name, files, uniform_weights(list(files)), outputs=[Output(files["machine_b"], out)]))
    python = os.environ.get("DFLD_OLD_PYTHON")
    if python is None:  # without one at hand: the bytes are those that DeepFaceLab wrote, apart from the values
        content = out.read_bytes()
        assert content[:2] == b"\x80\x04"
        assert b"numpy.core.multiarray" in content
        assert b"numpy._core" not in content
        return
    script = "import sys, pickle, numpy; d = pickle.load(open(sys.argv[1], 'rb')); print(len(d), d['iters:0'].dtype)"
    told = subprocess.run([python, "-c", script, str(out)], capture_output=True, text=True, check=True)
    assert told.stdout == "113 int64\n"


def test_one_huge_weight_is_seen_though_the_rest_is_healthy(tmp_path: Path) -> None:
    models = random_models(4)
    base, machines = models[0], models[1:]
    machines[1]["large:0"][CHUNK_ITEMS + 5] = -60.0
    files = files_of(tmp_path, models)
    given = files.pop("gpu0")
    grams = run_averaging_pass(PassPlan("encoder.npy", files, uniform_weights(list(files)), base=given)).grams
    divergence = measure_divergence(grams, uniform_weights(list(files)))
    largest = max(np.abs(base[name]).max() for name in ("large:0", "small:0", "half:0", "double:0", "scale:0"))
    assert divergence.machines["gpu2"].outgrown == ("encoder.npy", pytest.approx(60.0 / largest, rel=1e-4))
    assert divergence.machines["gpu1"].outgrown is None
    assert divergence.machines["gpu3"].outgrown is None
    verdict = judge_weights(grams, uniform_weights(list(files)), GateSettings(), quorum=2)
    assert "times the largest of the last average" in verdict.refused["gpu2"]
    assert verdict.accepted == ("gpu1", "gpu3")
