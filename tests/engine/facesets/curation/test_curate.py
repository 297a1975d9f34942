from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SettingsError
from engine.facesets.curation.budgets import smoothed
from engine.facesets.curation.cells import cells_of, pose_counts
from engine.facesets.curation.curate import curate, mark
from engine.facesets.curation.gates import limit_words, limits_of
from engine.facesets.curation.near_duplicates import steps_from, vectors_of
from engine.facesets.curation.settings import CurationSettings
from engine.facesets.curation.verdicts import GATES, Decision, Verdict, poor_counts, reason_counts, sentence_of
from engine.facesets.features import Features
from tests.feature_rig import chosen, made_features

TIGHT = CurationSettings(per_cell=3, near_duplicate_radius=3.0)
"""So that every reason occurs among a few made-up faces."""


def mixed_features(seed: int, count: int = 160) -> Features:
    """Faces of which many are near each other, some poor in each way, some copies, and some drawn by a person."""
    rng = np.random.default_rng(seed)
    features = chosen(made_features(count, seed), rng.integers(0, max(1, count // 2), count).tolist())
    broken = rng.random(count)
    columns: dict[str, object] = {
        "name": tuple(f"{number:08d}_0.jpg" for number in range(count)),
        "yaw": features.yaw / 3 + rng.normal(0, 1, count).astype(np.float32),
        "has_polygons": broken > 0.97,
    }
    values = [("nf", -9), ("nfdir", -9), ("upscale", 8), ("brightness", 12), ("luma_std", 4), ("pose_error", 0.4)]
    values += [("cut_off", 0.6), ("mask_over_hull", 0.2)]
    for place, (name, value) in enumerate(values):
        column = np.array(getattr(features, name))
        column[(broken > 0.03 * place) & (broken < 0.03 * (place + 1))] = value
        columns[name] = column
    return type(features)(**{**{name: getattr(features, name) for name in features.__dataclass_fields__}, **columns})


def verdicts_of(features: Features, **decided: Decision) -> dict[str, Verdict]:
    return {one.name: one for one in curate(features, decided, TIGHT).verdicts}


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 160))
def test_every_face_has_one_verdict_and_who_goes_has_reason_numbers_and_a_stand_in(seed: int, count: int) -> None:
    features = mixed_features(seed, count)
    verdicts = curate(features, {}, TIGHT).verdicts
    assert [one.name for one in verdicts] == list(features.name)
    kept = {one.name for one in verdicts if one.place == "keep"}
    assert kept or not count
    for one in verdicts:
        if one.place == "keep":
            assert one.reason in ("fit", "poor_but_rare", "polygons")
            assert (one.stands_for_it, one.steps_apart) == (None, None)
            continue
        assert one.reason in (*GATES, "near_duplicate", "over_budget")
        assert one.measured is not None
        assert one.limit is not None
        assert one.stands_for_it in kept
        rows = [features.name.index(name) for name in (one.name, str(one.stands_for_it))]
        apart = float(steps_from(vectors_of(features), np.array(rows[:1]), rows[1])[0])
        assert one.steps_apart == pytest.approx(apart, abs=1e-3)
        assert f"{one.stands_for_it} stands for it" in sentence_of(one)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_faces_does_not_matter(seed: int) -> None:
    features = mixed_features(seed)
    shuffled = chosen(features, np.random.default_rng(seed).permutation(len(features)).tolist())
    decided: dict[str, Decision] = {features.name[3]: "keep", features.name[5]: "aside"}
    needed = mixed_features(seed + 1)
    here, there = (curate(one, decided, TIGHT, needed) for one in (features, shuffled))
    assert {one.name: one for one in here.verdicts} == {one.name: one for one in there.verdicts}
    assert here.limits == there.limits


def test_a_second_look_at_all_faces_decides_the_same() -> None:
    features = mixed_features(1)
    assert curate(features, {}, TIGHT) == curate(features, {}, TIGHT)
    assert Counter(one.reason for one in curate(features, {}, TIGHT).verdicts).keys() >= {
        "fit", "poor_but_rare", "polygons", "near_duplicate", "over_budget", *GATES,
    }  # fmt: skip


def test_what_a_person_decided_is_final() -> None:
    features = mixed_features(2)
    before = verdicts_of(features)
    out = next(one.name for one in before.values() if one.reason == "fit")
    back = [next(one.name for one in before.values() if one.reason == reason) for reason in GATES]
    drawn = next(one.name for one in before.values() if one.reason == "polygons")
    decided: dict[str, Decision] = {out: "aside", drawn: "aside", "nobody.jpg": "keep", **dict.fromkeys(back, "keep")}
    after = verdicts_of(features, **decided)
    assert {after[name].place for name in back} == {"keep"}
    assert {after[name].reason for name in (*back, out)} == {"decided"}
    assert (after[out].place, after[drawn].place) == ("aside", "aside")
    assert after[out].stands_for_it is not None
    assert sentence_of(after[out]).startswith("decided by a person; ")
    everyone = verdicts_of(features, **dict.fromkeys(features.name, "keep"))
    assert {one.place for one in everyone.values()} == {"keep"}
    nobody = verdicts_of(features, **dict.fromkeys(features.name, "aside"))
    assert {(one.place, one.stands_for_it) for one in nobody.values()} == {("aside", None)}


def test_the_best_three_of_a_pose_stay_however_poor_they_are() -> None:
    count = 60
    yaw = [0.0] * 50 + [50.0] * 10
    features = made_features(count, yaw=yaw, pitch=[5.0] * count, nf=[-4.6] * 50 + [-9.0 - row for row in range(10)])
    found = {one.name: one for one in curate(features, {}).verdicts}
    rare = [found[name] for name in features.name[50:]]
    assert [one.place for one in rare] == ["keep"] * 3 + ["aside"] * 7
    assert {(one.reason, one.poor) for one in rare[:3]} == {("poor_but_rare", "blurred")}
    assert sentence_of(rare[0]).startswith("poor, but its pose is rare; blurred: sharpness -9.00, at least -")


def test_wrong_landmarks_make_no_rare_pose() -> None:
    features = made_features(40, yaw=[0.0] * 39 + [80.0], pose_error=[0.05] * 39 + [0.5])
    last = curate(features, {}).verdicts[-1]
    assert (last.place, last.reason) == ("aside", "landmarks_unsure")


def test_a_pose_keeps_a_face_whose_like_is_in_the_pose_beside_it() -> None:
    still = np.tile(np.eye(99)[0], (40, 1))
    yaw = np.r_[np.full(30, 14.0), np.full(10, 15.5)]
    same = {"pitch": 5.0, "roll": 0, "mouth_open": 0, "mouth_width": 0.9, "eye_opening": 0.3}
    same |= {"light_x": 0, "light_y": 0}
    features = made_features(
        40, yaw=yaw, luma_dct=still, brightness=np.full(40, 100), nf=np.r_[np.full(30, -4.0), np.full(10, -4.1)],
        **{name: np.full(40, value) for name, value in same.items()},
    )  # fmt: skip
    kept = [one.name for one in curate(features, {}).verdicts if one.place == "keep"]
    assert Counter(name >= "00000030" for name in kept) == {False: 1, True: 1}


def test_a_cell_has_at_most_its_budget_and_half_of_it_are_the_best() -> None:
    count = 300
    features = made_features(count, yaw=np.linspace(1, 14, count), pitch=np.full(count, 5), light_x=np.zeros(count))
    settings_ = CurationSettings(per_cell=10, near_duplicate_radius=0.0)
    kept = [row for row, one in enumerate(curate(features, {}, settings_).verdicts) if one.place == "keep"]
    codes = cells_of(features).codes
    assert max(Counter(codes[kept].tolist()).values()) == 10
    for code in set(codes.tolist()):
        rows = [row for row in range(count) if codes[row] == code]
        best = sorted(rows, key=lambda row: -round(float(features.nf[row]), 3))[:5]
        assert set(best) <= set(kept)


def test_the_budget_follows_the_poses_of_the_faces_that_are_matched() -> None:
    count = 1000
    same = {"pitch": np.full(count, 5), "light_x": np.zeros(count), "mouth_open": np.zeros(count)}
    same |= {"eye_opening": np.full(count, 0.3)}
    features = made_features(count, yaw=np.repeat([-40, -20, 2, 22, 42], count // 5), **same)
    needed = made_features(300, yaw=np.full(300, 22), pitch=np.full(300, 5))
    kept = Counter(
        float(features.yaw[row])
        for row, one in enumerate(curate(features, {}, CurationSettings(near_duplicate_radius=0), needed).verdicts)
        if one.place == "keep"
    )
    assert kept == {22: 60, 2: 30, 42: 30, -20: 10, -40: 10}
    assert curate(features, {}, None, made_features(0)) == curate(features, {})


def test_a_pose_is_needed_one_cell_around_it_too() -> None:
    counts = np.zeros((12, 8), np.int64)
    counts[5, 4] = 100
    found = smoothed(counts)
    assert found.sum() == 1600
    assert found[5, 4] == 400
    assert found[4, 4] == found[5, 5] == 200
    assert found[4, 3] == 100


def test_limits_follow_from_the_set_and_are_printed() -> None:
    sharp = made_features(200, 1)
    soft = made_features(200, 1, nf=sharp.nf - 2)
    assert limits_of(sharp, TIGHT).sharpness_min - limits_of(soft, TIGHT).sharpness_min == pytest.approx(2, abs=0.002)
    small = made_features(200, 1, upscale=np.full(200, 4.0))
    assert limits_of(small, TIGHT).upscale_max == 6.0
    assert "too_small" not in {one.reason for one in curate(small, {}).verdicts}
    assert "enlarged at most 6.00 times" in limit_words(limits_of(small, TIGHT))
    dark = made_features(5, brightness=np.full(5, 4.0))
    assert limits_of(dark, TIGHT).sharpness_min == -np.inf
    assert {one.reason for one in curate(dark, {}).verdicts} <= {"too_dark", "poor_but_rare"}


def test_what_cannot_be_measured_is_said_to_be_so() -> None:
    features = made_features(60, yaw=np.zeros(60), pitch=np.full(60, 5), nf=[np.nan, *np.full(59, -4.5)])
    first = curate(features, {}).verdicts[0]
    assert (first.reason, first.measured) == ("blurred", None)
    assert sentence_of(first).startswith("blurred: cannot be measured; ")


def test_marks_keep_every_face() -> None:
    features = mixed_features(4)
    marked = mark(features)
    assert {one.place for one in marked.verdicts} == {"keep"}
    assert {one.reason for one in marked.verdicts} == {"fit", "poor_but_needed"}
    poor = dict(poor_counts(marked.verdicts))
    assert set(poor) == set(GATES)
    assert reason_counts(marked.verdicts) == []


def test_settings_that_leave_their_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="per_cell is 2, expected 3 to 1,000,000"):
        CurationSettings(per_cell=2)
    with pytest.raises(SettingsError, match="near_duplicate_radius is nan"):
        CurationSettings(near_duplicate_radius=float("nan"))


def test_pose_cells_count_every_face_once() -> None:
    features = made_features(500, yaw=np.linspace(-200, 200, 500), pitch=np.linspace(-90, 90, 500))
    assert pose_counts(cells_of(features)).sum() == 500
    assert cells_of(made_features(1, yaw=[15.0], pitch=[-0.0])).pose(0).yaw == 1
