"""The average of a whole model: gates applied, one file per layout, nothing left when it is held."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from sync.averaging.average import AverageSettings
from sync.averaging.average_model import ModelPlan, average_model, update_deployed, weights_of_machines
from sync.averaging.gates import GateSettings
from sync.errors import AverageError, DisagreementError

PARTS = ("encoder.npy", "decoder.npy")


def weights(seed: int, spread: float = 0.02) -> dict[str, dict[str, np.ndarray]]:
    """A model of two files near the same base, whatever the seed."""
    common, own = np.random.default_rng(1), np.random.default_rng(100 + seed)
    model = {}
    for part in PARTS:
        base = common.standard_normal((60, 50)).astype(np.float32)
        model[part] = {"weight:0": base + np.float32(spread) * own.standard_normal((60, 50)).astype(np.float32)}
    return model


def write(folder: Path, model: dict[str, dict[str, np.ndarray]], protocol: int = 4) -> dict[str, Path]:
    folder.mkdir(parents=True)
    for part, tensors in model.items():
        (folder / part).write_bytes(pickle.dumps(tensors, protocol))
    return {part: folder / part for part in model}


def plan_of(tmp_path: Path, models: dict[str, dict[str, dict[str, np.ndarray]]], **changed: object) -> ModelPlan:
    out = tmp_path / "out"
    out.mkdir()
    machines = {name: write(tmp_path / "in" / name, model) for name, model in models.items()}
    return ModelPlan(machines, out, **changed)


def content(path: Path) -> np.ndarray:
    value: np.ndarray = pickle.loads(path.read_bytes())["weight:0"]
    return value


def mean_of(*models: dict[str, dict[str, np.ndarray]], part: str = "encoder.npy") -> np.ndarray:
    return np.mean([model[part]["weight:0"].astype(np.float64) for model in models], axis=0).astype(np.float32)


def test_machines_with_equal_layouts_share_one_averaged_file(tmp_path: Path) -> None:
    models = {f"gpu{number}": weights(number) for number in range(3)}
    average = average_model(plan_of(tmp_path, models))
    assert average.verdict.accepted == ("gpu0", "gpu1", "gpu2")
    assert average.machine_weights == pytest.approx(dict.fromkeys(models, 1 / 3))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["decoder.npy", "encoder.npy"]
    for part in PARTS:
        files = {machine: average.files[machine][part] for machine in models}
        assert len(set(files.values())) == 1
        made = files["gpu0"]
        assert made.sha256 == hashlib.sha256(made.path.read_bytes()).hexdigest()
        np.testing.assert_array_equal(content(made.path), mean_of(*models.values(), part=part))


def test_each_layout_gets_its_own_file_with_the_same_values(tmp_path: Path) -> None:
    models = {"gpu0": weights(0), "gpu1": weights(1)}
    out = tmp_path / "out"
    out.mkdir()
    machines = {
        "gpu0": write(tmp_path / "gpu0", models["gpu0"], protocol=4),
        "gpu1": write(tmp_path / "gpu1", models["gpu1"], protocol=3),
    }
    files = average_model(ModelPlan(machines, out)).files
    for part in PARTS:
        made = {machine: files[machine][part].path for machine in machines}
        assert made["gpu0"].read_bytes()[1] == 4
        assert made["gpu1"].read_bytes()[1] == 3
        np.testing.assert_array_equal(content(made["gpu0"]), content(made["gpu1"]))


def test_a_machine_with_garbage_is_left_out_of_the_average_and_still_receives_it(tmp_path: Path) -> None:
    models = {f"gpu{number}": weights(number) for number in range(4)}
    models["gpu2"]["decoder.npy"]["weight:0"] = np.full((60, 50), 7.0, np.float32)
    average = average_model(plan_of(tmp_path, models))
    assert set(average.verdict.refused) == {"gpu2"}
    assert set(average.machine_weights) == {"gpu0", "gpu1", "gpu3"}
    assert set(average.files) == set(models)
    good = [models[name] for name in ("gpu0", "gpu1", "gpu3")]
    for part in PARTS:
        np.testing.assert_array_equal(content(average.files["gpu2"][part].path), mean_of(*good, part=part))


def test_a_machine_with_not_a_number_in_one_file_is_left_out_of_all(tmp_path: Path) -> None:
    models = {f"gpu{number}": weights(number) for number in range(3)}
    models["gpu0"]["decoder.npy"]["weight:0"][3, 4] = np.nan
    average = average_model(plan_of(tmp_path, models))
    assert average.verdict.accepted == ("gpu1", "gpu2")
    for part in PARTS:
        expected = mean_of(models["gpu1"], models["gpu2"], part=part)
        np.testing.assert_array_equal(content(average.files["gpu1"][part].path), expected)


def test_a_held_round_leaves_nothing_behind(tmp_path: Path) -> None:
    models = {f"gpu{number}": weights(number, spread=2.0) for number in range(3)}
    average = average_model(plan_of(tmp_path, models))
    assert "apart" in average.verdict.held
    assert average.files == {}
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_in_the_second_file_leaves_nothing_of_the_first_behind(tmp_path: Path) -> None:
    models = {"gpu0": weights(0), "gpu1": weights(1)}
    models["gpu1"]["decoder.npy"] = {"weight:0": np.ones((5, 5), np.float32)}
    with pytest.raises(DisagreementError, match=r"decoder\.npy: gpu1 does not fit gpu0"):
        average_model(plan_of(tmp_path, models))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_trimmed_mean_with_too_few_machines_left_is_held(tmp_path: Path) -> None:
    models = {f"gpu{number}": weights(number) for number in range(5)}
    models["gpu4"]["encoder.npy"]["weight:0"][0, 0] = np.inf
    average = average_model(plan_of(tmp_path, models, settings=AverageSettings(rule="trimmed")))
    assert "4 machines are left" in average.verdict.held
    assert list((tmp_path / "out").iterdir()) == []


def test_drift_is_measured_from_the_base_that_all_were_given(tmp_path: Path) -> None:
    base = write(tmp_path / "base", weights(0, spread=0.0))
    models = {f"gpu{number}": weights(number) for number in range(2)}
    verdict = average_model(plan_of(tmp_path, models, base=base)).verdict
    for machine in verdict.divergence.machines.values():
        assert machine.drift_rel == pytest.approx(0.02, rel=0.1)


def test_the_outer_step_is_the_plain_average_when_its_rate_is_one_and_its_momentum_none(tmp_path: Path) -> None:
    base = write(tmp_path / "base", weights(0, spread=0.0))
    models = {f"gpu{number}": weights(number) for number in range(2)}
    settings = AverageSettings(outer="nesterov", outer_learning_rate=1.0, outer_momentum=0.0)
    average = average_model(plan_of(tmp_path, models, base=base, settings=settings))
    made = content(average.files["gpu0"]["encoder.npy"].path)
    np.testing.assert_allclose(made, mean_of(*models.values()), rtol=1e-5, atol=1e-7)
    momentum = content(average.momentum["encoder.npy"].path)
    start = content(base["encoder.npy"])
    np.testing.assert_allclose(momentum, start - mean_of(*models.values()), rtol=1e-3, atol=1e-6)


def test_shares_go_by_iterations_within_four_times_each_other() -> None:
    plan = ModelPlan(
        {}, Path(), iterations={"a": 1000, "b": 10, "c": 50_000}, settings=AverageSettings(weight_rule="iterations")
    )
    shares = weights_of_machines(plan, ["a", "b", "c"])
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["c"] == pytest.approx(4 * shares["b"])
    assert shares["a"] == pytest.approx(2 * shares["b"])


def test_the_share_of_the_configuration_multiplies() -> None:
    plan = ModelPlan({}, Path(), configured_weights={"a": 3.0})
    assert weights_of_machines(plan, ["a", "b"]) == pytest.approx({"a": 0.75, "b": 0.25})


def test_the_model_to_deploy_is_an_exponential_average_of_rounds(tmp_path: Path) -> None:
    settings = AverageSettings(ema_decay=0.75)
    rounds = [write(tmp_path / f"round {number}", weights(number)) for number in range(3)]
    deployed: dict[str, Path] | None = None
    expected = None
    for number, latest in enumerate(rounds):
        folder = tmp_path / f"deployed {number}"
        folder.mkdir()
        made = update_deployed(deployed, latest, folder, settings=settings)
        deployed = {part: file.path for part, file in made.items()}
        value = content(latest["encoder.npy"]).astype(np.float64)
        expected = value if expected is None else 0.75 * expected + 0.25 * value
    assert deployed is not None
    np.testing.assert_allclose(content(deployed["encoder.npy"]), expected, rtol=1e-5, atol=1e-6)


def test_a_folder_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"gpu0": weights(0), "gpu1": weights(1)})
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(AverageError, match="cannot be written: No such file"):
        average_model(plan)


def test_the_last_rounds_spreads_tighten_the_gate(tmp_path: Path) -> None:
    models = {f"gpu{number}": weights(number, spread=0.15) for number in range(3)}
    gates = GateSettings(spread_warn=0.02)
    assert average_model(plan_of(tmp_path, models, gates=gates)).verdict.held == ""
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "in")
    held = average_model(plan_of(tmp_path, models, gates=gates, usual_spreads=[0.01] * 5)).verdict.held
    assert "the limit is 0.04" in held
