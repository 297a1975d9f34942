"""What every source of frames promises, be it a video or a folder of images.

`engine.footage.video` reads videos, `engine.footage.image_folder` reads folders; the pipeline sees only the types here.
No decoding.
"""

from __future__ import annotations

import errno
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError, InputUnavailableError
from engine.types import Frame, Image

MAX_SIDE_PX = 16_384
"""Longest side taken: 16K footage exists, a larger number in a header is a mistake or an attack."""
MAX_FRAME_PX = 8_192 * 8_192
"""Largest picture taken: one BGR copy of it is 192 MiB, which a worker limited to 1 GB still survives."""
LUMA_TALLEST = 8
"""Sides of a gray thumbnail: upright phone videos need 2.2."""
PASSING_TROUBLES = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)
"""Errors of the machine, not of the file: disk, network share, memory, open files. The same may work later."""


@dataclass(frozen=True)
class VideoInfo:
    """What can be known about a source before it is decoded."""

    path: Path
    kind: Literal["video", "images"]
    width: int
    """Of the first frame, px, upright and with square pixels. A stream may change its size later."""
    height: int
    frames_estimate: int | None
    """What the container says, or duration times rate; exact for folders; None where nothing says."""
    average_rate: Fraction | None
    """Frames a second; None for folders and where the container does not say."""
    time_base: Fraction
    """Unit of every pts, in seconds."""
    codec: str
    pixel_format: str
    first_pts: int | None = None
    """pts of the first frame, from which times count; None for folders and where the container has none."""
    warnings: tuple[str, ...] = ()
    """Sentences for the log: HDR transfer, interlaced, variable rate, … The frames come all the same."""


@dataclass(frozen=True)
class FrameForm:
    """What frames are made of what is stored; upright and with square pixels they are always."""

    tone_map: bool = True
    """HDR becomes SDR (engine.frames.tone); without it, its codes are taken as if they were SDR's."""
    one_size: bool = False
    """Frames of another size than the first are fitted into that (engine.frames.one_size)."""


AS_SHOWN = FrameForm()
"""Frames as an SDR screen shows them, each in its own size."""

Region = tuple[int, int, int, int]
"""x1, y1, x2, y2 px of an upright frame; x2 and y2 are one past the last pixel. May reach over the frame's edge."""


def region_round(boxes: Iterable[NDArray[np.floating]], reach: float) -> Region:
    """Return the region that holds every box (x1, y1, x2, y2) and `reach` times its longer side round its centre."""
    corners = []
    for box in boxes:
        x, y = (float(box[0]) + float(box[2])) / 2, (float(box[1]) + float(box[3])) / 2
        extent = reach * max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0)
        corners.append((x - extent, y - extent, x + extent, y + extent))
    left, top = (math.floor(min(corner[axis] for corner in corners)) for axis in (0, 1))
    right, bottom = (math.ceil(max(corner[axis] for corner in corners)) for axis in (2, 3))
    return left, top, right, bottom


def holds(region: Region, part: Region, width: int, height: int) -> bool:
    """Say whether `region` holds all of `part` that lies within a frame of this size."""
    low = all(mine <= max(0, theirs) for mine, theirs in zip(region[:2], part[:2], strict=True))
    return low and region[2] >= min(width, part[2]) and region[3] >= min(height, part[3])


@dataclass(frozen=True)
class Evidence:
    """What reading a source to its end has shown."""

    frames: int
    """Pictures that came, damaged ones included; images of a folder."""
    damaged: int = 0
    """Packets that could not be read or decoded and pictures built on them; images that cannot be read."""
    total_bytes: int = 0
    missing_bytes: int | None = None
    """Promised by the container beyond the end of the file; None where it promises nothing."""
    is_sized: bool = False
    """The missing bytes are those of the whole file, and not of one packet or page of many."""
    is_complete: bool = False
    """The container proves that it ends where it has to."""
    trouble: str = ""
    """What the container shows beside that, as the rest of a sentence that begins with the file."""
    unread_s: float | None = None
    """Length of a second movie that is not read, s."""
    unread_files: int = 0
    """Images of a folder that are not read, because another one has their name."""
    broke_off: bool = False
    """Reading ended with errors and not at the end."""
    concealed: bool = False
    """The stream breaks its codec's rules, so that damage in it cannot be seen."""
    frames_promised: int | None = None
    reached_s: float | None = None
    """End of the last picture on the stream's clock, from its start, s."""
    promised_s: float | None = None
    """Length that the container states, s; None where it states none, or only an estimate."""
    frame_s: float | None = None
    """Mean time of one picture, s."""
    grew: bool = False
    replaced: bool = False
    unread: tuple[str, ...] = ()
    """What the source holds, or may hold, beside what was read: sentences without a capital. Empty only where it is
    proven that all of it was read."""


class DecodedFrame(ABC):
    """A decoded picture that has not yet been converted to BGR; conversion is paid for by whoever asks.

    May be handed to another thread; one thread at a time may use it.
    """

    index: int
    """Position in decoding order, damaged frames included: stable across runs and resumes."""
    pts: int | None
    time_base: Fraction
    source_filename: str
    width: int
    height: int
    """Of this frame when upright, px; a stream may change its size."""
    packets_damaged: int
    """Damaged packets, dropped frames or unreadable images met since the reader started, up to this frame."""
    nbytes: int
    """Memory held by the undecoded form, for queues bounded in bytes."""

    @abstractmethod
    def luma(self, width: int) -> Image:
        """Return a gray thumbnail, (h, width) uint8, upright; values keep the source's range (16..235 or 0..255).

        The aspect ratio is kept up to a height of `LUMA_TALLEST` times the width.
        """

    @abstractmethod
    def scaled(self, width: int) -> Image:
        """Return a small BGR copy, (h, width, 3) uint8, upright, aspect ratio kept; for detectors, not for output."""

    @abstractmethod
    def to_frame(self, region: Region | None = None) -> Frame:
        """Convert to full-size BGR, upright.

        With `region`, only the pixels in it need be right, the others may be black: converting a face costs a tenth
        of converting the frame around it. Inside, the pixels are those of the whole frame.
        """


class FrameReader(ABC):
    """Frames of one source in order, each once. Context manager and iterator; not for two threads at once."""

    info: VideoInfo
    packets_damaged: int = 0
    """Damaged packets, frames the decoder called corrupt, or unreadable images, so far."""
    frames_decoded: int = 0
    """Frames handed out so far."""

    @property
    @abstractmethod
    def warnings(self) -> tuple[str, ...]:
        """`info.warnings` and what was found while reading; complete once the iteration has ended."""

    @abstractmethod
    def evidence(self) -> Evidence:
        """Return what reading has shown of the source; called once no frame is asked for any more.

        What was not asked for (behind the end of a stretch) is read without being decoded.
        """

    @abstractmethod
    def __next__(self) -> DecodedFrame: ...

    @abstractmethod
    def close(self) -> None: ...

    def __iter__(self) -> Iterator[DecodedFrame]:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def look_at_source(path: Path) -> os.stat_result:
    """Return the stat of a video or folder. Raise InputError where there is none or it may not be looked at."""
    try:
        return path.stat()
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file or folder", hint="check the path") from error
    except OSError as error:
        if error.errno in PASSING_TROUBLES:
            raise InputUnavailableError(
                f"{path}: cannot be looked at: {error.strerror}", hint="check the disk or network share it lies on"
            ) from error
        raise InputError(f"{path}: cannot be looked at: {error.strerror}", hint="check its permissions") from error


def refuse_oversize(path: Path, width: int, height: int) -> None:
    """Raise InputError when a picture of this size in px is more than dfld takes."""
    if width <= 0 or height <= 0:
        raise InputError(f"{path}: pictures of {width}x{height} px, expected at least 1x1")
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_FRAME_PX:
        raise InputError(
            f"{path}: pictures of {width}x{height} px, expected at most {MAX_SIDE_PX} px a side "
            f"and {MAX_FRAME_PX // 1_000_000} megapixels",
            hint="scale it down first, for example: ffmpeg -i IN -vf scale=3840:-2 OUT.mp4",
        )


def luma_height(width: int, size: tuple[int, int]) -> int:
    """Return the height of a gray thumbnail of this width: a picture a thousand times as high as wide has no larger."""
    return min(height_for_width(width, size), LUMA_TALLEST * width)


def height_for_width(width: int, size: tuple[int, int]) -> int:
    """Return the height in px that keeps the aspect ratio of `size` (width, height) at this width; at least 1."""
    return max(1, round(size[1] * width / size[0]))
