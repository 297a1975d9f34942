from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.cli import main
from daemon.commands.sort import KEYS
from dfl.geometry import head_pose
from dfl.image import encode_aligned_jpeg, read_metadata, with_metadata
from dfl.xseg_mask import encode_xseg_mask
from engine.backends.backend import Backend
from engine.errors import FacesetError
from engine.facesets.face_listing import list_faces
from engine.facesets.sort_order import Order, mask_ratio, names_by_place, similarity_to_most, upscale_of
from engine.measure_faceset import measure_faceset
from engine.sort import sort_faces, undo_sort
from engine.types import Face, Image
from tests.faceset_rig import contents, face_jpeg, make_faceset, stat_of


def written(count: int = 12) -> dict[str, bytes]:
    """Faces that differ in everything that they can be sorted by."""
    return {
        f"clip-{number:08d}_0.jpg": masked(face_jpeg(number, scale=1 + (number * 7) % 5), (number * 5) % 12)
        for number in range(count)
    }


def masked(jpeg: bytes, sixteenths: int) -> bytes:
    mask = np.zeros((16, 16))
    mask[:sixteenths] = 1
    return with_metadata(jpeg, replace(read_metadata(jpeg), xseg_mask=encode_xseg_mask(mask)))


def test_the_keys_of_the_command_are_those_of_the_engine() -> None:
    assert set(KEYS) == {*get_args(Order), "origname"}


@pytest.mark.parametrize("by", [one for one in get_args(Order) if one != "identity"])
def test_names_sort_by_the_key_masks_follow_and_undo_restores_the_folder(quick_folder: Path, by: str) -> None:
    folder = make_faceset(quick_folder, written())
    before, stats = contents(folder.parent), stat_of(folder.parent)
    assert sort_faces(folder, by).done.moved == 12  # type: ignore[arg-type]
    faces = list_faces(folder).faces
    assert [face.name for face in faces] == [f"{number:05d}.jpg" for number in range(12)]
    poses = [head_pose(face.metadata.landmarks, 64) for face in faces]
    features = measure_faceset(folder).features
    values = {
        "sharpness": (-features.sharpness).tolist(),
        "light": (-features.brightness).tolist(),
        "yaw": [-yaw for _, yaw, _ in poses],
        "pitch": [-pitch for pitch, _, _ in poses],
        "upscale": [upscale_of(face) or 0 for face in faces],
        "time": [int((face.metadata.source_filename or "")[:8]) for face in faces],
        "mask": [
            mask_ratio(face, read_metadata((folder.aligned / face.name).read_bytes()).xseg_mask or b"")
            for face in faces
        ],
    }[by]
    assert values == sorted(values)
    assert len(set(values)) > 3
    for face in faces:
        first = next(name for name, data in written().items() if data == (folder.aligned / face.name).read_bytes())
        assert folder.mask_of(face.name).read_bytes() == before[f"masks/{folder.mask_of(first).name}"]
    undo_sort(folder)
    assert contents(folder.parent) == before
    assert stat_of(folder.parent) == stats
    with pytest.raises(FacesetError, match="no sort of dfld is left to undo"):
        undo_sort(folder)


def test_a_picture_that_announces_any_size_costs_no_memory(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, written(3))
    path = folder.aligned / "clip-00000000_0.jpg"
    data = path.read_bytes()
    sides = data.index(b"\xff\xc0") + 5
    path.write_bytes(data[:sides] + b"\xff\xd8\xff\xd8" + data[sides + 4 :])
    tracemalloc.start()
    try:
        for by in get_args(Order):
            sort_faces(folder, by, backend=cast(Backend, Colours()))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def sorted_by_deepfacelab(where: Path) -> None:
    """Exchange the names of all faces of a folder, as a sort does that knows no journal."""
    names = sorted(where.glob("*.jpg"))
    for path in names:
        path.rename(path.with_suffix(".moving"))
    for path, other in zip(names, [*names[1:], names[0]], strict=True):
        path.with_suffix(".moving").rename(other)


@pytest.mark.parametrize("with_id", [True, False])
@pytest.mark.parametrize("undoes", [True, False])
def test_a_sort_of_deepfacelab_in_between_gives_no_face_the_name_of_another(
    quick_folder: Path, with_id: bool, undoes: bool
) -> None:
    faces = {f"clip-{number:08d}_0.jpg": face_jpeg(number, with_id=with_id) for number in range(6)}
    folder = make_faceset(quick_folder, faces, masks=False)
    sort_faces(folder, "yaw")
    sorted_by_deepfacelab(folder.aligned)
    if undoes:
        undo_sort(folder)
    else:
        sort_faces(folder, "origname")
    assert contents(folder.aligned) == faces


def test_a_face_that_a_person_put_under_the_name_of_a_sorted_one_keeps_it(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, {"a.jpg": face_jpeg(1), "b.jpg": face_jpeg(2)}, masks=False)
    sort_faces(folder, "yaw")
    place = folder.aligned / "00001.jpg"
    (theirs, gone) = (face_jpeg(9), place.read_bytes())
    place.write_bytes(theirs)
    undo_sort(folder)
    found = contents(folder.aligned)
    assert found["00001.jpg"] == theirs
    assert sorted(found.values()) == sorted({face_jpeg(1), face_jpeg(2), theirs} - {gone})


class Colours:
    """A recogniser to whom a person is a colour. Everything else of a backend is not asked for."""

    def recognition_crop(self, image: Image, face: Face) -> Image:
        assert face.landmarks_5 is not None
        return image

    def embed(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        return np.stack([np.append(crop.mean(axis=(0, 1)) - 128, 1).astype(np.float32) for crop in crops])


def test_strangers_come_last_by_identity(quick_folder: Path) -> None:
    faces = {}
    for number in range(70):
        colour = (30, 30, 220) if number % 7 == 0 else (200, 120 + number % 5, 60)
        pixels = np.full((64, 64, 3), colour, np.uint8)
        faces[f"{number:02d}.jpg"] = encode_aligned_jpeg(pixels, read_metadata(face_jpeg(number)), 95)
    folder = make_faceset(quick_folder, faces)
    with pytest.raises(FacesetError, match="needs a backend"):
        sort_faces(folder, "identity")
    sort_faces(folder, "identity", backend=cast(Backend, Colours()))
    strangers = {faces[f"{number:02d}.jpg"] for number in range(0, 70, 7)}
    there = [path.read_bytes() in strangers for path in sorted(folder.aligned.iterdir())]
    assert there == [False] * 60 + [True] * 10


def test_the_most_alike_are_those_of_the_larger_part_however_far_the_others_are() -> None:
    many, few = np.tile([[1.0, 0.1, 0.0]], (6, 1)), np.tile([[0.0, 0.0, 50.0]], (5, 1))
    alike = similarity_to_most(np.concatenate([few, many]).astype(np.float32))
    assert alike[5:].min() > 0.9 > alike[:5].max()


def test_origname_restores_every_name_after_any_number_of_sorts(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, written())
    before = contents(folder.parent)
    for by in ("yaw", "upscale", "pitch"):
        sort_faces(folder, by)
    sort_faces(folder, "origname")
    assert contents(folder.parent) == before
    assert sort_faces(folder, "origname").done.moved == 0


def test_origname_after_a_sort_of_deepfacelab_names_faces_after_their_frames(quick_folder: Path) -> None:
    names = {"00000.jpg": face_jpeg(7), "00001.jpg": face_jpeg(7, index=1), "00002.jpg": face_jpeg(3)}
    folder = make_faceset(quick_folder, names)
    (folder.aligned / "00000003_0.jpg").write_bytes(b"broken")
    sort_faces(folder, "origname")
    assert {path.name for path in folder.aligned.iterdir()} == {
        "00000007_0.jpg", "00000007_1.jpg", "00000003_1.jpg", "00000003_0.jpg",
    }  # fmt: skip


def test_no_sorted_face_gets_the_name_of_one_beside_it_or_of_a_mask_that_is_not_its_own(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, written(3))
    folder.aside.mkdir()
    (folder.aside / "00000.jpg").write_bytes(b"aside")
    (folder.masks / "00002_mask.png").write_bytes(b"of a face that has gone")
    (folder.aligned / "00001.jpg").write_bytes(b"broken")
    done = sort_faces(folder, "time")
    assert {path.name for path in folder.aligned.iterdir()} == {"00001.jpg", "00003.jpg", "00004.jpg", "00005.jpg"}
    assert [one.name for one in done.unreadable] == ["00001.jpg"]


def test_names_have_five_digits_or_as_many_as_the_set_needs() -> None:
    assert names_by_place(2, ()) == ["00000.jpg", "00001.jpg"]
    names = names_by_place(100_001, ())
    assert (names[0], names[-1]) == ("000000.jpg", "100000.jpg")


def test_the_command_says_which_faceset_it_took_and_what_it_did(
    quick_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_faceset(quick_folder, written(3))
    (folder.aligned / "broken.jpg").write_bytes(b"")
    assert main(["sort", str(quick_folder), "--by", "yaw"]) == 0
    said = capsys.readouterr().out
    assert f"{quick_folder} is the workspace: faces of data_src/aligned" in said
    assert "3 of 3 faces renamed (batch 1)" in said
    assert "broken.jpg is left as it is" in said
    assert main(["sort", str(folder.aligned), "--undo", "--json"]) == 0
    assert '"moved": 3' in capsys.readouterr().out
    (folder.aligned / "faceset.pak").write_bytes(b"")
    assert main(["sort", str(folder.aligned), "--by", "yaw"]) == 1
    assert f"dfld unpack {folder.aligned}" in capsys.readouterr().err
