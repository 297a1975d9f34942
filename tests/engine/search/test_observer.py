"""Pass one on painted people: when it looks, whom it asks, and who was beside whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from engine.identity.same_person import Rule
from engine.search.observer import Observer
from engine.search.schedule import INTERVAL_BORN, INTERVAL_CALM, RECHECK
from engine.search.scout import Scout, ScoutSettings, begin_shot, end_window, replace_track
from engine.tracks.track import Sighting, Track
from engine.tracks.window_tracks import WindowTracks
from engine.types import Face, Image
from tests.painted import ALICE, BOB, CAROL, PaintedBackend, frames, identity_of, picture


class Pass:
    """Pass one over painted pictures: the scout as it is now, and the backend that was asked."""

    def __init__(self, rate_scale: float = 1.0) -> None:
        self.backend = PaintedBackend()
        identity = identity_of(ALICE)
        self.observer = Observer(self.backend, identity, 0.5)
        settings = ScoutSettings(identity, Rule(0.4, 0.4), self.backend.info.detection_side_px, rate_scale)
        self.scout = begin_shot(Scout(settings))

    @property
    def tracks(self) -> Mapping[int, Track]:
        return self.scout.window.tracks

    def look_at(self, pictures: Sequence[Image], *, only: Sequence[int] | None = None) -> list[int]:
        """Show the scout every frame; it looks when it is due, or at all of `only` these. Return where it looked."""
        before = len(self.scout.looks)
        for decoded in frames(pictures):
            thumbnail = decoded.luma(32)
            if only is None:
                self.scout = self.observer.read(self.scout, decoded, thumbnail)
            elif decoded.index in only:
                due = replace(self.scout, state=replace(self.scout.state, last_whole_look=None))
                self.scout = self.observer.end_stretch(due, decoded, thumbnail)
        return list(self.scout.looks[before:])


def seen(track: Track) -> list[int]:
    return [one.frame for one in track.sightings]


def test_a_shot_is_looked_at_at_once_then_soon_then_ever_more_seldom() -> None:
    scout = Pass()
    looked = scout.look_at([picture([(BOB, 100, 120, 30)])] * 120)
    gaps = np.diff(looked)
    assert looked[0] == 0
    assert gaps[0] == INTERVAL_BORN
    assert gaps[-1] == INTERVAL_CALM
    assert sorted(gaps) == gaps.tolist()


def test_intervals_are_times_not_frames() -> None:
    scout = Pass(rate_scale=2.0)
    looked = scout.look_at([picture([(BOB, 100, 120, 30)])] * 60)
    assert looked[1] == 2 * INTERVAL_BORN


def test_somebody_known_is_asked_again_only_as_a_check() -> None:
    scout = Pass()
    backend = scout.backend
    still = [picture([(ALICE, 100, 120, 30)])] * 200
    scout.look_at(still[:60])
    scout.look_at(still, only=[60 + RECHECK])
    (track,) = scout.tracks.values()
    checked, asked = track.samples[-1].frame, backend.asked
    assert checked == 60 + RECHECK
    scout.look_at(still, only=[checked + 1, checked + 2, checked + RECHECK - 1])
    assert backend.asked == asked, "three looks at a face that is known"
    scout.look_at(still, only=[checked + RECHECK])
    assert backend.asked > asked


def test_people_who_pass_each_other_between_two_looks_keep_their_tracks() -> None:
    scout = Pass()

    def at(n: int) -> Image:
        return picture([(ALICE, 60 + 8 * n, 110, 24), (BOB, 260 - 8 * n, 130, 24)])

    scout.look_at([at(n) for n in range(25)], only=[0, 4, 8, 18, 22])
    assert len(scout.tracks) == 2
    for track in scout.tracks.values():
        colours = {tuple(sample.embedding.round(1).tolist()) for sample in track.samples}
        assert len(colours) == 1, "one person a track"
        assert seen(track)[-1] == 22


def test_a_face_that_was_missed_is_asked_when_it_is_back() -> None:
    scout = Pass()
    backend = scout.backend
    there, away = picture([(ALICE, 100, 120, 30)]), picture([])
    scout.look_at([there] * 40)
    (track,) = scout.tracks.values()
    asked = backend.asked
    scout.look_at([there] * 40 + [away, there], only=[40, 41])
    assert backend.asked > asked, "it may be somebody else who is there now"
    assert list(scout.tracks) == [track.id]


def test_a_place_that_somebody_else_took_unseen_is_noted_back_to_the_last_sample() -> None:
    scout = Pass()
    pictures = [picture([(ALICE if n < 24 else BOB, 100, 120, 30)]) for n in range(120)]
    scout.look_at(pictures, only=[0, 4, 8, 12, 16, 20, 28, 36, 43, 52, 60])
    first = scout.tracks[min(scout.tracks)]
    assert seen(first)[-1] > 24, "geometry alone went on"
    sampled, noticed = scout.scout.window.taken_over[first.id]
    assert sampled < 24 < noticed
    assert len(scout.tracks) == 2


def test_faces_in_one_frame_are_noted_as_beside_each_other_and_nested_ones_are_not() -> None:
    scout = Pass()
    scout.look_at([picture([(ALICE, 60, 120, 24), (BOB, 160, 120, 24), (CAROL, 260, 120, 24)])], only=[0])
    assert all(others == set(scout.tracks) - {number} for number, others in scout.scout.window.beside.items())


def test_a_cut_ends_every_track() -> None:
    scout = Pass()
    scout.look_at([picture([(ALICE, 100, 120, 30)])], only=[0])
    scout.scout = begin_shot(scout.scout)
    scout.look_at([picture([(ALICE, 100, 120, 30)])] * 2, only=[1])
    assert [track.shot for track in scout.tracks.values()] == [0, 1]


def test_a_window_that_ends_keeps_what_goes_on_and_forgets_the_rest() -> None:
    scout = Pass()
    scout.look_at([picture([(ALICE, 100, 120, 30)])] * 60)
    (track,) = scout.tracks.values()
    after = end_window(scout.scout)
    assert (after.window.tracks, after.window.beside, after.looks) == ({}, {}, ())
    (going_on,) = after.state.live
    assert going_on.id == track.id
    assert going_on.samples == track.samples
    assert seen(going_on) == seen(track)[-2:]


def test_the_parts_of_a_split_track_are_beside_those_they_shared_a_frame_with() -> None:
    def track(number: int, places: Sequence[int], x: float) -> Track:
        face = Face(np.array([x, 100, x + 40, 140]), 0.9)
        return Track(number, 0, tuple(Sighting(frame, face) for frame in places))

    window = WindowTracks(
        {0: track(0, [0, 8, 16, 24], 10), 1: track(1, [0, 8], 200), 2: track(2, [24], 200)},
        {0: frozenset({1, 2}), 1: frozenset({0}), 2: frozenset({0})},
    )
    scout = replace_track(replace(Pass().scout, window=window), 0, track(0, [0, 8], 10), track(3, [16, 24], 10))
    assert scout.window.beside == {0: {1}, 3: {2}, 1: {0}, 2: {3}}
    assert scout.state.next_track == 4
