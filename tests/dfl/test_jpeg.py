"""The JPEG container: what DeepFaceLab's parser refuses is refused, and its segment lands where it puts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfl.errors import FormatError
from dfl.jpeg import PAYLOAD_LIMIT_BYTES, list_segments, read_app15, read_size, with_app15


def a_jpeg(*options: int, side_px: int = 64) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (side_px, side_px, 3)).astype(np.uint8)
    return cv2.imencode(".jpg", noise, list(options))[1].tobytes()


JPEG = a_jpeg()
NAMES = {0xD8: "SOI", 0xD9: "EOI", 0xDB: "DQT", 0xC0: "SOF0", 0xC4: "DHT", 0xDA: "SOS"}


def names(data: bytes) -> list[str]:
    return [NAMES.get(s.marker, f"APP{s.marker - 0xE0}") for s in list_segments(data)]


def test_golden_files_have_the_expected_segments_and_size(shared: Path) -> None:
    folder = shared / "golden" / "dflimg"
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    assert len(expected) == 7
    for name, wanted in expected.items():
        data = (folder / name).read_bytes()
        assert names(data) == wanted["segments"]
        payload = read_app15(data)
        assert payload is not None
        assert len(payload) == wanted["app15_len"]
        assert read_size(data) == (wanted["image_shape"][1], wanted["image_shape"][0])


def test_segments_cover_every_byte_once() -> None:
    segments = list_segments(JPEG)
    assert [s.end for s in segments[:-1]] == [s.start for s in segments[1:]]
    assert (segments[0].start, segments[-1].end) == (0, len(JPEG))


def test_metadata_goes_behind_the_last_app_segment() -> None:
    exif = b"\xff\xe1\x00\x08Exif\0\0"
    assert names(with_app15(JPEG, b"data"))[:3] == ["SOI", "APP0", "APP15"]
    assert names(with_app15(JPEG[:20] + exif + JPEG[20:], b"data"))[:4] == ["SOI", "APP0", "APP1", "APP15"]


def test_without_app_segments_metadata_goes_behind_soi() -> None:
    bare = JPEG[:2] + JPEG[20:]
    assert names(with_app15(bare, b"data"))[:3] == ["SOI", "APP15", "DQT"]


def test_the_last_app15_is_read_and_all_are_replaced() -> None:
    twice = with_app15(JPEG, b"old")
    segment = b"\xff\xef\x00\x07newer"
    twice = twice[:20] + twice[20:27] + segment + twice[27:]
    assert read_app15(twice) == b"newer"
    assert with_app15(twice, b"mine") == with_app15(JPEG, b"mine")


@given(st.binary(max_size=3000))
def test_any_payload_comes_back_and_the_rest_stays(payload: bytes) -> None:
    data = with_app15(JPEG, payload)
    assert read_app15(data) == payload
    assert data.replace(b"\xff\xef" + (len(payload) + 2).to_bytes(2, "big") + payload, b"", 1) == JPEG


def test_a_payload_of_65533_bytes_fits_and_one_more_does_not() -> None:
    full = b"x" * PAYLOAD_LIMIT_BYTES
    assert read_app15(with_app15(JPEG, full)) == full
    with pytest.raises(FormatError, match="65534 bytes does not fit"):
        with_app15(JPEG, full + b"x")


def test_a_progressive_jpeg_is_read() -> None:
    data = with_app15(a_jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1), b"data")
    assert read_app15(data) == b"data"
    assert read_size(data) == (64, 64)


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", "FF D8"),
        (b"\x89PNG\r\n\x1a\n", "FF D8"),
        (JPEG + b"\0", "1 bytes follow its end"),
        (JPEG[:-2], "cut short"),
        (JPEG[: len(JPEG) // 2], "cut short"),
        (JPEG[:100], "is broken"),
        (JPEG[:2] + b"\xff\xe0\x00\x07Adobe" + JPEG[20:], "not JFIF"),
        (a_jpeg(cv2.IMWRITE_JPEG_RST_INTERVAL, 1), "restart markers"),
        (JPEG[:20] + b"\xff\xe1\x00\x01" + JPEG[20:], "is broken"),
        (JPEG[:20] + b"junk" + JPEG[20:], "no marker"),
    ],
)
def test_jpegs_deepfacelab_refuses_are_refused(data: bytes, refusal: str) -> None:
    with pytest.raises(FormatError, match=refusal):
        list_segments(data)


@given(st.integers(0, len(JPEG)), st.integers(0, 40), st.binary(max_size=8))
def test_a_changed_jpeg_is_read_or_refused(position: int, removed: int, added: bytes) -> None:
    changed = JPEG[:position] + added + JPEG[position + removed :]
    try:
        segments = list_segments(changed)
    except FormatError:
        return
    assert segments[-1].end == len(changed)
