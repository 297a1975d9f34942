"""An aligned face's JPEG is decoded as DeepFaceLab decodes it, and costs no more than one that DeepFaceLab wrote."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dfl.errors import FormatError
from engine.pictures.face_pixels import face_pixels
from engine.pictures.whole_picture import jpeg_segments


def encoded(height: int, width: int, *options: int) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", pixels, options)[1].tobytes()


def test_pixels_are_those_of_opencv() -> None:
    data = encoded(48, 64)
    assert np.array_equal(face_pixels(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def test_a_picture_that_announces_too_much_is_refused_before_it_is_decoded() -> None:
    data = encoded(48, 64)
    sides = data.index(b"\xff\xc0") + 5
    for announced in (b"\xff\xd8\xff\xd8", b"\x00\x08\xff\xd8", b"\0\0\0\x08"):
        with pytest.raises(FormatError, match="at most 4096 a side"):
            face_pixels(data[:sides] + announced + data[sides + 4 :])
    with pytest.raises(FormatError, match="at most 63 a side"):
        face_pixels(data, side_max_px=63)


def test_a_picture_of_more_scans_than_encoders_write_and_one_that_is_none_are_refused() -> None:
    data = encoded(48, 64, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    segments = list(jpeg_segments(data))
    last = max(place for place, segment in enumerate(segments) if segment.marker == 0xDA)
    start, end = segments[last - 1].end, segments[last].end
    with pytest.raises(FormatError, match="scans"):
        face_pixels(data[:start] + data[start:end] * 100 + data[end:])
    with pytest.raises(FormatError, match="cannot be decoded"):
        face_pixels(data.replace(b"\xff\xc2\x00\x11\x08", b"\xff\xc2\x00\x11\x07"))
