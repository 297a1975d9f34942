"""The automatic choice parts broken masks from good ones: benchmarks/mask_choice.py, on fewer faces."""

from __future__ import annotations

import numpy as np

from benchmarks.mask_choice import GOOD_MIN, measure


def test_every_broken_mask_is_refused_with_a_reason_and_good_ones_are_accepted() -> None:
    tally = measure(faces=25, seed=7)
    broken = tally.of("broken")
    assert len(broken) >= 200
    assert not any(broken), tally.reasons
    assert np.mean(tally.of("good")) >= GOOD_MIN, tally.reasons
