"""Folders of images: which are taken, in which order, and what becomes of odd ones."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import InputError
from engine.footage.image_folder import changed_order
from engine.footage.video import open_frames, probe
from engine.pictures.image_header import image_size
from engine.types import Cursor
from tests.clips import draw_numbered, frame_number

SUFFIXES = ("jpg", "jpeg", "png", "tif", "tiff", "bmp", "webp")


def write(path: Path, number: int) -> Path:
    assert cv2.imwrite(str(path), draw_numbered(number))
    return path


def test_images_come_in_name_order_whatever_their_format(tmp_path: Path) -> None:
    for number, suffix in enumerate(SUFFIXES):
        write(tmp_path / f"{number:03d}.{suffix}", number)
    with open_frames(tmp_path) as reader:
        frames = list(reader)
        assert reader.info.kind == "images"
        assert (reader.info.frames_estimate, reader.info.width, reader.info.height) == (len(SUFFIXES), 96, 64)
    assert [frame_number(frame.to_frame().pixels) for frame in frames] == list(range(len(SUFFIXES)))
    assert [frame.source_filename for frame in frames] == [f"{n:03d}.{suffix}" for n, suffix in enumerate(SUFFIXES)]
    assert [(frame.index, frame.pts) for frame in frames] == [(number, None) for number in range(len(SUFFIXES))]
    assert frames[3].luma(48).shape == (32, 48)
    assert frame_number(frames[3].luma(96)) == 3


def test_an_unreadable_image_is_counted_and_keeps_its_place(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 0)
    (tmp_path / "b.png").write_bytes(b"not a picture")
    (tmp_path / "c.png").write_bytes(b"")
    write(tmp_path / "d.png", 3)
    with open_frames(tmp_path) as reader:
        frames = [(frame.index, frame_number(frame.to_frame().pixels), frame.packets_damaged) for frame in reader]
        assert reader.packets_damaged == 2
    assert frames == [(0, 0, 0), (3, 3, 2)]


def test_reading_goes_on_at_a_cursor(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / f"{number}.png", number)
    with open_frames(tmp_path, after=Cursor(4, None)) as reader:
        assert [(frame.index, frame_number(frame.to_frame().pixels)) for frame in reader] == [(4, 4), (5, 5)]


def test_one_image_a_stem_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", 1)
    write(tmp_path / "a.png", 2)
    with open_frames(tmp_path) as reader:
        assert [frame.source_filename for frame in reader] == ["a.jpg"]


def test_links_subfolders_and_other_files_are_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "folder.png").mkdir()
    (inside / "link.png").symlink_to(write(outside / "other.png", 9))
    (inside / "notes.txt").write_text("hello")
    write(inside / "z.png", 1)
    with open_frames(inside) as reader:
        assert [frame.source_filename for frame in reader] == ["z.png"]


def test_gray_deep_and_transparent_images_become_8_bit_bgr(tmp_path: Path) -> None:
    picture = draw_numbered(5)
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
    cv2.imwrite(str(tmp_path / "b.png"), picture.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "c.png"), cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA))
    with open_frames(tmp_path) as reader:
        frames = [frame.to_frame().pixels for frame in reader]
    assert [(frame.shape, frame.dtype) for frame in frames] == [((64, 96, 3), np.uint8)] * 3
    assert np.abs(frames[1].astype(int) - picture).max() <= 1
    assert np.array_equal(frames[2], picture)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = draw_numbered(0)
    encoded = cv2.imencode(".jpg", picture)[1].tobytes()
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">I", 0)
    segment = b"Exif\0\0" + tiff
    (tmp_path / "a.jpg").write_bytes(
        encoded[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + encoded[2:]
    )
    info = probe(tmp_path)
    assert (info.width, info.height) == (64, 96)
    with open_frames(tmp_path) as reader:
        pixels = next(reader).to_frame().pixels
    assert np.abs(pixels.astype(int) - np.rot90(picture, -1)).mean() < 4


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="holds no images"):
        probe(tmp_path)


def test_a_folder_of_unreadable_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match="none of its 1 images can be read"):
        probe(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_header_tells_the_size(suffix: str) -> None:
    data = cv2.imencode(f".{suffix}", draw_numbered(1, (104, 56)))[1].tobytes()
    assert image_size(data) == (104, 56)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_cut_header_is_no_size_and_no_crash(suffix: str) -> None:
    data = cv2.imencode(f".{suffix}", draw_numbered(1))[1].tobytes()
    for length in range(0, 200, 3):
        assert image_size(data[:length]) in (None, (96, 64))


def test_a_small_file_that_asks_for_gigabytes_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    bomb = bytearray((tmp_path / "a.png").read_bytes())
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    (tmp_path / "b.png").write_bytes(bomb)
    with open_frames(tmp_path) as reader:
        assert [frame.index for frame in reader] == [0]
        assert reader.packets_damaged == 1


def test_the_header_of_a_lossy_webp_tells_the_size() -> None:
    data = cv2.imencode(".webp", draw_numbered(1, (104, 56)), [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes()
    assert data[12:16] == b"VP8 "
    assert image_size(data) == (104, 56)


def test_frames_without_zeros_in_front_come_in_the_order_of_their_numbers_also_after_a_resume(tmp_path: Path) -> None:
    for number in range(1, 13):
        write(tmp_path / f"{number}.png", number)
    with open_frames(tmp_path) as reader:
        assert [frame_number(frame.to_frame().pixels) for frame in reader] == list(range(1, 13))
    with open_frames(tmp_path, after=Cursor(8, None)) as reader:
        assert [(frame.index, frame.source_filename) for frame in reader] == [
            (number - 1, f"{number}.png") for number in range(9, 13)
        ]


def test_gaps_and_images_left_out_are_warned_about(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "2.jpg", "4.png", "._1.png"):
        write(tmp_path / name.replace("._1", "1"), 1)
    (tmp_path / "._1.png").write_bytes(b"resource fork")
    with open_frames(tmp_path) as reader:
        names = [frame.source_filename for frame in reader]
    assert names == ["1.png", "2.jpg", "4.png"]
    assert reader.packets_damaged == 0
    assert any("2.png (2.jpg is taken)" in warning for warning in reader.warnings)
    assert any(warning.startswith("1 frame is missing by number") for warning in reader.warnings)


def test_a_folder_whose_frames_come_as_they_always_did_has_no_changed_order(tmp_path: Path) -> None:
    for name in ("0001.png", "0002.jpg", "0002.png", "0010.png"):
        (tmp_path / name).write_bytes(b"x")
    assert changed_order(tmp_path) == ""


@pytest.mark.parametrize("names", [("2.png", "10.png"), ("._1.png", "1.png")])
def test_a_folder_whose_frames_came_in_another_order_before_has_a_mark_of_its_own(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    mark = changed_order(tmp_path)
    assert len(mark) == 64
    (tmp_path / "11.png").write_bytes(b"x")
    assert changed_order(tmp_path) not in ("", mark)
