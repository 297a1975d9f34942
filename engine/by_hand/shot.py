"""The shot that a time lies in: where it begins, in pieces that fit into memory, so that it can be read backwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.clip.windows import UNSEEN_BYTES
from engine.frames.contract import DecodedFrame
from engine.frames.shots import ShotState, advance, is_cut
from engine.search.observer import thumbnail_of
from engine.types import Cursor

PIECE_FRAMES_MAX = 64


@dataclass(frozen=True)
class Piece:
    """Where a piece of a shot begins."""

    after: Cursor | None
    """From which it is read; None: from the beginning of the footage."""
    first: int
    """Index of its first frame."""


@dataclass(frozen=True, eq=False)
class ShotSoFar:
    """A shot, from its first frame to the one that was looked for."""

    pieces: tuple[Piece, ...]
    """In their order; the last one holds the frame."""
    frame: DecodedFrame
    state: ShotState
    """With the frame; by which the end of the shot is seen."""


def shot_of(frames: Iterator[DecodedFrame], is_wanted: Callable[[DecodedFrame], bool]) -> ShotSoFar | None:
    """Read frames up to the first that is wanted; return its shot up to there. None where no frame is."""
    state: ShotState | None = None
    pieces: list[Piece] = []
    before: Cursor | None = None
    for decoded in frames:
        thumbnail = thumbnail_of(decoded)
        if state is not None and is_cut(state, thumbnail):
            state, pieces = None, []
        state = advance(state, thumbnail)
        room = max(1, min(PIECE_FRAMES_MAX, UNSEEN_BYTES // max(1, decoded.nbytes)))
        if not pieces or decoded.index - pieces[-1].first >= room:
            pieces.append(Piece(before, decoded.index))
        if is_wanted(decoded):
            return ShotSoFar(tuple(pieces), decoded, state)
        before = Cursor(decoded.index + 1, decoded.pts)
    return None


def rest_of_shot(frames: Iterator[DecodedFrame], state: ShotState) -> Iterator[DecodedFrame]:
    """Yield frames as long as they are of the shot that `state` was seen in."""
    for decoded in frames:
        thumbnail = thumbnail_of(decoded)
        if is_cut(state, thumbnail):
            return
        state = advance(state, thumbnail)
        yield decoded
