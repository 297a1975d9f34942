"""What pass one promises: who shows up for 0.4 s is seen, wherever the looks happen to fall."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.backends.backend import Backend
from engine.backends.catalog import open_backend
from engine.clip.windows import Window, WindowReader
from engine.identity.same_person import Rule
from engine.search.observer import Observer
from engine.search.schedule import EMPTY_EVERY, INTERVAL_CALM
from engine.search.scout import Scout, ScoutSettings
from engine.types import Face, Identity, Image
from tests.painted import ALICE, BOB, PaintedBackend, frames, identity_of, picture

SHORTEST = INTERVAL_CALM
"""Frames, at 25 a second: the shortest appearance that is surely seen."""


def scouted(pictures: Iterable[Image], backend: Backend, identity: Identity) -> tuple[Scout, Window]:
    """Scout footage that is one window."""
    scout = Scout(ScoutSettings(identity, Rule(0.4, 0.4), backend.info.detection_side_px))
    reader = WindowReader(
        iter(frames(pictures)),
        Observer(backend, identity, 0.5),
        frame_skip=0,
        frames_per_second=25.0,
        stop=threading.Event(),
    )
    window = reader.next_window(scout, None, None)
    assert window is not None
    return window.scout, window


def seen_at(scout: Scout, x: float, y: float, within: float) -> bool:
    """Say whether a track has a face at this place."""
    return any(
        abs(float(one.face.bbox[0] + one.face.bbox[2]) / 2 - x) < within
        and abs(float(one.face.bbox[1] + one.face.bbox[3]) / 2 - y) < within
        for track in scout.window.tracks.values()
        for one in track.sightings
    )


@pytest.mark.parametrize("begin", range(60, 60 + SHORTEST))
@pytest.mark.parametrize("company", [False, True], ids=["alone", "beside a known face"])
def test_whoever_appears_for_the_shortest_time_is_seen_at_any_phase_of_the_looks(begin: int, company: bool) -> None:
    there = [(BOB, 100.0, 150.0, 25.0)] if company else []
    pictures = [
        picture([*there, *([(ALICE, 230.0, 90.0, 12.0)] if begin <= n < begin + SHORTEST else [])], wall=1)
        for n in range(110)
    ]
    scout, _ = scouted(pictures, PaintedBackend(), identity_of(ALICE))
    assert seen_at(scout, 230, 90, 8)


def test_an_empty_wall_is_looked_at_once_and_then_seldom() -> None:
    backend = PaintedBackend()
    scout, window = scouted([picture([], wall=1)] * (EMPTY_EVERY - 1), backend, identity_of(ALICE))
    assert backend.whole_looks == 1
    assert scout.full_looks[-1] == EMPTY_EVERY - 2, "the end of the shot shows nothing new either"
    assert window.kept is not None
    assert len(window.kept) <= INTERVAL_CALM


def test_a_wall_that_nobody_comes_to_is_looked_at_whole_after_a_while_all_the_same() -> None:
    backend = PaintedBackend()
    scouted([picture([], wall=1)] * (EMPTY_EVERY + 20), backend, identity_of(ALICE))
    assert backend.whole_looks == 2


def test_a_face_that_stops_being_found_is_looked_for_where_it_was_although_nothing_changed() -> None:
    """A detector's doubt is no departure: the part of the frame where the face was is looked at in full."""
    backend = _Doubting(forget={30, 31, 32})
    pictures = [picture([(BOB, 100.0, 120.0, 25.0)], wall=1)] * 60
    scout, _ = scouted(pictures, backend, identity_of(ALICE))
    (track,) = scout.window.tracks.values()
    assert track.sightings[-1].frame == 59


class _Doubting(PaintedBackend):
    """Does not find faces near where they are in some of its searches."""

    def __init__(self, forget: set[int]) -> None:
        super().__init__()
        self._forget = forget
        self._searches = 0

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
        self._searches += 1
        found = super().detect(image, min_confidence=min_confidence, side_px=side_px)
        return [] if self._searches in self._forget else found


@pytest.fixture(scope="module")
def mini(shared: Path) -> Backend:
    return open_backend("insightface", model_root=shared / "models", model_pack="insightface_mini", device="cpu")


@pytest.mark.parametrize("begin", [61, 64, 67, 70])
@pytest.mark.parametrize("moving", [False, True], ids=["still camera", "panning camera"])
def test_a_real_face_of_a_thirteenth_of_the_width_is_seen_in_ten_frames(
    begin: int, moving: bool, mini: Backend, shared: Path
) -> None:
    photos = shared / "media" / "photos"
    landscape = cv2.imread(str(photos / "others" / "no_face_landscape.jpg"))
    portrait = cv2.imread(str(photos / "obama" / "ref_1.jpg"))
    assert landscape is not None
    assert portrait is not None
    face = mini.detect(np.asarray(portrait, np.uint8))[0]
    x1, y1, x2, y2 = (int(value) for value in face.bbox)
    room = (x2 - x1) // 3
    cut = portrait[max(0, y1 - room) : y2 + room, max(0, x1 - room) : x2 + room]
    scale = 640 / 13 / face.width_px
    cut = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    landscape = cv2.resize(landscape, (800, 450), interpolation=cv2.INTER_AREA)

    def shot(number: int) -> Image:
        left = number if moving else 0
        shown = np.ascontiguousarray(landscape[20:380, left : left + 640])
        if begin <= number < begin + SHORTEST:
            shown[120 : 120 + cut.shape[0], 300 : 300 + cut.shape[1]] = cut
        return np.asarray(shown, np.uint8)

    row = np.ones(mini.info.embedding_size, np.float32)
    identity = Identity("wanted", "insightface", mini.info.recognition_model, "cosine", row[None], row, ("photo.png",))
    scout, _ = scouted([shot(number) for number in range(100)], mini, identity)
    assert seen_at(scout, 300 + cut.shape[1] / 2, 120 + cut.shape[0] / 2, 15)
