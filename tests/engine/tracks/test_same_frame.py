"""Pass one on painted people: when it looks, whom it asks, and who was beside whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.identity.same_person import Rule
from engine.search.scout import INTERVAL_BORN, INTERVAL_CALM, RECHECK, Scout
from engine.tracks.track import Sighting, Track
from engine.types import Face, Image
from tests.painted import ALICE, BOB, CAROL, PaintedBackend, frames, identity_of, picture


def new_scout() -> tuple[Scout, PaintedBackend]:
    backend = PaintedBackend()
    scout = Scout(backend, identity_of(ALICE), Rule(0.4, 0.4), 0.5)
    scout.begin_shot()
    return scout, backend


def look_at(scout: Scout, pictures: Sequence[Image], *, only: Sequence[int] | None = None) -> list[int]:
    """Let the scout see every frame; it looks when it is due, or at `only` these. Return where it looked."""
    looked = []
    for decoded in frames(pictures):
        thumbnail = decoded.luma(32)
        if decoded.index in only if only is not None else scout.due(decoded, thumbnail):
            scout.look(decoded, thumbnail, whole=only is not None)
            looked.append(decoded.index)
    return looked


def seen(track: Track) -> list[int]:
    return [one.frame for one in track.sightings]


def test_a_shot_is_looked_at_at_once_then_soon_then_ever_more_seldom() -> None:
    scout, _ = new_scout()
    looked = look_at(scout, [picture([(BOB, 100, 120, 30)])] * 120)
    gaps = np.diff(looked)
    assert looked[0] == 0
    assert gaps[0] == INTERVAL_BORN
    assert gaps[-1] == INTERVAL_CALM
    assert sorted(gaps) == gaps.tolist()


def test_intervals_are_times_not_frames() -> None:
    scout, _ = new_scout()
    scout.rate_scale = 2.0
    looked = look_at(scout, [picture([(BOB, 100, 120, 30)])] * 60)
    assert looked[1] == 2 * INTERVAL_BORN


def test_somebody_known_is_asked_again_only_as_a_check() -> None:
    scout, backend = new_scout()
    still = [picture([(ALICE, 100, 120, 30)])] * 200
    look_at(scout, still[:60])
    look_at(scout, still, only=[60 + RECHECK])
    (track,) = scout.tracks.values()
    checked, asked = track.samples[-1].frame, backend.asked
    assert checked == 60 + RECHECK
    look_at(scout, still, only=[checked + 1, checked + 2, checked + RECHECK - 1])
    assert backend.asked == asked, "three looks at a face that is known"
    look_at(scout, still, only=[checked + RECHECK])
    assert backend.asked > asked


def test_people_who_pass_each_other_between_two_looks_keep_their_tracks() -> None:
    scout, _ = new_scout()

    def at(n: int) -> Image:
        return picture([(ALICE, 60 + 8 * n, 110, 24), (BOB, 260 - 8 * n, 130, 24)])

    look_at(scout, [at(n) for n in range(25)], only=[0, 4, 8, 18, 22])
    assert len(scout.tracks) == 2
    for track in scout.tracks.values():
        colours = {tuple(sample.embedding.round(1).tolist()) for sample in track.samples}
        assert len(colours) == 1, "one person a track"
        assert seen(track)[-1] == 22


def test_a_face_that_was_missed_is_asked_when_it_is_back() -> None:
    scout, backend = new_scout()
    there, away = picture([(ALICE, 100, 120, 30)]), picture([])
    look_at(scout, [there] * 40)
    (track,) = scout.tracks.values()
    asked = backend.asked
    look_at(scout, [there] * 40 + [away, there], only=[40, 41])
    assert backend.asked > asked, "it may be somebody else who is there now"
    assert list(scout.tracks) == [track.id]


def test_a_place_that_somebody_else_took_unseen_is_marked_back_to_the_last_sample() -> None:
    scout, _ = new_scout()
    pictures = [picture([(ALICE if n < 24 else BOB, 100, 120, 30)]) for n in range(120)]
    look_at(scout, pictures, only=[0, 4, 8, 12, 16, 20, 28, 36, 43, 52, 60])
    first = scout.tracks[min(scout.tracks)]
    assert seen(first)[-1] > 24, "geometry alone went on"
    sampled, noticed = scout.torn[first.id]
    assert sampled < 24 < noticed
    assert len(scout.tracks) == 2


def test_faces_in_one_frame_are_noted_as_beside_each_other_and_nested_ones_are_not() -> None:
    scout, _ = new_scout()
    look_at(scout, [picture([(ALICE, 60, 120, 24), (BOB, 160, 120, 24), (CAROL, 260, 120, 24)])], only=[0])
    assert all(others == set(scout.tracks) - {number} for number, others in scout.beside.items())


def test_a_cut_ends_every_track() -> None:
    scout, _ = new_scout()
    look_at(scout, [picture([(ALICE, 100, 120, 30)])], only=[0])
    scout.begin_shot()
    look_at(scout, [picture([(ALICE, 100, 120, 30)])] * 2, only=[1])
    assert [track.shot for track in scout.tracks.values()] == [0, 1]


def test_a_window_that_ends_keeps_what_goes_on_and_forgets_the_rest() -> None:
    scout, _ = new_scout()
    look_at(scout, [picture([(ALICE, 100, 120, 30)])] * 60)
    (track,) = scout.tracks.values()
    scout.end_window()
    assert (scout.tracks, scout.beside, scout.looks) == ({}, {}, [])
    (going_on,) = scout.state.live
    assert going_on.id == track.id
    assert going_on.samples == track.samples
    assert seen(going_on) == seen(track)[-2:]


def test_the_parts_of_a_split_track_are_beside_those_they_shared_a_frame_with() -> None:
    scout, _ = new_scout()

    def track(number: int, places: Sequence[int], x: float) -> Track:
        face = Face(np.array([x, 100, x + 40, 140]), 0.9)
        return Track(number, 0, tuple(Sighting(frame, face) for frame in places))

    scout.tracks = {0: track(0, [0, 8, 16, 24], 10), 1: track(1, [0, 8], 200), 2: track(2, [24], 200)}
    scout.beside = {0: {1, 2}, 1: {0}, 2: {0}}
    scout.replace_track(0, track(0, [0, 8], 10), track(3, [16, 24], 10))
    assert scout.beside == {0: {1}, 3: {2}, 1: {0}, 2: {3}}
    assert scout.state.next_track == 4
