"""Reference photos to an Identity, with a scripted backend for the rules and dlib for the real thing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import insightface
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.backends.backend import BackendInfo
from engine.backends.catalog import open_backend
from engine.errors import ReferencePhotoError
from engine.identity.identity import build_identity
from engine.identity.reference_photos import NO_FACE, SEVERAL_FACES, TINY_FACE, UNREADABLE, USED
from engine.identity.same_person import similarity_to
from engine.types import Face, Image, Metric

GROUP_PHOTO = Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"
MAN_IN_FRONT = (slice(230, 450), slice(430, 620))
"""Rows and columns of one face of the group photo, alone."""


@dataclass
class MarkerBackend:
    """A backend for pictures made here: every bright red rectangle is a face, upright when its top is green.

    Its embedding is the picture's mean colour, so that a test can tell which pixels it was made of.
    """

    metric: Metric = "cosine"
    info: BackendInfo = field(init=False)

    def __post_init__(self) -> None:
        self.info = BackendInfo("marker", (), "colours", 3, self.metric, 0.4, "cpu", {})

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:  # noqa: ARG002
        red = ((image[:, :, 2] > 200) & (image[:, :, 0] < 80)).astype(np.uint8)
        red = cv2.morphologyEx(red, cv2.MORPH_CLOSE, np.ones((9, 9), dtype=np.uint8))  # JPEG's seams
        faces = []
        for x, y, w, h, area in cv2.connectedComponentsWithStats(red)[2][1:]:
            if area < 400:  # JPEG's ringing
                continue
            box = image[y : y + h, x : x + w]
            green_top = box[: max(1, h // 5), :, 1].mean() > 128
            eyes = [[x + w * 0.3, y + h * 0.3], [x + w * 0.7, y + h * 0.3]]
            mouth = [[x + w * 0.3, y + h * 0.8], [x + w * 0.7, y + h * 0.8]]
            five = np.array([*eyes, [x + w * 0.5, y + h * 0.5], *mouth])
            if not green_top:  # lying or on its head: the eye line is not level
                five[:2] = five[:2][::-1]
            faces.append(Face(np.array([x, y, x + w, y + h]), 0.9, five))
        return sorted(faces, key=lambda face: -face.width_px * face.height_px)

    def landmarks_68(self, image: Image, faces: Sequence[Face]) -> NDArray[np.float32]:  # noqa: ARG002
        raise AssertionError("not asked for")

    def recognition_crop(self, image: Image, face: Face) -> Image:
        x1, y1, x2, y2 = (int(value) for value in face.bbox)
        return np.ascontiguousarray(cv2.resize(image[y1:y2, x1:x2], (8, 8)), dtype=np.uint8)

    def embed(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        rows = np.array([crop.reshape(-1, 3).mean(axis=0) for crop in crops], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if self.metric == "cosine" else rows


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return a function that writes a photo with faces of the given (x, y, side) px."""

    def write(name: str, *faces: tuple[int, int, int], turn: int | None = None) -> Path:
        image = np.full((300, 400, 3), 120, dtype=np.uint8)
        for x, y, side in faces:
            image[y : y + side, x : x + side] = (20, 20, 240)
            image[y : y + side // 4, x : x + side] = (20, 240, 240)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), image if turn is None else cv2.rotate(image, turn))
        return path

    return write


def test_the_identity_is_the_normalised_mean_of_its_photos(save: Save) -> None:
    photos = [save("a.png", (50, 50, 100)), save("b.png", (90, 60, 80))]
    identity, reports = build_identity(photos, MarkerBackend(), name="alice")
    assert identity.name == "alice"
    assert (identity.backend, identity.model, identity.metric) == ("marker", "colours", "cosine")
    assert identity.photos == ("a.png", "b.png")
    assert [(report.used, report.reason) for report in reports] == [(True, USED), (True, USED)]
    expected = identity.embeddings.mean(axis=0)
    np.testing.assert_allclose(identity.mean, expected / np.linalg.norm(expected), atol=1e-6)


def test_by_distance_the_mean_is_not_normalised(save: Save) -> None:
    backend = MarkerBackend("one_minus_distance")
    identity, _ = build_identity([save("a.png", (50, 50, 100)), save("b.png", (90, 60, 80))], backend, name="alice")
    np.testing.assert_allclose(identity.mean, identity.embeddings.mean(axis=0), rtol=1e-6)
    assert np.linalg.norm(identity.mean) > 2


def test_a_photo_that_cannot_be_used_is_named_with_its_reason_and_the_others_are_used(save: Save) -> None:
    broken = save("broken.jpg", (50, 50, 100))
    broken.write_bytes(b"not a photo")
    photos = [
        save("good.png", (50, 50, 100)),
        save("empty.png"),
        save("two.png", (20, 50, 100), (200, 50, 90)),
        save("tiny.png", (50, 50, 30)),
        broken,
    ]
    identity, reports = build_identity(photos, MarkerBackend(), name="alice")
    assert identity.photos == ("good.png",)
    assert {report.photo: report.reason for report in reports} == {
        "good.png": USED,
        "empty.png": NO_FACE,
        "two.png": SEVERAL_FACES,
        "tiny.png": TINY_FACE,
        "broken.jpg": UNREADABLE,
    }
    details = {report.photo: report.detail for report in reports}
    assert "2 faces" in details["two.png"]
    assert "30 px" in details["tiny.png"]
    assert "40 px" in details["tiny.png"]


def test_small_faces_in_the_background_do_not_make_a_photo_ambiguous(save: Save) -> None:
    photo = save("street.png", (50, 50, 150), (250, 20, 50), (330, 20, 45))
    identity, (report,) = build_identity([photo], MarkerBackend(), name="alice")
    assert report.used
    assert report.faces_found == 3
    assert report.bbox == (50, 50, 200, 200)
    assert len(identity.embeddings) == 1


def test_the_largest_of_several_faces_is_used_only_when_that_is_allowed(save: Save) -> None:
    photo = save("two.png", (20, 50, 90), (200, 50, 100))
    with pytest.raises(ReferencePhotoError, match="not clear whose is meant"):
        build_identity([photo], MarkerBackend(), name="alice")
    _, (report,) = build_identity([photo], MarkerBackend(), name="alice", largest_face=True)
    assert report.used
    assert report.bbox == (200, 50, 300, 150)


@pytest.mark.parametrize(
    ("turn", "undone_by_deg"),
    [(cv2.ROTATE_90_CLOCKWISE, 270), (cv2.ROTATE_180, 180), (cv2.ROTATE_90_COUNTERCLOCKWISE, 90)],
)
def test_a_turned_photo_is_turned_back_and_the_report_says_so(save: Save, turn: int, undone_by_deg: int) -> None:
    photo = save("turned.png", (50, 50, 100), turn=turn)
    _, (report,) = build_identity([photo], MarkerBackend(), name="alice")
    assert report.used
    assert report.turned_deg == undone_by_deg
    assert f"{undone_by_deg}°" in report.detail
    assert report.bbox == (50, 50, 150, 150)


def test_exif_orientation_is_followed(save: Save, tmp_path: Path) -> None:
    photo = save("phone.jpg", (50, 50, 100), turn=cv2.ROTATE_90_COUNTERCLOCKWISE)
    # An EXIF segment whose only tag says: turn by 90° clockwise to see it upright (orientation 6).
    tiff = (
        b"MM\x00\x2a\x00\x00\x00\x08" + b"\x00\x01" + b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00" + b"\x00" * 4
    )
    body = b"Exif\x00\x00" + tiff
    data = photo.read_bytes()
    photo.write_bytes(data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:])
    _, (report,) = build_identity([photo], MarkerBackend(), name="alice")
    assert report.used
    assert report.turned_deg == 0


def test_what_hides_under_full_transparency_is_not_seen(tmp_path: Path) -> None:
    image = np.full((300, 400, 4), (120, 120, 120, 255), dtype=np.uint8)
    for left, alpha in ((30, 255), (230, 0)):
        image[50:150, left : left + 100] = (20, 20, 240, alpha)
        image[50:75, left : left + 100] = (20, 240, 240, alpha)
    assert cv2.imwrite(str(tmp_path / "cut_out.png"), image)
    _, (report,) = build_identity([tmp_path / "cut_out.png"], MarkerBackend(), name="alice")
    assert report.used
    assert report.faces_found == 1
    assert report.bbox == (30, 50, 130, 150)


def test_a_grey_or_16_bit_photo_is_read(tmp_path: Path) -> None:
    image = np.full((300, 400, 3), 120 * 257, dtype=np.uint16)
    image[50:150, 50:150] = (20 * 257, 20 * 257, 240 * 257)
    image[50:75, 50:150] = (20 * 257, 240 * 257, 240 * 257)
    assert cv2.imwrite(str(tmp_path / "deep.png"), image)
    assert cv2.imwrite(str(tmp_path / "grey.png"), np.full((300, 400), 99, dtype=np.uint8))
    _, reports = build_identity([tmp_path], MarkerBackend(), name="alice")
    assert {report.photo: report.reason for report in reports} == {"deep.png": USED, "grey.png": NO_FACE}


def test_a_small_file_that_asks_for_gigabytes_is_not_decoded(save: Save) -> None:
    photo = save("bomb.png", (50, 50, 100))
    data = bytearray(photo.read_bytes())
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    photo.write_bytes(data)
    _, reports = build_identity([photo, save("good.png", (50, 50, 100))], MarkerBackend(), name="alice")
    assert reports[0].reason == UNREADABLE
    assert "100000x100000 px" in reports[0].detail


def test_something_that_is_no_file_is_reported_and_not_waited_for(save: Save, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    _, reports = build_identity([tmp_path / "pipe.jpg", save("a.png", (50, 50, 100))], MarkerBackend(), name="alice")
    assert reports[0].reason == UNREADABLE
    assert "is a pipe, expected a regular file" in reports[0].detail


def test_a_folder_gives_its_images_by_name_and_nothing_else(save: Save, tmp_path: Path) -> None:
    for name in ("refs/b.png", "refs/A.JPG", "refs/c.webp"):
        save(name, (50, 50, 100))
    (tmp_path / "refs" / "notes.txt").write_text("hello")
    (tmp_path / "refs" / "sub.png").mkdir()
    identity, _ = build_identity([tmp_path / "refs"], MarkerBackend(), name="alice")
    assert identity.photos == ("A.JPG", "b.png", "c.webp")


def test_a_photo_given_twice_counts_once_and_same_names_are_told_apart(save: Save, tmp_path: Path) -> None:
    one, other = save("x/ref.png", (50, 50, 100)), save("y/ref.png", (50, 50, 100))
    identity, _ = build_identity([one, tmp_path / "x", other], MarkerBackend(), name="alice")
    assert identity.photos == ("x/ref.png", "y/ref.png")


def test_a_missing_path_and_an_empty_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ReferencePhotoError, match=r"nobody\.jpg does not exist"):
        build_identity([tmp_path / "nobody.jpg"], MarkerBackend(), name="alice")
    with pytest.raises(ReferencePhotoError, match="holds no images"):
        build_identity([tmp_path], MarkerBackend(), name="alice")
    with pytest.raises(ReferencePhotoError, match="no reference photo"):
        build_identity([], MarkerBackend(), name="alice")


def test_when_nothing_is_usable_each_photo_is_named_with_its_reason(save: Save) -> None:
    photos = [save("empty.png"), save("two.png", (20, 50, 100), (200, 50, 90))]
    with pytest.raises(ReferencePhotoError) as caught:
        build_identity(photos, MarkerBackend(), name="alice")
    assert "none of 2 reference photos of alice" in caught.value.message
    assert "empty.png: no face" in caught.value.message
    assert "two.png: 2 faces" in caught.value.message
    assert "--largest-face" in caught.value.hint


def test_a_real_photo_turned_three_ways_gives_the_same_person(tmp_path: Path) -> None:
    group = cv2.imread(str(GROUP_PHOTO))
    assert group is not None
    man = group[MAN_IN_FRONT]
    for name, turn in (("90", cv2.ROTATE_90_CLOCKWISE), ("180", cv2.ROTATE_180)):
        assert cv2.imwrite(str(tmp_path / f"turned_{name}.png"), cv2.rotate(man, turn))
    assert cv2.imwrite(str(tmp_path / "upright.png"), man)
    assert cv2.imwrite(str(tmp_path / "group.png"), group)
    identity, reports = build_identity([tmp_path], open_backend("dlib"), name="alice")
    assert identity.photos == ("turned_180.png", "turned_90.png", "upright.png")
    assert {report.photo: report.turned_deg for report in reports if report.used} == {
        "turned_180.png": 180,
        "turned_90.png": 270,
        "upright.png": 0,
    }
    assert next(report for report in reports if report.photo == "group.png").reason == SEVERAL_FACES
    assert similarity_to(identity.embeddings, identity.embeddings[2], identity.metric).min() > 0.95


@pytest.mark.parametrize("backend", ["insightface", "dlib", "opencv_cascade"])
def test_every_labelled_pair_falls_on_the_right_side_of_the_default_threshold(shared: Path, backend: str) -> None:
    models = open_backend(backend, model_root=shared / "models", model_pack="insightface_mini", device="cpu")
    rows: list[tuple[str, NDArray[np.float32]]] = []
    for who in ("biden", "lacamoire", "miranda", "obama"):
        identity, reports = build_identity([shared / "media" / "photos" / who], models, name=who)
        assert all(report.used for report in reports)
        rows += [(who, embedding) for embedding in identity.embeddings]
    info = models.info
    for index, (who, embedding) in enumerate(rows):
        for other, another in rows[:index]:
            alike = similarity_to(embedding[None], another, info.metric)[0] >= info.default_threshold
            assert alike == (who == other), f"{who} and {other}"


@pytest.mark.parametrize("name", ["biden_left_obama_right.jpg", "obama_left_biden_right.jpg"])
def test_a_photo_of_two_people_is_never_guessed_at(shared: Path, name: str) -> None:
    models = open_backend("insightface", model_root=shared / "models", model_pack="insightface_mini", device="cpu")
    with pytest.raises(ReferencePhotoError, match="not clear whose is meant"):
        build_identity([shared / "media" / "photos" / "others" / name], models, name="obama")
