"""The scout as a value: frames and answers in, the next scout and what to ask out. No video, no detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from engine.faces.quality import FaceQuality
from engine.identity.same_person import Rule
from engine.search.requests import (
    AreaRequest,
    EmbedRequest,
    FrameRead,
    FrameView,
    KnownFaces,
    NearRequest,
    Observation,
    Request,
    Sampled,
    Seen,
    SmallLookRequest,
    SmallPicture,
    SmallPictureRequest,
    StretchEnds,
    WholeRequest,
)
from engine.search.schedule import EMPTY_EVERY, INTERVAL_BORN, INTERVAL_CALM, RECHECK, STILL_EVERY
from engine.search.scout import Scout, ScoutSettings, begin_shot, end_window, step
from engine.tracks.track import Sample
from engine.types import Face, Identity, Image

WIDTH, HEIGHT = 640, 360
PERSON, STRANGER = np.array([1, 0, 0], np.float32), np.array([0, 1, 0], np.float32)
QUALITY = FaceQuality(60.0, 0.0, 0.0)
WALL = np.random.default_rng(1).integers(60, 200, (90, 160), dtype=np.uint8)
OTHER_WALL = np.random.default_rng(2).integers(60, 200, (90, 160), dtype=np.uint8)


def new_scout() -> Scout:
    identity = Identity("wanted", "painted", "painted", "cosine", PERSON[None], PERSON, ("photo.png",))
    return begin_shot(Scout(ScoutSettings(identity, Rule(0.4, 0.4), detection_side_px=640)))


def face(x: float, y: float = 100.0, size: float = 60.0) -> Face:
    return Face(np.array([x, y, x + size, y + size]), 0.9)


def view(index: int, luma: Image = WALL) -> FrameView:
    return FrameView(index, index, WIDTH, HEIGHT, np.ascontiguousarray(luma[::3, ::3]))


class Scene:
    """Answers requests from what is there: frame -> faces, each with who it is."""

    def __init__(self, there: Mapping[int, Sequence[tuple[Face, np.ndarray]]], luma: Mapping[int, Image] | None = None):
        self.there, self.luma = there, luma or {}
        self.asked: list[tuple[int, Request]] = []

    def show(self, scout: Scout, index: int, *, ends: bool = False) -> Scout:
        """Observe one frame to its end."""
        seen = view(index, self.luma.get(index, WALL))
        scout, request = step(scout, StretchEnds(seen) if ends else FrameRead(seen))
        while request is not None:
            self.asked.append((index, request))
            scout, request = step(scout, self._answer(request, index))
        return scout

    def kinds(self, index: int) -> list[type[Request]]:
        """Which requests a frame led to, but for the small picture that each look begins with."""
        return [type(request) for at, request in self.asked if at == index and type(request) is not SmallPictureRequest]

    def _answer(self, request: Request, index: int) -> Observation:
        there = self.there.get(index, [])
        faces = tuple(one for one, _ in there)
        if isinstance(request, SmallPictureRequest):
            return SmallPicture(self.luma.get(index, WALL))
        if isinstance(request, NearRequest):
            found: list[Face | None] = []
            for place in request.places:
                near = (one for one in faces if abs(one.bbox[0] - place.box[0]) < 20 and one not in found)
                found.append(next(near, None))
            return KnownFaces(tuple(found))
        if isinstance(request, EmbedRequest):
            who = {id(one): row for one, row in there}
            return Sampled(tuple(Sample(index, who[id(one)], 1.0, QUALITY) for one in request.faces))
        if isinstance(request, WholeRequest):
            return Seen(faces, full=True, wide=True, whole=True)
        return Seen(faces, full=isinstance(request, AreaRequest), wide=True)


def still(count: int, x: float = 100.0, who: np.ndarray = PERSON) -> dict[int, list[tuple[Face, np.ndarray]]]:
    return {index: [(face(x), who)] for index in range(count)}


def test_the_first_frame_of_a_shot_is_looked_at_whole_and_its_face_asked() -> None:
    scene = Scene(still(1))
    scout = scene.show(new_scout(), 0)
    assert scene.kinds(0) == [WholeRequest, EmbedRequest]
    (track,) = scout.window.tracks.values()
    assert (track.id, track.shot, track.last.frame, len(track.samples)) == (0, 0, 0, 1)
    assert (scout.looks, scout.full_looks, scout.births) == ((0,), (0,), (0,))


def test_a_step_changes_no_scout_that_was_handed_out() -> None:
    scene, before = Scene(still(40)), new_scout()
    scouts = [before]
    for index in range(40):
        scouts.append(scene.show(scouts[-1], index))
    assert before.state.last_look is None
    assert before.window.tracks == {}
    again = Scene(still(40))
    for index, scout in enumerate(scouts[:-1]):
        assert again.show(scout, index).looks == scouts[index + 1].looks


def test_looks_at_a_known_face_come_ever_more_seldom() -> None:
    scene, scout = Scene(still(90)), new_scout()
    for index in range(90):
        scout = scene.show(scout, index)
    gaps = np.diff(scout.looks)
    assert (gaps[0], gaps[-1]) == (INTERVAL_BORN, INTERVAL_CALM)
    assert sorted(gaps) == gaps.tolist()


def test_where_nothing_is_new_the_detector_looks_near_the_known_face_alone() -> None:
    scene, scout = Scene(still(20)), new_scout()
    for index in range(5):
        scout = scene.show(scout, index)
    assert scene.kinds(4)[:1] == [NearRequest]
    assert not {AreaRequest, WholeRequest, SmallLookRequest} & set(scene.kinds(4))
    assert scout.full_looks == (0, 4), "nothing new was left out"


def test_what_is_new_is_looked_at_in_full_where_it_is_small_and_in_small_where_it_is_large() -> None:
    spot = WALL.copy()
    spot[40:60, 100:120] = 255
    scene, scout = Scene(still(9), {4: spot, 8: OTHER_WALL}), new_scout()
    for index in (0, 4):
        scout = scene.show(scout, index)
    (request,) = (one for at, one in scene.asked if at == 4 and isinstance(one, AreaRequest))
    x1, y1, x2, y2 = request.area
    assert x1 < 100 / 160 < 120 / 160 < x2 < 0.9
    assert y1 < 40 / 90 < 60 / 90 < y2 < 0.9
    scout = scene.show(replace(scout, state=replace(scout.state, interval=INTERVAL_BORN)), 8)
    assert SmallLookRequest in scene.kinds(8)
    assert scout.full_up_to == 4, "a look in small is no full look"


def test_the_end_of_a_stretch_asks_for_a_whole_look_after_one_in_small() -> None:
    scene, scout = Scene(still(9), {8: OTHER_WALL}), new_scout()
    for index in (0, 4):
        scout = scene.show(scout, index)
    scout = scene.show(scout, 8, ends=True)
    kinds = [kind for kind in scene.kinds(8) if kind is not EmbedRequest]
    assert kinds == [NearRequest, SmallLookRequest, WholeRequest]
    assert (scout.full_up_to, scout.frame) == (8, None)
    assert scene.show(scout, 8, ends=True) is scout, "it was looked at in full already"


def test_a_lost_face_is_searched_where_it_was() -> None:
    there = still(9)
    there[4] = []
    scene, scout = Scene(there), new_scout()
    for index in (0, 4):
        scout = scene.show(scout, index)
    (request,) = (one for at, one in scene.asked if at == 4 and isinstance(one, AreaRequest))
    assert request.area[0] <= 100 / WIDTH < 160 / WIDTH <= request.area[2]


def test_an_empty_frame_without_anything_new_is_compared_and_not_looked_at() -> None:
    scene, scout = Scene({}), new_scout()
    for index in range(EMPTY_EVERY + 30):
        scout = scene.show(scout, index)
    looked = [at for at, request in scene.asked if not isinstance(request, SmallPictureRequest)]
    assert len(looked) == 2
    assert looked[0] == 0
    assert EMPTY_EVERY <= looked[1] < EMPTY_EVERY + INTERVAL_CALM


def test_a_still_face_does_not_keep_the_rest_of_the_frame_from_a_whole_look() -> None:
    scene, scout = Scene(still(STILL_EVERY + 30)), new_scout()
    for index in range(STILL_EVERY + 30):
        scout = scene.show(scout, index)
    whole = [at for at, request in scene.asked if isinstance(request, WholeRequest)]
    assert len(whole) == 2
    assert STILL_EVERY <= whole[1] < STILL_EVERY + INTERVAL_CALM


def test_a_settled_track_is_asked_again_only_as_a_check() -> None:
    scene, scout = Scene(still(160)), new_scout()
    for index in range(160):
        scout = scene.show(scout, index)
    asked = [at for at, request in scene.asked if isinstance(request, EmbedRequest)]
    gaps = np.diff([at for at in asked if at > 60])
    assert min(gaps) >= RECHECK
    assert max(gaps) < RECHECK + INTERVAL_CALM


def test_a_place_taken_over_unasked_is_noted_back_to_the_last_sample() -> None:
    there = {index: [(face(100), PERSON if index < 70 else STRANGER)] for index in range(140)}
    scene, scout = Scene(there), new_scout()
    for index in range(140):
        scout = scene.show(scout, index)
    first, second = scout.window.tracks.values()
    sampled, noticed = scout.window.taken_over[first.id]
    assert sampled < 70 < noticed
    assert second.sightings[0].frame == noticed


def test_two_faces_of_one_look_are_beside_each_other_and_a_cut_ends_both() -> None:
    there = {index: [(face(100), PERSON), (face(400), STRANGER)] for index in range(2)}
    scene = Scene(there)
    scout = scene.show(new_scout(), 0)
    assert scout.window.beside == {0: {1}, 1: {0}}
    scout = scene.show(begin_shot(scout), 1)
    assert [(track.id, track.shot) for track in scout.window.tracks.values()] == [(0, 0), (1, 0), (2, 1), (3, 1)]


def test_a_window_that_ends_hands_on_its_state_and_nothing_else() -> None:
    scene, scout = Scene(still(30)), new_scout()
    for index in range(30):
        scout = scene.show(scout, index)
    after = end_window(scout)
    assert (after.looks, after.full_looks, after.births, after.window.tracks) == ((), (), (), {})
    assert after.state.live[0].samples == scout.state.live[0].samples
    assert len(after.state.live[0].sightings) == 2


def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(ValueError, match="Seen is the answer to nothing"):
        step(new_scout(), Seen((), full=True))
    scout, request = step(new_scout(), FrameRead(view(0)))
    assert isinstance(request, SmallPictureRequest)
    with pytest.raises(ValueError, match="the small picture of the frame was asked for"):
        step(scout, KnownFaces(()))
