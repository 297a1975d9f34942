from __future__ import annotations

import numpy as np
import pytest

from engine.faces.boxes import overlap
from engine.faces.quality import FaceQuality
from engine.identity.same_person import resemblance
from engine.tracks.linking import FoundFace, contested, link
from engine.tracks.splitting import disagreement, split, split_frame
from engine.tracks.track import SAMPLES_MAX, Sample, Sighting, Track, add_sample, centre_of, predict
from engine.types import Embedding, Face

QUALITY = FaceQuality(100, 0, 0)
ALICE = np.array([1, 0, 0, 0], np.float32)
BOB = np.array([0, 1, 0, 0], np.float32)


def near(person: Embedding, seed: int, spread: float = 0.15) -> Embedding:
    noisy = person + np.random.default_rng(seed).normal(0, spread, 4)
    return np.asarray(noisy / np.linalg.norm(noisy), np.float32)


def face(x: float, y: float = 100, size: float = 100) -> Face:
    return Face(np.array([x, y, x + size, y + size]), 0.9)


def sample(frame: int, embedding: Embedding, clarity: float = 1.0) -> Sample:
    return Sample(frame, embedding, clarity, QUALITY)


def track(number: int, *places: tuple[int, float], samples: tuple[Sample, ...] = ()) -> Track:
    return Track(number, 0, tuple(Sighting(frame, face(x)) for frame, x in places), samples)


def test_faces_go_on_the_tracks_they_overlap() -> None:
    tracks = [track(0, (0, 100)), track(1, (0, 400))]
    assert link(tracks, [FoundFace(face(410)), FoundFace(face(95))], 8, "cosine", 0.4) == {0: 1, 1: 0}


def test_a_face_far_away_begins_a_track() -> None:
    assert link([track(0, (0, 100))], [FoundFace(face(700))], 4, "cosine", 0.4) == {}


def test_a_runner_is_known_by_embedding() -> None:
    runner = track(0, (0, 100), samples=(sample(0, near(ALICE, 1)),))
    far = face(100 + 330)
    assert link([runner], [FoundFace(far)], 8, "cosine", 0.4) == {}
    assert link([runner], [FoundFace(far, near(ALICE, 2), 1.0)], 8, "cosine", 0.4) == {0: 0}
    assert link([runner], [FoundFace(far, near(BOB, 2), 1.0)], 8, "cosine", 0.4) == {}


def test_two_people_who_cross_between_looks_are_told_apart_by_embedding() -> None:
    left = track(0, (0, 100), (8, 160), samples=(sample(0, near(ALICE, 1)), sample(8, near(ALICE, 2))))
    right = track(1, (0, 300), (8, 240), samples=(sample(0, near(BOB, 3)), sample(8, near(BOB, 4))))
    found = [FoundFace(face(180), near(BOB, 5), 1.0), FoundFace(face(220), near(ALICE, 6), 1.0)]
    assert link([left, right], found, 16, "cosine", 0.4) == {0: 1, 1: 0}


def test_geometry_leaves_a_crossing_open_and_two_who_stand_apart_not() -> None:
    apart = [track(0, (0, 100)), track(1, (0, 400))]
    faces = [FoundFace(face(105)), FoundFace(face(398))]
    assert contested(apart, faces, link(apart, faces, 8, "cosine", 0.4), 8, "cosine", 0.4) == set()
    crossing = [track(0, (0, 100), (8, 160)), track(1, (0, 300), (8, 240))]
    met = [FoundFace(face(180)), FoundFace(face(220))]
    assert contested(crossing, met, link(crossing, met, 16, "cosine", 0.4), 16, "cosine", 0.4) == {0, 1}
    one = [FoundFace(face(200))]
    assert contested(crossing, one, link(crossing, one, 16, "cosine", 0.4), 16, "cosine", 0.4) == {0}, "who is hidden?"


def test_a_clear_embedding_settles_an_open_link() -> None:
    left = track(0, (0, 100), (8, 160), samples=(sample(8, near(ALICE, 2)),))
    right = track(1, (0, 300), (8, 240), samples=(sample(8, near(BOB, 4)),))
    asked = [FoundFace(face(180), near(BOB, 5), 1.0), FoundFace(face(220), near(ALICE, 6), 1.0)]
    links = link([left, right], asked, 16, "cosine", 0.4)
    assert contested([left, right], asked, links, 16, "cosine", 0.4) == set()


def test_a_face_of_another_size_is_another_face() -> None:
    assert link([track(0, (0, 100))], [FoundFace(face(100, size=260))], 1, "cosine", 0.4) == {}


def test_an_unclear_embedding_forbids_nothing() -> None:
    known = track(0, (0, 100), samples=(sample(0, near(ALICE, 1)),))
    blurred = FoundFace(face(105), near(BOB, 2), clarity=0.2)
    assert link([known], [blurred], 4, "cosine", 0.4) == {0: 0}


def test_motion_is_believed_by_half() -> None:
    assert predict(track(0, (0, 100), (4, 140)), 8)[0] == pytest.approx(160)
    assert predict(track(0, (4, 140)), 8)[0] == pytest.approx(140)


def test_a_track_that_changes_its_person_is_split_where_it_does() -> None:
    samples = tuple(sample(i * 8, near(ALICE if i < 4 else BOB, i)) for i in range(8))
    switched = track(7, *((i * 8, 100 + i) for i in range(8)), samples=samples)
    frame = split_frame(switched, "cosine", 0.4)
    assert frame == 32
    first, second = split(switched, frame, new_id=9)
    assert first is not None
    assert [one.frame for one in first.sightings] == [0, 8, 16, 24]
    assert (first.id, second.id) == (7, 9)
    assert {one.frame for one in second.samples} == {32, 40, 48, 56}
    assert split_frame(first, "cosine", 0.4) is None
    assert split_frame(second, "cosine", 0.4) is None


def test_the_first_sample_that_disagrees_says_between_which_frames_to_ask() -> None:
    samples = tuple(sample(i * 8, near(BOB if i == 5 else ALICE, i)) for i in range(6))
    torn = track(0, *((i * 8, 100) for i in range(6)), samples=samples)
    assert disagreement(torn, "cosine", 0.4) == (32, 40)
    assert split_frame(torn, "cosine", 0.4) is None, "one is not enough to split"
    same = tuple(sample(i * 8, near(ALICE, i)) for i in range(6))
    assert disagreement(track(0, (0, 100), samples=same), "cosine", 0.4) is None
    blurred = (*same, sample(48, near(BOB, 9), clarity=0.2))
    assert disagreement(track(0, (0, 100), samples=blurred), "cosine", 0.4) is None


def test_one_bad_embedding_does_not_split_a_track() -> None:
    samples = tuple(sample(i * 8, near(BOB if i == 4 else ALICE, i)) for i in range(9))
    assert split_frame(track(0, *((i * 8, 100) for i in range(9)), samples=samples), "cosine", 0.4) is None


def test_a_face_that_turns_away_does_not_split_its_track() -> None:
    samples = tuple(sample(i * 8, near(ALICE if i < 4 else BOB, i), 1.0 if i < 4 else 0.3) for i in range(8))
    assert split_frame(track(0, *((i * 8, 100) for i in range(8)), samples=samples), "cosine", 0.4) is None


def test_a_track_keeps_its_clearest_samples_in_frame_order() -> None:
    kept: tuple[Sample, ...] = ()
    for frame in range(SAMPLES_MAX + 10):
        kept = add_sample(kept, sample(frame, ALICE, clarity=0.2 if frame < 10 else 0.9))
    assert len(kept) == SAMPLES_MAX
    assert [one.frame for one in kept] == sorted(one.frame for one in kept)
    assert min(one.clarity for one in kept) == 0.9


def test_samples_that_are_asked_later_stand_in_frame_order() -> None:
    kept = add_sample((sample(0, ALICE), sample(16, ALICE)), sample(8, BOB))
    assert [one.frame for one in kept] == [0, 8, 16]


def test_the_centre_leans_towards_clear_samples() -> None:
    middle = centre_of([sample(0, ALICE, 1.0), sample(1, BOB, 0.1)], "cosine")
    assert resemblance(middle, ALICE, "cosine") > 0.99
    assert np.linalg.norm(middle) == pytest.approx(1.0)


def test_overlap_is_intersection_over_union() -> None:
    a, b = np.array([0.0, 0, 10, 10]), np.array([5.0, 0, 15, 10])
    assert overlap(a, b) == pytest.approx(50 / 150)
    assert overlap(a, b + 100) == 0.0
