from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dfl.image import read_metadata, with_metadata
from engine.facesets.face_listing import list_faces, pixels_id
from tests.faceset_rig import face_jpeg, make_faceset


def test_faces_are_listed_as_deepfacelab_sorts_them_with_their_ids(tmp_path: Path) -> None:
    folder = make_faceset(
        tmp_path,
        {name: face_jpeg(number) for number, name in enumerate(("b.jpg", "a.jpg", "A.jpg", "10.jpg", "9.jpg"))},
    )
    faces = list_faces(folder).faces
    assert [face.name for face in faces] == ["10.jpg", "9.jpg", "A.jpg", "a.jpg", "b.jpg"]
    for face in faces:
        data = (folder.aligned / face.name).read_bytes()
        assert face.face_id == read_metadata(data).dfld_face_id
        assert (face.size_bytes, face.width_px, face.height_px) == (len(data), 64, 64)
        assert face.mtime_ns == (folder.aligned / face.name).stat().st_mtime_ns


def test_a_face_without_an_id_has_one_that_masks_names_and_polygons_leave_as_it_is(tmp_path: Path) -> None:
    data = face_jpeg(1, with_id=False)
    changed = with_metadata(data, replace(read_metadata(data), xseg_mask=b"mask", source_filename="other.png"))
    folder = make_faceset(tmp_path, {"a.jpg": data, "b.jpg": changed, "c.jpg": face_jpeg(2, with_id=False)})
    a, b, c = list_faces(folder).faces
    assert a.face_id == b.face_id == pixels_id(data) != c.face_id
    assert (a.has_xseg_mask, b.has_xseg_mask) == (False, True)
    assert b.metadata.xseg_mask is None


def test_what_deepfacelab_would_not_read_is_named_and_stops_nothing(tmp_path: Path) -> None:
    good = face_jpeg(1)
    cut, plain = good[:-20], np.zeros(9, np.uint8).tobytes()
    folder = make_faceset(
        tmp_path, {"good.jpg": good, "cut.jpg": cut, "plain.jpg": plain, "upper.JPG": good, "a.png": b""}
    )
    (folder.aligned / "link.jpg").symlink_to(folder.aligned / "good.jpg")
    (folder.aligned / "folder.jpg").mkdir()
    (folder.aligned / "notes.txt").write_text("x")
    listing = list_faces(folder)
    assert [face.name for face in listing.faces] == ["good.jpg"]
    assert {one.name: one.why.split(",")[0] for one in listing.unreadable} == {
        "a.png": "is not called .jpg",
        "upper.JPG": "is not called .jpg",
        "cut.jpg": "not a JPEG DeepFaceLab reads: it is cut short",
        "plain.jpg": "not a JPEG: it does not begin with FF D8",
        "link.jpg": "is a symbolic link",
        "folder.jpg": "is a folder",
    }
