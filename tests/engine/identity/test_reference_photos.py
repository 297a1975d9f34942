"""Reference photos that are hard to see: panoramas, huge ones, ones that fail; used, or left out with what helps."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.faces.warps import scale_to
from engine.identity.identity import build_identity
from engine.identity.reference_photos import (
    MAX_PHOTO_SIDE_PX,
    NO_FACE,
    SEVERAL_FACES,
    TINY_FACE,
    UNREADABLE,
    USED,
    PhotoReport,
    list_photos,
    look_at_photo,
    open_photo,
)
from engine.types import Face, Image
from tests.engine.identity.test_identity import MarkerBackend
from tests.pictures import encoded, heic, upright

Save = Callable[..., Path]


class FarSighted(MarkerBackend):
    """As real detectors do: looks at 640 px of the longer side, and sees no face below 24 px there."""

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:  # noqa: ARG002
        scaled, scale = scale_to(image, 640, at_most=1.0)
        seen = [face for face in super().detect(scaled, min_confidence=min_confidence) if face.width_px >= 24]
        return [
            Face(
                face.bbox / scale, face.detection_score, None if face.landmarks_5 is None else face.landmarks_5 / scale
            )
            for face in seen
        ]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return a function that writes a photo of (width, height) px with faces at the given (x, y, side) px."""

    def write(name: str, size: tuple[int, int], *faces: tuple[int, int, int]) -> Path:
        image = np.full((size[1], size[0], 3), 120, np.uint8)
        for x, y, side in faces:
            image[y : y + side, x : x + side] = (20, 20, 240)
            image[y : y + side // 4, x : x + side] = (20, 240, 240)
        assert cv2.imwrite(str(tmp_path / name), image)
        return tmp_path / name

    return write


@pytest.mark.parametrize("place", [(2150, 250), (0, 0), (4420, 620), (660, 350)])
def test_a_face_of_usual_size_is_found_wherever_it_lies_in_a_panorama(save: Save, place: tuple[int, int]) -> None:
    photo = save("wide.png", (4500, 700), (*place, 80))
    _, (report,) = build_identity([photo], FarSighted(), name="alice")
    assert (report.reason, report.turned_deg, report.faces_found) == (USED, 0, 1)
    assert report.bbox is not None
    assert np.abs(np.array(report.bbox) - (*place, place[0] + 80, place[1] + 80)).max() < 12


def test_a_face_in_a_tall_picture_is_found_too(save: Save) -> None:
    photo = save("tall.png", (500, 4000), (200, 3000, 120))
    _, (report,) = build_identity([photo], FarSighted(), name="alice")
    assert report.reason == USED


def test_several_faces_of_a_panorama_are_not_guessed_at(save: Save) -> None:
    photos = [
        save("wide.png", (4500, 700), (250, 250, 80), (3500, 150, 75)),
        save("good.png", (400, 300), (50, 50, 90)),
    ]
    _, (report, _) = build_identity(photos, FarSighted(), name="alice")
    assert (report.reason, report.faces_found) == (SEVERAL_FACES, 2)


def test_too_small_a_face_is_told_with_the_size_found_the_size_wanted_and_what_helps(save: Save) -> None:
    good = save("good.png", (400, 300), (50, 50, 90))
    wide = save("wide.png", (3000, 700), (2000, 300, 36))
    large = save("large.png", (6000, 4000), (3000, 2000, 70))  # halved once: 35 px are left
    _, reports = build_identity([wide, large, good], MarkerBackend(), name="alice")
    assert [report.reason for report in reports] == [TINY_FACE, TINY_FACE, USED]
    assert "36 px wide in this photo of 3000x700 px, at least 40 px are needed" in reports[0].detail
    assert "larger size" in reports[0].detail
    assert "about 70 px wide in this photo of 6000x4000 px, which is read at 1/2" in reports[1].detail
    assert "35 px are left and at least 40 px are needed: cut the face out" in reports[1].detail


def test_where_no_face_is_seen_in_a_large_photo_the_smallest_that_would_be_is_told(save: Save) -> None:
    good = save("good.png", (400, 300), (50, 50, 90))
    large = save("large.png", (6000, 4000), (3000, 2000, 160))
    _, (report, _) = build_identity([large, good], FarSighted(), name="alice")
    assert report.reason == NO_FACE
    assert "a face narrower than about 224 px is hardly seen" in report.detail
    assert "cut it out" in report.detail
    _, (small, _) = build_identity([save("none.png", (600, 400)), good], FarSighted(), name="alice")
    assert small.detail == "no face found, upright, turned or with a border"


def test_a_photo_that_fails_is_left_out_with_its_reason_and_the_others_are_used(save: Save, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    save("photos/good.png", (400, 300), (50, 50, 90))
    (folder / "a.psd").write_bytes(b"8BPS" + bytes(100))
    (folder / "b.cr2").write_bytes(b"II*\0\x10\0\0\0CR\x02\0" + bytes(100))
    (folder / "c.jpg").write_bytes(encoded(upright(), "JPEG")[:90])
    (folder / "d.png").write_bytes(b"")
    cv2.imwrite(str(folder / "e.tif"), np.full((20, 30, 3), np.nan, np.float32))
    cv2.imwrite(str(folder / "f.png"), np.zeros((1, 3000, 3), np.uint8))
    cv2.imwrite(str(folder / "h.png"), np.zeros((1, 1, 3), np.uint8))
    (folder / "g.heic").write_bytes(heic(upright((64, 96)), tmp_path)[:-300])
    identity, reports = build_identity([folder], MarkerBackend(), name="alice")
    assert identity.photos == ("good.png",)
    by_name = {report.photo: report for report in reports}
    assert [name for name, report in by_name.items() if report.reason == UNREADABLE] == [
        "a.psd", "b.cr2", "c.jpg", "d.png", "g.heic",
    ]  # fmt: skip
    assert "a Photoshop file, which dfld does not read: save it as" in by_name["a.psd"].detail
    assert {by_name[name].reason for name in ("e.tif", "f.png", "h.png")} == {NO_FACE}


def test_text_and_data_beside_photos_are_no_photos(save: Save, tmp_path: Path) -> None:
    photo = save("good.png", (400, 300), (50, 50, 90))
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    assert list_photos([tmp_path]) == (photo,)


def test_a_usual_photo_is_halved_by_its_side_and_a_panorama_by_its_area(save: Save) -> None:
    assert open_photo(save("usual.png", (5000, 3000))).pixels.shape == (1500, 2500, 3)
    wide = open_photo(save("wide.png", (9000, 1400)))
    assert (wide.pixels.shape, wide.halved) == ((1400, 9000, 3), 0)


def png_of(width: int, height: int) -> bytes:
    """Return a gray PNG of any size, a few kilobytes long: OpenCV writes none so wide."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    rows = zlib.compress(bytes((width + 1) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60), (60, 60_000), (24_000, 300), (16_000, 1000), (4096, 2048)])
def test_a_picture_with_a_border_never_has_more_than_four_times_the_px_that_photos_have(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    class Measuring(MarkerBackend):
        largest = 0

        def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
            self.largest = max(self.largest, image.shape[0] * image.shape[1])
            return super().detect(image, min_confidence=min_confidence, side_px=side_px)

    path = tmp_path / "strip.png"
    path.write_bytes(png_of(*size))
    backend = Measuring()
    report = look_at_photo(open_photo(path).pixels, "strip.png", backend)
    assert isinstance(report, PhotoReport)
    assert report.reason == NO_FACE
    assert size[0] * size[1] < backend.largest <= 4 * MAX_PHOTO_SIDE_PX**2


def test_a_photo_longer_than_any_is_left_out_before_it_is_decoded(save: Save, tmp_path: Path) -> None:
    good = save("good.png", (400, 300), (50, 50, 90))
    (tmp_path / "wide.png").write_bytes(png_of(1_000_000, 16))
    identity, reports = build_identity([good, tmp_path / "wide.png"], MarkerBackend(), name="alice")
    assert identity.photos == ("good.png",)
    assert reports[1].reason == UNREADABLE
    assert "1000000x16 px, at most 65535 px a side are read" in reports[1].detail


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (MemoryError(), "needs more memory than there is"),
        (cv2.error("Failed to allocate 6 TB"), "cannot be searched for faces"),
    ],
)
def test_a_photo_that_cannot_be_searched_is_left_out_with_its_reason(save: Save, trouble: Exception, said: str) -> None:
    class Failing(MarkerBackend):
        def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
            if image.shape == (640, 480, 3):
                raise trouble
            return super().detect(image, min_confidence=min_confidence, side_px=side_px)

    photos = [save("hard.png", (480, 640), (50, 50, 90)), save("good.png", (400, 300), (50, 50, 90))]
    identity, reports = build_identity(photos, Failing(), name="alice")
    assert identity.photos == ("good.png",)
    assert (reports[0].reason, said in reports[0].detail) == (UNREADABLE, True)
