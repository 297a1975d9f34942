"""Where in a video to start decoding so that the pictures after a cursor come out exactly as in a full run.

Reads packets' headers (timestamps, key flags, byte positions), decodes nothing. Containers lie about all of these, and
seeking by time lands elsewhere in files whose clock jumps or repeats; so a place to start is taken only when the packet
found there is, by its byte position, a key frame that a walk from the file's start has seen. Where the timeline is not
clean there is no such place, and the caller decodes from the start.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.types import Cursor

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    Packets = Iterator[Packet[VideoStream] | None]

KEY_FRAMES_PAST_THE_CURSOR = 2
"""Reading goes on so far behind the cursor, so that a repeated timestamp near it is seen."""
KEY_FRAMES_IN_RESERVE = 1
"""The key frame nearest before the cursor is passed over: after an open group of pictures or a gradual refresh it is
not enough to make every later picture whole."""
PLACES_TO_TRY = 8
"""Tried ever farther back (1, 2, 4 … key frames), because a place may prove unusable: seeking lands late where the
container indexes decoding times, and not every key frame of an open stream is a clean start."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """Headers of a stream's packets in decoding order, from its start to some way past a cursor; empty if not clean.

    Arrays, because a resume near the end of a long video walks over a million packets.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    """Guessed by some demuxers, differently after a seek: good for seeking, not for distinguishing packets."""
    position: NDArray[np.int64]
    """Byte offset in the file."""
    is_key: NDArray[np.bool_]


def read_timeline(packets: Packets, cursor: Cursor) -> Timeline:
    """Walk packets in decoding order to a few key frames past the cursor; return nothing where one lacks its header.

    In a sound file as many packets have a pts at or before the cursor's as there are frames before it. Where that is
    not so, something was undecodable or the clock repeats itself, and the walk goes on to the end to find out.
    """
    columns = array("q"), array("q"), array("q"), array("b")
    frames_before, keys_past, last_pts = 0, 0, cursor.last_pts
    for packet in packets:
        if packet is None or last_pts is None:
            break
        if packet.pts is None or packet.pos is None or packet.pos < 0:
            return _timeline(array("q"), array("q"), array("q"), array("b"))
        dts = packet.dts if packet.dts is not None else packet.pts
        for column, value in zip(columns, (packet.pts, dts, packet.pos, packet.is_keyframe), strict=True):
            column.append(value)
        frames_before += packet.pts <= last_pts
        keys_past += frames_before >= cursor.next_frame and packet.is_keyframe and packet.pts > last_pts
        if keys_past >= KEY_FRAMES_PAST_THE_CURSOR and frames_before == cursor.next_frame:
            break
    return _timeline(*columns)


def places_to_start(timeline: Timeline, cursor: Cursor) -> list[int]:
    """Return the numbers of the key frames from which decoding reaches every picture after the cursor unharmed.

    None where two packets share a position or the cursor's pts is not that of exactly one packet.
    """
    if cursor.last_pts is None or len(np.unique(timeline.position)) != len(timeline.position):
        return []
    at_cursor = np.flatnonzero(timeline.pts == cursor.last_pts)
    if len(at_cursor) != 1:
        return []
    numbers = np.flatnonzero(timeline.is_key & (timeline.pts <= cursor.last_pts))
    keys: list[int] = numbers[numbers <= at_cursor[0]].tolist()
    return keys[: max(0, len(keys) - KEY_FRAMES_IN_RESERVE)]


def seek_times(timeline: Timeline, places: list[int]) -> Iterator[int]:
    """Yield times to seek to, nearest to the cursor first."""
    for step in range(PLACES_TO_TRY):
        if 2**step <= len(places):
            number = places[-(2**step)]
            yield from dict.fromkeys((int(timeline.pts[number]), int(timeline.dts[number])))


def retraces(packets: Packets, timeline: Timeline, cursor: Cursor) -> bool:
    """After a seek, walk to the cursor's packet; return whether every packet is what it was on the walk from the start.

    In a damaged AVI, for one, the clock depends on where reading began.
    """
    number = -1
    for packet in packets:
        if packet is None:
            return False
        if number < 0:
            found = np.flatnonzero(timeline.position == packet.pos)
            number = int(found[0]) if len(found) else len(timeline.pts)
        if number >= len(timeline.pts) or not _is_same(packet, timeline, number):
            return False
        if packet.pts == cursor.last_pts:
            return True
        number += 1
    return False


def first_usable(packets: Packets, timeline: Timeline, places: list[int]) -> Packet[VideoStream] | None:
    """After a seek, skip packets up to a place to start; None when the seek landed behind all of them."""
    positions = set(timeline.position[places].tolist())
    return next((packet for packet in packets if packet is not None and packet.pos in positions), None)


def _timeline(pts: array[int], dts: array[int], position: array[int], is_key: array[int]) -> Timeline:
    return Timeline(
        np.array(pts, np.int64), np.array(dts, np.int64), np.array(position, np.int64), np.array(is_key, np.bool_)
    )


def _is_same(packet: Packet[VideoStream], timeline: Timeline, number: int) -> bool:
    return (packet.pts, packet.pos, packet.is_keyframe) == (
        timeline.pts[number],
        timeline.position[number],
        timeline.is_key[number],
    )


def without_leading(first: Packet[VideoStream], packets: Packets) -> Packets:
    """Yield `first` and the packets after it, less the pictures shown before it that only earlier ones can complete.

    In an open group of pictures they follow the key frame; decoding would fail on them, and with several threads on
    everything after them too.
    """
    yield first
    leading = True
    for packet in packets:
        leading = leading and packet is not None and not packet.is_keyframe
        if not (leading and packet is not None and packet.pts is not None and packet.pts < (first.pts or 0)):
            yield packet
