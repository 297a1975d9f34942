"""What the scout asks about a frame, and the answers: values between the pure step and engine.search.observer.

Every request is about the frame that is being observed, and has one kind of answer:

    SmallPictureRequest                         SmallPicture
    NearRequest                                 KnownFaces
    WholeRequest, AreaRequest, SmallLookRequest    Seen
    EmbedRequest                                Sampled
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.search.area import FrameArea
from engine.tracks.track import Sample
from engine.types import Face, Image


@dataclass(frozen=True, eq=False)
class FrameView:
    """What is known of a frame before anything is looked for in it."""

    index: int
    pts: int | None
    width: int
    height: int
    """Of the upright frame, px."""
    thumbnail: Image
    """(h, engine.frames.shots.THUMBNAIL_WIDTH_PX) uint8 luma."""


@dataclass(frozen=True, eq=False)
class KnownPlace:
    """Where a known face should be."""

    face: Face
    """As it was seen last, frame px: its roll says how to turn the picture."""
    box: NDArray[np.float64]
    """(4,) where it is expected now, frame px."""


@dataclass(frozen=True, eq=False)
class FrameRead:
    """The next frame of the shot; it is looked at if a look is due."""

    view: FrameView


@dataclass(frozen=True, eq=False)
class StretchEnds:
    """The last frame of a window, or of the frames that are kept: everything new up to it is looked at."""

    view: FrameView


@dataclass(frozen=True, eq=False)
class SmallPicture:
    """The frame in small."""

    luma: Image
    """(h, engine.search.novelty.NOVELTY_WIDTH_PX) uint8."""


@dataclass(frozen=True, eq=False)
class KnownFaces:
    """What was found near the known places."""

    faces: tuple[Face | None, ...]
    """One a place, in frame px; None where it is not, or where another place's face was found first."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The faces of a frame, in frame px, and how well it was looked at."""

    faces: tuple[Face, ...]
    full: bool
    """Everything that is new in it was looked at in full size."""
    wide: bool = False
    """More was looked at than the places of known faces."""
    whole: bool = False
    """All of it was looked at in full size."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """What the recogniser made of the faces that were asked."""

    samples: tuple[Sample, ...]
    """One a face, in the order of the request."""


Observation = FrameRead | StretchEnds | SmallPicture | KnownFaces | Seen | Sampled


@dataclass(frozen=True)
class SmallPictureRequest:
    """Show the frame in small, to be compared with an earlier one."""


@dataclass(frozen=True, eq=False)
class NearRequest:
    """Look for known faces near where they should be."""

    places: tuple[KnownPlace, ...]


@dataclass(frozen=True, eq=False)
class WholeRequest:
    """Look at the whole frame, near known places that it did not show, and turned where nobody was sure."""

    places: tuple[KnownPlace, ...]
    turned_divisor: int
    """Turned pictures are looked at in the usual size divided by this; 0 is not at all."""


@dataclass(frozen=True, eq=False)
class AreaRequest:
    """Look at a part of the frame in full size, for faces besides the known ones."""

    area: FrameArea
    known: tuple[Face, ...]
    turned_divisor: int
    """As in WholeRequest."""


@dataclass(frozen=True, eq=False)
class SmallLookRequest:
    """Look at a small picture of the frame, for faces besides the known ones."""

    known: tuple[Face, ...]


@dataclass(frozen=True, eq=False)
class EmbedRequest:
    """Ask the recogniser about faces of the frame."""

    faces: tuple[Face, ...]


Request = SmallPictureRequest | NearRequest | WholeRequest | AreaRequest | SmallLookRequest | EmbedRequest
