"""Gates: a bad machine is left out, bad rounds are held, healthy ones pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from sync.averaging.average import GramTable, TensorGram, gram_of_rows, uniform_weights
from sync.averaging.divergence import measure_divergence
from sync.averaging.gates import GateSettings, judge_weights, refuse_cold_start, refuse_idle, spread_limit
from sync.errors import DisagreementError

GATES = GateSettings()
GENERATOR = np.random.default_rng(1)
BASE = GENERATOR.standard_normal(5000)
COMMON = GENERATOR.standard_normal(5000)


def healthy(number: int, drift: float = 0.05) -> np.ndarray:
    """A machine that went where all go, and a little elsewhere."""
    own = np.random.default_rng(100 + number).standard_normal(5000)
    return BASE + drift * (0.6 * COMMON + 0.8 * own)


def table_of(weights: Mapping[str, np.ndarray], base: np.ndarray | None = BASE) -> GramTable:
    """Two tensors: most of the weights, and the last hundred."""
    tensors = []
    for name, place in {"large:0": slice(0, 4900), "small:0": slice(4900, 5000)}.items():
        values = np.stack([weight[place] for weight in weights.values()])
        reference = values[0] if base is None else base[place]
        nonfinite = np.count_nonzero(~np.isfinite(values), axis=1)
        clean = np.nan_to_num(reference)
        gram = gram_of_rows(np.vstack([clean, values - clean]))
        tensors.append(TensorGram("encoder.npy", name, gram, nonfinite))
    return GramTable(tuple(weights), base is not None, tuple(tensors))


def machines(count: int) -> dict[str, np.ndarray]:
    return {f"gpu{number}": healthy(number) for number in range(count)}


def judged(weights: Mapping[str, np.ndarray], quorum: int = 2, base: np.ndarray | None = BASE, **settings: float):
    shares = uniform_weights(list(weights))
    return judge_weights(table_of(weights, base), shares, GateSettings(**settings), quorum=quorum)


def test_measures_are_those_of_the_weights_themselves() -> None:
    weights = machines(3)
    shares = {"gpu0": 0.5, "gpu1": 0.3, "gpu2": 0.2}
    divergence = measure_divergence(table_of(weights), shares)
    values = np.stack(list(weights.values()))
    mean = np.array(list(shares.values())) @ values
    deltas = values - BASE
    distances = np.linalg.norm(values - mean, axis=1) / np.linalg.norm(mean)
    cosines = np.corrcoef(deltas) * 0 + deltas @ deltas.T / np.outer(*[np.linalg.norm(deltas, axis=1)] * 2)
    assert divergence.spread_rel == pytest.approx(distances.mean())
    assert divergence.shrink == pytest.approx(
        np.linalg.norm(mean - BASE) / np.linalg.norm(deltas, axis=1).mean(), rel=1e-6
    )
    for row, machine in enumerate(divergence.machines.values()):
        assert machine.drift_rel == pytest.approx(np.linalg.norm(deltas[row]) / np.linalg.norm(BASE))
        assert machine.distance_rel == pytest.approx(distances[row])
        assert machine.cosine == pytest.approx(np.delete(cosines[row], row).mean())


def test_without_a_base_the_spread_is_the_same_and_drift_is_not_claimed() -> None:
    weights = machines(3)
    shares = uniform_weights(list(weights))
    with_base = measure_divergence(table_of(weights), shares)
    without = measure_divergence(table_of(weights, None), shares)
    assert without.spread_rel == pytest.approx(with_base.spread_rel)
    assert without.shrink is None
    assert {machine.drift_rel for machine in without.machines.values()} == {None}
    assert "drift_rel" not in without.machines["gpu0"].measures()


def test_the_worst_tensor_of_a_machine_is_named() -> None:
    weights = machines(3)
    weights["gpu1"][4900:] *= 3
    divergence = measure_divergence(table_of(weights), uniform_weights(list(weights)))
    assert divergence.machines["gpu1"].worst_tensor == "encoder.npy: small:0"
    assert divergence.machines["gpu1"].worst_tensor_rel > 3 * divergence.machines["gpu1"].distance_rel


def test_healthy_machines_are_all_accepted() -> None:
    verdict = judged(machines(4))
    assert (verdict.accepted, dict(verdict.refused), verdict.held) == (("gpu0", "gpu1", "gpu2", "gpu3"), {}, "")
    assert verdict.divergence.spread_rel < 0.06


@pytest.mark.parametrize("base", [BASE, None], ids=["with base", "without base"])
def test_a_machine_with_not_a_number_is_left_out_by_name(base: np.ndarray | None) -> None:
    weights = machines(3)
    weights["gpu0"][7] = np.nan
    verdict = judged(weights, base=base)
    assert verdict.accepted == ("gpu1", "gpu2")
    assert "1 of its weights are NaN" in verdict.refused["gpu0"]
    assert not verdict.held


@pytest.mark.parametrize("base", [BASE, None], ids=["with base", "without base"])
def test_a_machine_with_garbage_is_left_out(base: np.ndarray | None) -> None:
    weights = machines(4)
    weights["gpu2"] = np.random.default_rng(9).standard_normal(5000)
    verdict = judged(weights, base=base)
    assert verdict.accepted == ("gpu0", "gpu1", "gpu3")
    assert set(verdict.refused) == {"gpu2"}
    assert verdict.divergence.spread_rel < 0.1 < verdict.every_machine.spread_rel


def test_garbage_below_the_quorum_holds_the_round_and_says_why() -> None:
    weights = machines(2)
    weights["gpu1"] = np.random.default_rng(9).standard_normal(5000)
    verdict = judged(weights)
    assert "1 of 2 machines agree, the quorum is 2 (gpu1: it drifted" in verdict.held


def test_a_machine_that_did_not_train_is_left_out() -> None:
    weights = machines(3)
    weights["gpu1"] = BASE.copy()
    assert "did not train" in judged(weights).refused["gpu1"]


def test_a_machine_that_goes_the_other_way_is_left_out() -> None:
    weights = machines(4)
    weights["gpu3"] = BASE - 0.05 * COMMON
    verdict = judged(weights)
    assert "mean cosine" in verdict.refused["gpu3"]
    assert len(verdict.accepted) == 3


def test_machines_that_are_all_apart_hold_the_round_and_nobody_is_blamed() -> None:
    weights = {f"gpu{number}": healthy(number, drift=0.45) for number in range(4)}
    verdict = judged(weights, spread_max=0.2)
    assert "apart" in verdict.held
    assert verdict.refused == {}


def test_without_base_two_different_models_are_held() -> None:
    weights = {"gpu0": healthy(0), "gpu1": np.random.default_rng(5).standard_normal(5000)}
    assert "apart" in judged(weights, base=None).held


def test_an_unusual_spread_is_held_once_five_rounds_showed_what_is_usual() -> None:
    assert spread_limit(GATES, [0.03] * 4) == 0.2
    assert spread_limit(GATES, [0.03] * 5) == pytest.approx(0.12)
    assert spread_limit(GATES, [0.001] * 9) == GATES.spread_warn
    assert spread_limit(GATES, [0.19] * 9) == GATES.spread_max


def test_a_machine_that_drifted_far_is_told_before_it_is_refused() -> None:
    weights = machines(3)
    weights["gpu1"] = healthy(1, drift=0.2)
    verdict = judged(weights)
    assert verdict.accepted == ("gpu0", "gpu1", "gpu2")
    assert any("gpu1 drifted" in warning for warning in verdict.warnings)


def test_a_single_exploding_tensor_is_told_by_name() -> None:
    weights = machines(3)
    weights["gpu1"][4900:] *= 6
    verdict = judged(weights, drift_max=9, spread_max=9)
    assert any("gpu1" in warning and "encoder.npy: small:0" in warning for warning in verdict.warnings)
    assert not any("small:0" in warning for warning in judged(machines(3)).warnings)


def test_machines_with_almost_no_work_are_left_out() -> None:
    refused = refuse_idle({"gpu0": 2000, "gpu1": 2100, "gpu2": 10, "gpu3": 0}, GATES)
    assert set(refused) == {"gpu2", "gpu3"}
    assert "10 iterations" in refused["gpu2"]
    assert refuse_idle({}, GATES) == {}


def test_averaging_from_a_fresh_model_is_refused_with_the_way_out() -> None:
    assert "dfld sync init" in refuse_cold_start(0, GATES)
    assert refuse_cold_start(10_000, GATES) == ""
    assert refuse_cold_start(0, GateSettings(warm_up_iterations=0)) == ""


def test_one_machine_alone_is_judged_without_a_spread() -> None:
    verdict = judged({"gpu0": healthy(0)}, quorum=1)
    assert verdict.accepted == ("gpu0",)
    assert verdict.divergence.spread_rel == 0


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(DisagreementError, match="contradict"):
        GateSettings(spread_warn=0.5)
