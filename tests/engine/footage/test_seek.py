"""Where decoding may start so that the rest of a video comes out as in a full run."""

from __future__ import annotations

import numpy as np

from engine.footage.seek import Timeline, places_to_start, seek_times
from engine.types import Cursor

PACKET_BYTES = 100


def timeline(*entries: tuple[int, bool], packet_bytes: int = PACKET_BYTES) -> Timeline:
    pts = np.array([pts for pts, _ in entries], np.int64)
    position = np.arange(len(entries), dtype=np.int64) * PACKET_BYTES // packet_bytes
    return Timeline(pts, pts - 1, position, np.array([is_key for _, is_key in entries], np.bool_))


CLEAN_ENTRIES = [(pts, pts % 4 == 0) for pts in range(16)]
CLEAN = timeline(*CLEAN_ENTRIES)


def test_the_nearest_key_frame_is_kept_in_reserve() -> None:
    assert places_to_start(CLEAN, Cursor(11, 10)) == [0, 4]


def test_the_first_group_of_pictures_has_no_place_to_start() -> None:
    assert places_to_start(CLEAN, Cursor(3, 2)) == []


def test_a_key_frame_shown_after_the_cursor_is_no_place() -> None:
    open_group = timeline((0, True), (2, True), (6, True), (4, False), (5, False), (7, False))
    assert places_to_start(open_group, Cursor(5, 4)) == [0]


def test_a_time_that_occurs_twice_is_not_trusted() -> None:
    assert places_to_start(timeline(*CLEAN_ENTRIES, *CLEAN_ENTRIES), Cursor(27, 10)) == []


def test_a_time_that_never_occurs_is_not_trusted() -> None:
    assert places_to_start(CLEAN, Cursor(11, 99)) == []


def test_packets_that_share_a_position_are_not_trusted() -> None:
    assert places_to_start(timeline(*CLEAN_ENTRIES, packet_bytes=2 * PACKET_BYTES), Cursor(11, 10)) == []


def test_places_are_tried_ever_farther_back() -> None:
    keys = timeline(*((pts, True) for pts in range(0, 100, 10)))
    assert list(seek_times(keys, list(range(10)))) == [90, 89, 80, 79, 60, 59, 20, 19]
