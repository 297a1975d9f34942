"""The curve by threshold, the strangers that a frame proves, and the choice, on hand-made tracks."""

from __future__ import annotations

import random

import pytest

from engine.tuning.threshold_curve import SeenTrack, certain_strangers, choose, curve, kinds_of, thresholds
from engine.tuning.threshold_picture import CHOSEN_BGR, COLOURS_BGR, threshold_picture

AUTO = 0.40


def track(number: int, similarity: float, first: int, last: int, *, beside: tuple[int, ...] = ()) -> SeenTrack:
    return SeenTrack(number, similarity, last - first + 1, first, last, frozenset(beside))


def pairs(person: float, stranger: float, count: int) -> list[SeenTrack]:
    """The person and somebody else, in view together for ten frames, `count` times."""
    return [
        one
        for shot in range(count)
        for one in (
            track(2 * shot, person, 100 * shot, 100 * shot + 9),
            track(2 * shot + 1, stranger, 100 * shot, 100 * shot + 9),
        )
    ]


def test_the_curve_has_every_step_and_the_default() -> None:
    assert thresholds(0.40) == thresholds(0.45)
    assert len(thresholds(0.40)) == 14
    assert thresholds(0.42)[:4] == (0.30, 0.35, 0.40, 0.42)
    assert (thresholds(0.42)[0], thresholds(0.42)[-1]) == (0.30, 0.95)


def test_the_less_similar_of_two_faces_in_one_frame_is_a_certain_false_accept() -> None:
    tracks = [track(0, 0.7, 0, 9), track(1, 0.5, 20, 29, beside=(2,)), track(2, 0.45, 30, 33)]
    point = next(one for one in curve(tracks, AUTO) if one.threshold == 0.40)
    assert (point.tracks, point.faces, point.false_tracks, point.false_faces) == (2, 20, 1, 4)
    assert point.false_accept_rate == 1.0


def test_tracks_that_overlap_in_time_are_two_people() -> None:
    assert certain_strangers([track(0, 0.7, 0, 9), track(1, 0.2, 9, 20), track(2, 0.1, 30, 40)]) == {1: 0}


def test_who_is_ruled_out_rules_nobody_else_out() -> None:
    tracks = [track(0, 0.7, 0, 9), track(1, 0.6, 5, 20), track(2, 0.5, 15, 30)]
    assert certain_strangers(tracks) == {1: 0}


def test_a_face_beside_nobody_similar_is_undecided() -> None:
    tracks = [track(0, 0.2, 0, 9), track(1, 0.1, 0, 9), track(2, 0.7, 50, 60)]
    assert kinds_of(tracks, AUTO) == {0: "undecided", 1: "undecided", 2: "person"}


def test_a_track_that_no_threshold_accepts_is_never_kept_and_rules_nobody_out() -> None:
    tracks = [SeenTrack(0, 0.9, 10, 0, 9, eligible=False), track(1, 0.6, 0, 9)]
    assert {(point.tracks, point.false_tracks) for point in curve(tracks, AUTO)} == {(1, 0), (0, 0)}


def test_kept_and_false_faces_never_grow_with_the_threshold() -> None:
    dice = random.Random(7)
    for _ in range(200):
        tracks = []
        for number in range(dice.randrange(12)):
            first = dice.randrange(100)
            beside = tuple(dice.sample(range(12), dice.randrange(3)))
            tracks.append(track(number, dice.uniform(-0.2, 1), first, first + dice.randrange(30), beside=beside))
        points = curve(tracks, AUTO)
        for name in ("faces", "tracks", "false_faces", "false_tracks", "false_accept_rate", "rate_at_most"):
            values = [getattr(point, name) or 0 for point in points]
            assert values == sorted(values, reverse=True), name


def test_a_rate_from_few_strangers_has_a_wide_bound() -> None:
    few, many = curve(pairs(0.7, 0.1, 3), AUTO)[0], curve(pairs(0.7, 0.1, 100), AUTO)[0]
    assert few.false_accept_rate == many.false_accept_rate == 0.0
    # Wilson: z² / (n + z²), one-sided 95 %.
    assert few.rate_at_most == pytest.approx(2.706 / 5.706, abs=1e-3)
    assert many.rate_at_most == pytest.approx(2.706 / 102.706, abs=1e-3)


def test_the_choice_is_the_middle_of_the_valley() -> None:
    choice = choose(pairs(0.80, 0.30, 12), AUTO)
    assert choice.threshold == 0.55
    assert "0.30" in choice.reason
    assert "0.80" in choice.reason


def test_few_strangers_never_argue_for_less_than_auto() -> None:
    assert choose(pairs(0.50, 0.10, 9), AUTO).threshold == AUTO
    assert choose(pairs(0.50, 0.10, 12), AUTO).threshold == 0.30


def test_a_stranger_above_the_weakest_kept_track_raises_the_choice_over_it() -> None:
    tracks = [*pairs(0.80, 0.60, 12), track(99, 0.45, 9000, 9010)]
    choice = choose(tracks, AUTO)
    assert choice.threshold == 0.62
    assert "costs 1 of 13 tracks" in choice.reason


def test_the_choice_stays_within_what_a_configuration_may_set() -> None:
    assert choose(pairs(0.99, 0.97, 12), AUTO).threshold == 0.95
    assert choose(pairs(0.45, -0.10, 12), AUTO).threshold == 0.30


@pytest.mark.parametrize("tracks", [[], [track(0, 0.8, 0, 9), track(1, 0.8, 20, 29)], pairs(0.8, 0.1, 2)])
def test_without_enough_strangers_the_default_stays_and_says_so(tracks: list[SeenTrack]) -> None:
    choice = choose(tracks, AUTO)
    assert choice.threshold == AUTO
    assert choice.reason.startswith("not enough evidence, keep auto (0.40)")


def test_the_picture_shows_each_kind_and_the_chosen_line() -> None:
    tracks = [*pairs(0.80, 0.10, 3), track(99, 0.25, 9000, 9010)]
    picture = threshold_picture("clip", tracks, default=AUTO, chosen=0.55)
    for colour in (*COLOURS_BGR.values(), CHOSEN_BGR):
        below_the_legend = picture[150:]
        assert (below_the_legend == colour).all(axis=2).any()
