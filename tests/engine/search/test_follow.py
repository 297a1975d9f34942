"""Wanted faces in the frames between looks, on painted people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from engine.search.follow import ASSUMED_FRAMES, Follower
from engine.tracks.track import Sighting, Track
from engine.types import Face
from tests.painted import ALICE, BOB, FAINT_ALICE, PaintedBackend, boxes_of, frames, picture

RADIUS = 20


def face_at(x: float, y: float = 120) -> Face:
    box = np.array([x - RADIUS, y - RADIUS, x + RADIUS + 1, y + RADIUS + 1])
    shares = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
    return Face(box, 0.95, shares * (2 * RADIUS) + box[:2])


def track(number: int, places: Sequence[tuple[int, float]], y: float = 120) -> Track:
    return Track(number, 0, tuple(Sighting(frame, face_at(x, y)) for frame, x in places))


def follow(follower: Follower, pictures: Sequence[np.ndarray]) -> dict[int, dict[int, Face]]:
    found: dict[int, dict[int, Face]] = {}
    for decoded in frames(pictures):
        expected = follower.expect(decoded.index)
        for one in follower.fill(decoded.index, decoded.to_frame().pixels, expected) if expected else []:
            found.setdefault(one.track, {})[one.frame] = one.face
    return found


def moving(path: Callable[[int], float], count: int) -> list[np.ndarray]:
    return [picture([(ALICE, path(n), 120, RADIUS)]) for n in range(count)]


def test_a_face_is_found_in_every_frame_between_two_looks() -> None:
    def path(n: int) -> float:
        return 60 + 8 * n

    follower = Follower(PaintedBackend(), 0.5, {1: track(1, [(0, 60), (12, 156)])}, ())
    places = boxes_of(follow(follower, moving(path, 13))[1])
    assert sorted(places) == list(range(13))
    assert all(abs(x - path(n)) < 3 for n, (x, _) in places.items())


def test_a_face_that_moves_unevenly_between_two_looks_is_not_lost() -> None:
    def path(n: int) -> float:
        return 60 + 0.9 * n * n

    follower = Follower(PaintedBackend(), 0.5, {1: track(1, [(0, 60), (12, path(12))])}, ())
    places = boxes_of(follow(follower, moving(path, 13))[1])
    assert sorted(places) == list(range(13))
    assert all(abs(x - path(n)) < 6 for n, (x, _) in places.items())


def test_steady_faces_are_searched_in_every_third_frame_alone() -> None:
    backend = PaintedBackend()
    follower = Follower(backend, 0.5, {1: track(1, [(0, 100), (24, 100)])}, ())
    assert len(follow(follower, moving(lambda _: 100, 25))[1]) == 25
    assert backend.near_looks <= 24 // (ASSUMED_FRAMES + 1) + 1
    asked = PaintedBackend()
    follow(
        Follower(asked, 0.5, {1: track(1, [(0, 100), (24, 100)])}, (), assume_steady=False), moving(lambda _: 100, 25)
    )
    assert asked.near_looks == 23


def test_frames_without_the_face_are_left_out_and_the_track_goes_on() -> None:
    pictures = moving(lambda n: 60 + 8 * n, 13)
    for gone in (5, 6, 7):
        pictures[gone] = picture([])
    follower = Follower(PaintedBackend(), 0.5, {1: track(1, [(0, 60), (12, 156)])}, (), assume_steady=False)
    assert sorted(follow(follower, pictures)[1]) == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]


def test_a_weak_face_within_its_track_is_found_though_no_new_one_would_be() -> None:
    pictures = moving(lambda _: 100, 9)
    for weak in (3, 4):
        pictures[weak] = picture([(FAINT_ALICE, 100, 120, RADIUS)])
    backend = PaintedBackend()
    assert backend.detect(pictures[3]) == []
    follower = Follower(backend, 0.5, {1: track(1, [(0, 100), (8, 100)])}, (), assume_steady=False)
    assert sorted(follow(follower, pictures)[1]) == list(range(9))


def test_a_track_is_followed_beyond_its_last_look_until_it_is_gone() -> None:
    pictures = [*moving(lambda n: 100 + 3 * n, 6), *[picture([])] * 4]
    follower = Follower(PaintedBackend(), 0.5, {1: track(1, [(0, 100)])}, ())
    assert sorted(follow(follower, pictures)[1]) == list(range(6))


def test_a_birth_is_followed_back_to_where_it_began() -> None:
    pictures = [*[picture([])] * 4, *[picture([(ALICE, 60 + 4 * n, 120, RADIUS)]) for n in range(4, 13)]]
    follower = Follower(PaintedBackend(), 0.5, {1: track(1, [(12, 108)])}, ())
    assert follower.births_at(12) == [1]
    follower.follow_back([1], reversed(frames(pictures)[1:12]))
    assert sorted(follow(follower, pictures)[1]) == list(range(4, 13))


def test_another_persons_face_is_not_taken_where_two_cross() -> None:
    pictures = [
        picture([(ALICE, 60 + 16 * n, 110, RADIUS)]) if n in (5, 6) else
        picture([(ALICE, 60 + 16 * n, 110, RADIUS), (BOB, 240 - 16 * n, 140, RADIUS)])
        for n in range(12)
    ]  # fmt: skip
    alice, bob = track(1, [(0, 60), (11, 236)], y=110), track(2, [(0, 240), (11, 64)], y=140)
    found = follow(Follower(PaintedBackend(), 0.5, {2: bob}, (alice,)), pictures)
    places = boxes_of(found[2])
    for frame, (x, y) in places.items():
        if frame not in (4, 5, 6, 7):
            assert (x, y) == pytest.approx((240 - 16 * frame, 140), abs=4), frame
    assert 5 not in places, "Alice stands where Bob was expected"
    assert 6 not in places
