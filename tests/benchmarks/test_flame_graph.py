"""The page of `make profile` reaches no other computer."""

from __future__ import annotations

import pytest

from benchmarks.flame_graph import POLICY, without_network


def test_the_page_asks_no_other_computer_for_anything() -> None:
    page = '<html><head><meta charset="utf-8"></head><script>r.href="https://fonts.googleapis.com/css?a=b:4|C",d()</script>'
    made = without_network(page)
    assert "googleapis" not in made
    assert 'r.href="data:text/css,",d()' in made
    policy, script = made.index(POLICY), made.index("<script>")
    assert policy < script, "before anything that it forbids"
    assert "http" not in POLICY


def test_a_page_that_no_policy_can_be_put_into_is_not_written() -> None:
    with pytest.raises(SystemExit, match="network"):
        without_network("<html><body></body></html>")
