"""Footage in windows, scouted on the way: painted people on walls that change at cuts."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

import engine.clip.windows
from engine.clip.windows import Window, WindowReader
from engine.frames.contract import DecodedFrame
from engine.identity.same_person import Rule
from engine.search.observer import Observer
from engine.search.schedule import FULL_EVERY, INTERVAL_CALM
from engine.search.scout import Scout, ScoutSettings, end_window
from tests.painted import ALICE, BOB, PaintedBackend, frames, identity_of, picture


def scouted(
    pictures: Iterable[np.ndarray], *, frame_skip: int = 0, stop: threading.Event | None = None
) -> tuple[list[Window], list[Scout], PaintedBackend, list[int]]:
    """Read all windows; return them, the scout as it was after each, the backend and every frame that was read."""
    backend, read = PaintedBackend(), []
    windows: list[Window] = []
    identity = identity_of(ALICE)
    scout = Scout(ScoutSettings(identity, Rule(0.4, 0.4), backend.info.detection_side_px))

    def reading() -> Iterator[DecodedFrame]:
        for decoded in frames(pictures):
            read.append(decoded.index)
            yield decoded

    reader = WindowReader(
        reading(),
        Observer(backend, identity, 0.5),
        frame_skip=frame_skip,
        frames_per_second=25.0,
        stop=stop or threading.Event(),
    )
    shot, after = None, None
    while (window := reader.next_window(scout, shot, after)) is not None:
        windows.append(window)
        scout, shot, after = end_window(window.scout), window.shot, window.end
    return windows, [window.scout for window in windows], backend, read


def still(colour: tuple[int, int, int], count: int, wall: int) -> list[np.ndarray]:
    return [picture([(colour, 100, 120, 20)], wall=wall)] * count


def test_a_window_ends_at_a_cut_and_no_track_crosses_it() -> None:
    windows, scouts, _, handed = scouted([*still(ALICE, 20, 1), *still(ALICE, 15, 2)])
    assert [(one.first, one.last, one.frames) for one in windows] == [(0, 19, 20), (20, 34, 15)]
    assert [len(one.window.tracks) for one in scouts] == [1, 1]
    assert set(scouts[0].window.tracks) != set(scouts[1].window.tracks)
    assert windows[0].shot is None, "the next window begins a shot"
    assert handed == list(range(35))


def test_first_and_last_frame_of_a_shot_are_looked_at_whole() -> None:
    _, scouts, _, _ = scouted([*still(ALICE, 20, 1), *still(BOB, 15, 2)])
    assert (scouts[0].full_looks[0], scouts[0].full_looks[-1]) == (0, 19)
    assert (scouts[1].full_looks[0], scouts[1].full_looks[-1]) == (20, 34)


def test_known_and_calm_faces_are_looked_at_seldom() -> None:
    _, scouts, backend, _ = scouted(still(BOB, 200, 1))
    gaps = np.diff(scouts[0].looks)
    assert gaps[0] < gaps.max() <= INTERVAL_CALM
    assert backend.whole_looks < 200 / 12
    assert backend.asked < 2 * 30, "embeddings stop once nobody is in doubt"


def test_an_empty_wall_costs_few_whole_looks() -> None:
    _, scouts, backend, _ = scouted([picture([], wall=1)] * 240)
    assert scouts[0].window.tracks == {}
    assert backend.whole_looks <= 240 / 24 + 2


def test_a_newcomer_is_found_by_a_whole_look() -> None:
    pictures = [*still(BOB, 30, 1), *[picture([(BOB, 100, 120, 20), (ALICE, 220, 120, 20)], wall=1)] * 40]
    _, scouts, _, _ = scouted(pictures)
    born = [track.sightings[0].frame for track in scouts[0].window.tracks.values()]
    assert len(born) == 2
    assert born[1] <= 30 + FULL_EVERY + INTERVAL_CALM
    first, second = scouts[0].window.tracks
    assert scouts[0].window.beside[first] == {second}


def test_a_long_calm_shot_is_worked_off_in_pieces_and_the_track_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.clip.windows, "HELD_BYTES", 40 * 320 * 240 * 3)
    windows, scouts, _, _ = scouted(still(BOB, 200, 1))
    assert len(windows) > 2
    assert sum(one.frames for one in windows) == 200
    assert all(one.kept is not None for one in windows), "a settled window is closed rather than read twice"
    assert all(list(one.window.tracks) == list(scouts[0].window.tracks) for one in scouts)
    assert all(one.shot is not None for one in windows)


def test_a_doubtful_window_is_not_cut_but_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.clip.windows, "HELD_BYTES", 10 * 320 * 240 * 3)
    doubtful = (150, 150, 40)  # half Alice, half Bob
    windows, _, _, _ = scouted([picture([(doubtful, 100, 120, 20)], wall=1)] * 60)
    assert len(windows) == 1
    assert windows[0].kept is None


def test_frames_nobody_can_want_are_not_kept() -> None:
    windows, _, _, _ = scouted([*[picture([], wall=1)] * 100, *still(ALICE, 20, 1)])
    assert windows[0].kept is not None
    assert len(windows[0].kept) < 60


def test_frames_left_out_are_read_but_not_examined() -> None:
    windows, scouts, _, handed = scouted(still(ALICE, 20, 1), frame_skip=3)
    assert handed == list(range(20))
    assert (windows[0].frames, windows[0].examined) == (20, 5)
    assert all(frame % 4 == 0 for frame in scouts[0].looks)


def test_a_stop_leaves_the_window_to_the_next_run() -> None:
    stop = threading.Event()
    stop.set()
    windows, _, backend, _ = scouted(still(ALICE, 20, 1), stop=stop)
    assert windows == []
    assert backend.whole_looks == 0
