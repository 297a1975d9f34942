"""Pixels that are not square: in which size a player shows a picture that is stored with them. Pure.

Anamorphic lenses, DV, DVD and HDV store fewer columns than they show (or fewer rows). Faces, detectors, reference
photos and DeepFaceLab all know square pixels alone: its crops are squares, its merger pastes by a rotation and one
scale, and its video maker tags nothing. So pictures are squared as they are decoded, and the frames that are written
for the merger are squared as well: landmarks, crops and frames share one space, and the merged video plays in the shape
of the original, without any tag.
"""

from __future__ import annotations

from fractions import Fraction

from engine.frames.contract import MAX_FRAME_PX, MAX_SIDE_PX

SQUARE_WITHIN = Fraction(1, 100)
"""Pixels nearer to square than this are left as they are: encoders' rounding (640:639), which no eye sees."""
MOST_ASPECT = 4
"""Pixels longer than this are a mistake in the header: real footage stays below 2.7."""


def squared_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return (width, height) in px of a picture of width x height px, each `aspect` as wide as it is high, if squared.

    One side grows and the other stays, so that nothing stored is lost, unless that were larger than dfld takes: then
    the other side shrinks. The changed side is even, as H.264 wants it of the merged video. As stored where the aspect
    is unknown, near 1 or no aspect of real footage.
    """
    if not is_anamorphic(aspect):
        return width, height
    assert aspect is not None
    wide, tall = _even(width * aspect), _even(height / aspect)
    wider = aspect > 1
    grown = (wide, height) if wider else (width, tall)
    if max(grown) <= MAX_SIDE_PX and grown[0] * grown[1] <= MAX_FRAME_PX:
        return grown
    return (width, tall) if wider else (wide, height)


def is_anamorphic(aspect: Fraction | None) -> bool:
    """Say whether pixels of this aspect (width : height) have to be squared."""
    if not aspect or aspect < 0:
        return False
    return abs(aspect - 1) >= SQUARE_WITHIN and Fraction(1, MOST_ASPECT) <= aspect <= MOST_ASPECT


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))
