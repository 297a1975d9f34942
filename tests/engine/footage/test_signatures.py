"""One table says what a file's first bytes are, and every list of picture endings fits the others."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from daemon.arrivals.first_bytes import content_kind
from daemon.arrivals.never_footage import STILL_ENDINGS, VIDEO_ENDINGS
from engine.footage.formats import kind_of
from engine.footage.image_folder import SUFFIXES_BEFORE
from engine.footage.signatures import BOXES, SOUND_BRANDS, STARTS, STILL_BRANDS, container_of, is_text
from engine.footage.structure import structure_of
from engine.pictures.decoding import picture_format
from engine.pictures.image_header import AVIF_BRANDS, HEIF_BRANDS, IMAGE_SUFFIXES, PHOTO_SUFFIXES
from engine.results.face_files import PICTURE_ENDINGS
from tests.pictures import encoded, upright


def ftyp(brand: bytes) -> bytes:
    return struct.pack(">I4s4sI", 24, b"ftyp", brand, 0) + brand + brand + bytes(100)


@pytest.mark.parametrize("brand", sorted(STILL_BRANDS | SOUND_BRANDS))
def test_a_still_or_sound_in_the_container_of_videos_is_no_video(brand: bytes) -> None:
    assert content_kind(ftyp(brand)) == "other"
    assert kind_of(ftyp(brand)).startswith("a still picture") == (brand in STILL_BRANDS)


def test_every_brand_that_a_picture_is_decoded_by_is_that_of_a_still() -> None:
    assert {picture_format(ftyp(brand)) for brand in AVIF_BRANDS} == {"AVIF"}
    assert {picture_format(ftyp(brand)) for brand in HEIF_BRANDS} == {"HEIC"}
    assert {picture_format(ftyp(brand)) for brand in SOUND_BRANDS | {b"isom", b"mp42", b"qt  "}} == {None}
    assert content_kind(ftyp(b"isom")) == "video"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_a_picture_is_no_video_to_whoever_asks(form: str, tmp_path: Path) -> None:
    data = encoded(upright(), form)
    (tmp_path / "it").write_bytes(data)
    assert picture_format(data) is not None
    assert content_kind(data) == "other"
    if form not in ("JPEG", "GIF"):  # FFmpeg reads these as moving pictures
        assert kind_of(data).startswith("a still picture")
    with (tmp_path / "it").open("rb") as file:
        assert structure_of(file).container == ("mp4" if form == "AVIF" else "")


@pytest.mark.parametrize("start", [start for start, _ in STARTS])
def test_a_start_is_known_to_whoever_asks(start: bytes) -> None:
    name = dict(STARTS)[start]
    assert container_of(start + bytes(200)) == name
    assert content_kind(start + b"\x80theora" + bytes(200)) == "video"
    assert kind_of(start + bytes(200)) == ""


@pytest.mark.parametrize("word", sorted(BOXES))
def test_a_text_with_the_name_of_a_box_or_letters_where_packets_begin_is_text(word: bytes) -> None:
    for text in (b"The " + word + b" road", b"G" * 4096, io.BytesIO(b"The " + word + b"\n").getvalue() * 90):
        assert content_kind(text) == "text"
        assert kind_of(text) == "text"
    assert content_kind(bytes(3) + b"\x20" + word + bytes(40)) == "video"


def test_text_is_cut_within_a_character_and_has_no_control_characters() -> None:
    text = "Grüße, 日本, \N{GRINNING FACE}\n".encode() * 3
    assert all(is_text(text[:length]) for length in range(1, len(text)))
    assert not any(is_text(text + odd) for odd in (b"\0", b"\x01", b"\xff", b"\xe3more"))
    assert not is_text(b"")


def test_the_lists_of_picture_endings_fit_each_other() -> None:
    assert SUFFIXES_BEFORE < IMAGE_SUFFIXES < PHOTO_SUFFIXES
    assert set(PICTURE_ENDINGS) < IMAGE_SUFFIXES
    assert PHOTO_SUFFIXES - {".gif"} < STILL_ENDINGS
    assert {".gif"} == PHOTO_SUFFIXES & VIDEO_ENDINGS
