"""The faces of a folder or a faceset.pak: listed, named where they are none, and read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dfl.errors import FormatError
from dfl.faceset import pack_faceset
from dfl.image import read_metadata, with_metadata
from tests.faceset_rig import face_jpeg
from trainer.errors import SampleError
from trainer.samples.faces.face_bytes import decode_face, read_face
from trainer.samples.faces.face_list import list_faces


def a_folder(folder: Path, count: int = 4) -> Path:
    for number in range(count):
        (folder / f"{number:05d}_0.jpg").write_bytes(face_jpeg(number))
    return folder


def test_faces_are_listed_by_name_and_what_is_none_is_named(tmp_path: Path) -> None:
    a_folder(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.JPG").write_bytes(face_jpeg(1))
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("")
    os.mkfifo(tmp_path / "d.jpg")
    found = list_faces(tmp_path, with_yaw=False)
    assert [face.name for face in found.faces] == [f"{number:05d}_0.jpg" for number in range(4)]
    assert set(found.left_out) == {"a.png", "b.JPG", "c.jpg", "d.jpg"}
    assert "pipe" in found.left_out["d.jpg"]


def test_a_list_takes_what_has_not_changed_from_the_earlier_one(tmp_path: Path) -> None:
    earlier = list_faces(a_folder(tmp_path), with_yaw=True)
    (tmp_path / "00000_0.jpg").unlink()
    (tmp_path / "00001_0.jpg").write_bytes(face_jpeg(9))
    (tmp_path / "00009_0.jpg").write_bytes(face_jpeg(1))
    found = list_faces(tmp_path, with_yaw=True, earlier=earlier)
    assert [face.name for face in found.faces] == ["00001_0.jpg", "00002_0.jpg", "00003_0.jpg", "00009_0.jpg"]
    assert found.faces[1] is earlier.faces[2]
    assert found.faces[0].yaw == list_faces(tmp_path, with_yaw=True).faces[0].yaw != earlier.faces[1].yaw


def test_a_pack_counts_alone_and_gives_the_same_faces_and_yaws(tmp_path: Path) -> None:
    loose = list_faces(a_folder(tmp_path), with_yaw=True)
    bytes_of = [read_face(tmp_path, face)[0] for face in loose.faces]
    (tmp_path / "faceset.pak").write_bytes(pack_faceset(zip([f.name for f in loose.faces], bytes_of, strict=True)))
    (tmp_path / "00007_0.jpg").write_bytes(face_jpeg(7))
    packed = list_faces(tmp_path, with_yaw=True)
    assert [(face.name, face.yaw) for face in packed.faces] == [(face.name, face.yaw) for face in loose.faces]
    assert [read_face(tmp_path, face)[0] for face in packed.faces] == bytes_of


def test_a_pack_that_was_written_anew_is_not_read_at_old_places(tmp_path: Path) -> None:
    pack = tmp_path / "faceset.pak"
    pack.write_bytes(pack_faceset([("a.jpg", face_jpeg(1))]))
    (face,) = list_faces(tmp_path, with_yaw=False).faces
    pack.write_bytes(pack_faceset([("b.jpg", face_jpeg(2)), ("c.jpg", face_jpeg(3))]))
    with pytest.raises(FileNotFoundError):
        read_face(tmp_path, face)


def test_a_folder_without_a_face_a_missing_one_and_a_broken_pack_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="there are none"):
        list_faces(tmp_path, with_yaw=False)
    with pytest.raises(SampleError, match="No such file"):
        list_faces(tmp_path / "gone", with_yaw=False)
    (tmp_path / "faceset.pak").write_bytes(b"\x01")
    with pytest.raises(SampleError, match=r"faceset\.pak.*header"):
        list_faces(tmp_path, with_yaw=False)


def test_pixels_are_decoded_whole_or_not_at_all() -> None:
    jpeg = face_jpeg(3)
    assert decode_face(jpeg).shape == (64, 64, 3)
    with pytest.raises(FormatError):
        decode_face(jpeg[: len(jpeg) // 2])
    with pytest.raises(FormatError, match="decoded whole"):
        decode_face(jpeg[:-500] + b"\xff\xd9")


def test_a_picture_that_announces_gigabytes_is_not_decoded() -> None:
    jpeg = bytearray(with_metadata(face_jpeg(3), read_metadata(face_jpeg(3))))
    place = jpeg.index(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = np.array([65500, 65500], ">u2").tobytes()
    with pytest.raises(FormatError, match="65500x65500"):
        decode_face(bytes(jpeg))
