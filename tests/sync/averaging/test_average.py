"""The arithmetic against an independent oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sync.averaging.average import (
    WEIGHT_CLAMP,
    AverageSettings,
    GramTable,
    combine,
    normalise_weights,
    outer_nesterov,
    sort_rows,
    trimmed_at_each_end,
    weights_by_iterations,
)
from sync.errors import DisagreementError

values = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 7), st.integers(1, 20)),
    elements=st.floats(-1000, 1000, width=32),
)


def combined(array: np.ndarray, shares: list[float], **chosen: object) -> np.ndarray:
    out = np.empty(array.shape[1])
    combine(array.copy(), shares, AverageSettings(**chosen), out)
    return out


@settings(deadline=None)
@given(values)
def test_the_mean_is_numpys_in_float64(array: np.ndarray) -> None:
    found = combined(array, [1 / len(array)] * len(array))
    np.testing.assert_allclose(found, array.astype(np.float64).mean(axis=0), rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(values, st.data())
def test_the_weighted_mean_is_numpys(array: np.ndarray, data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.floats(0.1, 9), min_size=len(array), max_size=len(array)))
    shares = list(normalise_weights({str(number): part for number, part in enumerate(parts)}).values())
    expected = np.average(array.astype(np.float64), axis=0, weights=parts)
    np.testing.assert_allclose(combined(array, shares), expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(values)
def test_the_median_is_numpys(array: np.ndarray) -> None:
    found = combined(array, [1.0] * len(array), rule="median")
    np.testing.assert_allclose(found, np.median(array.astype(np.float64), axis=0), rtol=1e-12)


@settings(deadline=None)
@given(values)
def test_rows_are_sorted_like_numpy_sorts(array: np.ndarray) -> None:
    rows = array.copy()
    sort_rows(rows)
    np.testing.assert_array_equal(rows, np.sort(array, axis=0))


def test_one_machines_garbage_does_not_reach_the_median_nor_the_trimmed_mean() -> None:
    array = np.array([[1.0], [1.1], [0.9], [1.05], [1e30]], np.float32)
    assert combined(array, [0.2] * 5, rule="median")[0] == pytest.approx(1.05)
    assert combined(array, [0.2] * 5, rule="trimmed")[0] == pytest.approx((1.0 + 1.1 + 1.05) / 3)


def test_how_many_machines_a_trimmed_mean_leaves_out() -> None:
    assert [trimmed_at_each_end(count, 0.2) for count in (5, 9, 10, 20)] == [1, 1, 2, 4]
    with pytest.raises(DisagreementError, match="at least 5"):
        trimmed_at_each_end(4, 0.2)


def test_the_outer_step_is_torchs_sgd_with_nesterov() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    generator = np.random.default_rng(0)
    weight = torch.nn.Parameter(torch.tensor(generator.standard_normal(50)))
    optimizer = torch.optim.SGD([weight], lr=0.7, momentum=0.9, nesterov=True)
    base, momentum = weight.detach().numpy().copy(), np.zeros(50)
    for _ in range(4):
        average = base + 0.1 * generator.standard_normal(50)
        weight.grad = torch.tensor(base - average)
        optimizer.step()
        outer_nesterov(average, base, momentum, AverageSettings(outer="nesterov"))
        base = average
        np.testing.assert_allclose(base, weight.detach().numpy(), rtol=1e-12)


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1), st.integers(0, 10**9), min_size=1))
def test_shares_by_iterations_sum_to_one_and_stay_within_the_clamp(iterations: dict[str, int]) -> None:
    shares = weights_by_iterations(iterations)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares.values()) <= min(shares.values()) * WEIGHT_CLAMP * (1 + 1e-9)


@pytest.mark.parametrize("shares", [{"a": -1.0, "b": 2.0}, {"a": 0.0}, {"a": float("nan")}, {"a": float("inf")}, {}])
def test_shares_that_are_no_parts_of_a_whole_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(DisagreementError, match="no parts of a whole"):
        normalise_weights(shares)


@pytest.mark.parametrize(
    "wrong",
    [{"trim": 0.5}, {"outer_learning_rate": 0.0}, {"outer_momentum": 1.0}, {"ema_decay": 1.0}],
)
def test_settings_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DisagreementError, match=next(iter(wrong))):
        AverageSettings(**wrong)


def test_passes_over_other_machines_are_not_joined() -> None:
    with pytest.raises(DisagreementError, match="cannot be joined"):
        GramTable(("a",), False, ()).joined(GramTable(("b",), False, ()))
