"""The gate: which looks at a unit make it complete."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.arrivals.settling import FileIdentity, GateRules, Observation, Unit, judge, observed

WHOLE = FileIdentity(device=1, inode=2, size_bytes=1_000_000, mtime_ns=5, blocks=1954, regular=True)
CLIP = Unit("clip.mp4", "video", (("", WHOLE),))
RULES = GateRules(stable_for_s=10)


def with_member(**changes: object) -> Unit:
    return replace(CLIP, members=(("", replace(WHOLE, **changes)),))  # type: ignore[arg-type]


def seen(unit: Unit, *times_s: float) -> Observation:
    observation = None
    for now_s in times_s:
        observation = observed(observation, unit, now_s)
    assert observation is not None
    return observation


def test_two_looks_far_enough_apart_settle_a_file() -> None:
    assert judge(seen(CLIP, 0, 10), 10, RULES).settled


def test_one_look_never_settles_a_file_however_old_it_is() -> None:
    assert not judge(seen(CLIP, 0), 1000, RULES).settled


def test_two_looks_close_together_do_not_settle_a_file_and_the_next_look_is_when_it_may() -> None:
    verdict = judge(seen(CLIP, 0, 4), 4, RULES)
    assert (verdict.settled, verdict.obstacle, verdict.check_again_s) == (False, "changing", 10)


@pytest.mark.parametrize(
    "change", [{"size_bytes": 1_000_001}, {"mtime_ns": 6}, {"inode": 3}, {"device": 2}, {"blocks": 1960}]
)
def test_any_change_of_the_identity_starts_the_wait_again(change: dict[str, int]) -> None:
    observation = observed(seen(CLIP, 0, 9), with_member(**change), 10)
    assert not judge(observation, 10, RULES).settled
    assert observation.first_s == 0
    assert judge(observed(observation, with_member(**change), 20), 20, RULES).settled


def test_a_sidecar_that_still_changes_holds_its_video_back() -> None:
    observation = observed(seen(CLIP, 0, 9), replace(CLIP, sidecar=WHOLE), 10)
    assert not judge(observation, 10, RULES).settled


@pytest.mark.parametrize(
    ("unit", "obstacle"),
    [
        (with_member(size_bytes=0, blocks=0), "empty"),
        (with_member(regular=False), "not_regular"),
        (with_member(blocks=1900), "sparse"),
        (replace(CLIP, still_downloading=True), "still_downloading"),
    ],
)
def test_what_speaks_against_a_file_is_named_however_long_it_lies_there(unit: Unit, obstacle: str) -> None:
    assert judge(seen(unit, 0, 1000), 1000, RULES).obstacle == obstacle


def test_a_filesystem_that_compresses_makes_no_file_sparse() -> None:
    rules = replace(RULES, sparse_ratio=0.0)
    assert judge(seen(with_member(blocks=10), 0, 10), 10, rules).settled


def test_a_tiny_file_kept_in_its_inode_is_not_sparse() -> None:
    assert judge(seen(with_member(size_bytes=300, blocks=0), 0, 10), 10, RULES).settled


def test_with_markers_on_a_file_waits_for_its_marker() -> None:
    rules = replace(RULES, done_marker=".done")
    assert judge(seen(CLIP, 0, 10), 10, rules).obstacle == "no_done_marker"
    assert judge(seen(replace(CLIP, marked_done=True), 0, 10), 10, rules).settled


def test_a_folder_settles_as_a_whole() -> None:
    folder = Unit("shots", "folder", (("a.png", WHOLE), ("b.png", replace(WHOLE, inode=3))))
    observation = seen(folder, 0, 9)
    grown = replace(folder, members=(*folder.members, ("c.png", replace(WHOLE, inode=4))))
    assert not judge(observed(observation, grown, 10), 10, RULES).settled
    assert judge(observed(observed(observation, grown, 10), grown, 20), 20, RULES).settled


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), min_size=1, max_size=30))
def test_a_file_settles_only_after_it_was_unchanged_for_the_whole_time(looks: list[tuple[float, bool]]) -> None:
    now, size, last_change, observation = 0.0, 1_000_000, 0.0, None
    for wait, grew in looks:
        now += wait
        if grew or observation is None:
            size += 1
            last_change = now
        observation = observed(observation, with_member(size_bytes=size, blocks=10**6), now)
        if judge(observation, now, RULES).settled:
            assert now - last_change >= RULES.stable_for_s
