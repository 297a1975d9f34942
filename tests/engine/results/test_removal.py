"""Every face of a person is found whatever hands did to it, and nobody else's is touched."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.files import temporary_name
from daemon.worker.outputs import clip_files
from dfl.faceset import pack_faceset
from dfl.image import read_fields
from dfl.metadata_copy import SavedMetadata, read_metadata_copy, write_metadata_copy
from engine.errors import OutputError
from engine.face_id import face_id
from engine.facesets.changing.rename_journal import read_copies
from engine.facesets.curation.curate import curate
from engine.facesets.curation.record import record_path, write_record
from engine.facesets.curation.settings import CurationSettings
from engine.facesets.faceset_folder import faceset_folders
from engine.facesets.feature_cache import cache_path
from engine.facesets.packs.saved_metadata import save_metadata
from engine.measure_faceset import measure_faceset
from engine.results.face_files import trace_in, traces_in_pack
from engine.results.manifest_lines import RunNote
from engine.results.removal import ClipFaces, remove_faces
from engine.results.run_results import Results
from engine.same_face import FaceTrace, trace_of_jpeg
from engine.workspace.file_names import Layout, inbox_layout
from engine.workspace.output_files import prepare_workspace
from tests.engine.results.test_manual_changes import (
    DEEDS,
    FACES,
    JPEGS,
    MASK,
    OTHER_SOURCE,
    SOURCE,
    TRACES,
    Hands,
    face_jpeg,
    identified,
    run,
)  # fmt: skip

EXAMPLES = int(os.environ.get("DFLD_MANUAL_CHANGES_EXAMPLES", "25"))
OWN = {trace.landmarks_hash for trace in TRACES.values()}


def others_clip(workspace: Path, slug: str = "bob") -> dict[str, bytes]:
    """Write a clip of somebody else into the same workspace; return its pictures by mark."""
    layout = inbox_layout(workspace, "src", slug)
    prepare_workspace(layout)
    faces = {}
    with Results(layout, RunNote("bob.mp4", "bobs", "basis"), resumes=False) as results:
        for number in range(3):
            jpeg = face_jpeg(number, 0, clip=5)
            trace = trace_of_jpeg(jpeg)
            assert trace is not None
            results.write_face("aligned", number, 0, "jpg", jpeg, MASK, trace)
            faces[trace.landmarks_hash] = jpeg
        results.committed(3)
    return faces


def marks_below(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        if path.is_file() and path.suffix == ".pak":
            yield from (trace.landmarks_hash for trace in traces_in_pack(path) if trace is not None)
        elif path.is_file() and (trace := trace_in(path)) is not None:
            yield trace.landmarks_hash


def forget(layout: Layout) -> dict[str, list[str]]:
    return vars(remove_faces([ClipFaces(layout)], clip_files))


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 2**32), deeds=st.lists(st.integers(0, len(DEEDS) - 1), max_size=6), redo=st.booleans())
def test_no_hand_hides_a_face_and_nobody_else_loses_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int, deeds: list[int], redo: bool
) -> None:
    base = tmp_path_factory.mktemp("forget")
    layout = inbox_layout(base, "src", "alice")
    others = others_clip(base)
    run(layout)
    hands = Hands(layout, random.Random(seed))
    for deed in deeds:
        DEEDS[deed](hands)
    if redo:
        run(layout)
    made = forget(layout)
    left = set(marks_below(base))
    assert not left & OWN
    assert left >= set(others)
    assert made["remains"] == []
    assert not list(base.rglob("alice-*"))
    for path in hands.kept:
        trace = trace_in(path) if path.suffix == ".jpg" else None
        if trace is not None and trace.landmarks_hash not in others:  # added by a hand: nobody can tell whom it shows
            assert any(str(path) in one for one in made["left"])
    shutil.rmtree(base)


def test_a_faceset_of_several_people_is_written_again_without_the_one(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    others = others_clip(tmp_path)
    run(layout)
    pack = layout.aligned / "faceset.pak"
    stranger = face_jpeg(9, 0, clip=77)
    named = [("00000.jpg", JPEGS[0, 0]), ("00001.jpg", stranger), ("00002.jpg", JPEGS[2, 1])]
    pack.write_bytes(pack_faceset([*named, *((f"b{n}.jpg", jpeg) for n, jpeg in enumerate(others.values()))]))
    made = forget(layout)
    assert pack.read_bytes() == pack_faceset(
        [("00001.jpg", stranger), *((f"b{n}.jpg", jpeg) for n, jpeg in enumerate(others.values()))]
    )
    assert f"{pack}: 2 faces of 6" in made["removed"]
    assert any(one.startswith(f"{pack}: 1 of 6 faces") for one in made["left"])


def test_a_faceset_of_the_one_person_goes_and_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    run(layout)
    pack, broken = layout.aligned / "faceset.pak", layout.review / "faceset.pak"
    pack.write_bytes(pack_faceset([("00000.jpg", JPEGS[0, 0])]))
    broken.write_bytes(b"\1" * 100)
    made = forget(layout)
    assert not pack.exists()
    assert any(one.startswith(f"{broken}: cannot be read as a faceset") for one in made["left"])


def test_renamed_faces_without_metadata_are_known_by_their_bytes(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    prepare_workspace(layout)
    with Results(layout, RunNote("a.mp4", "content", "basis"), resumes=False) as results:
        for number in range(2):
            trace = FaceTrace(f"{number:08d}", (1, 2, 3, 4))
            results.write_face("aligned", number, 0, "png", b"a face without metadata %d" % number, MASK, trace)
    (layout.aligned / "alice-00000000_0.png").rename(layout.aligned / "best.png")
    (layout.aligned / "mine.png").write_bytes(b"a face without metadata 7")
    made = forget(layout)
    assert [path.name for path in layout.aligned.iterdir()] == ["mine.png"]
    assert any("mine.png: nothing in it says of whom" in one for one in made["left"])


def test_faces_without_id_whose_manifest_was_lost_are_known_by_the_id_that_source_frame_and_box_give_them(
    tmp_path: Path,
) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    run(layout)
    shutil.rmtree(layout.debug)
    path = layout.aligned / "alice-00000001_0.jpg"
    path.rename(layout.aligned / "00017.jpg")
    trace = TRACES[1, 0]
    known = face_id("a" * 64, int(trace.frame), trace.box)
    remove_faces([ClipFaces(layout, "a" * 64, frozenset({known}))], clip_files)
    assert list(layout.aligned.iterdir()) == []


def test_pictures_that_another_clip_has_under_its_own_name_are_not_listed_as_untold(tmp_path: Path) -> None:
    layout, other = (inbox_layout(tmp_path, "src", slug) for slug in ("alice", "bob"))
    run(layout)
    prepare_workspace(other)
    with Results(other, RunNote("b.mp4", "bobs", "basis"), resumes=False) as results:
        results.write_face("aligned", 0, 0, "png", b"bob", MASK, FaceTrace("00000000", (1, 2, 3, 4)))
    (other.aligned / "bob-00000000_0.png").write_bytes(b"bob, retouched")
    assert forget(layout)["left"] == []
    assert (other.aligned / "bob-00000000_0.png").exists()


def test_a_face_of_another_clip_under_a_name_of_this_one_stays_and_a_face_of_this_one_under_any_name_goes(
    tmp_path: Path,
) -> None:
    layout, other = (inbox_layout(tmp_path, "src", slug) for slug in ("alice", "bob"))
    run(layout, source=SOURCE)
    run(other, source=OTHER_SOURCE)  # another recording of the same faces: nothing but the ids tells them apart
    mine, theirs = layout.aligned / "alice-00000001_0.jpg", other.aligned / "bob-00000001_0.jpg"
    data = theirs.read_bytes()
    mine.unlink()
    theirs.rename(mine)
    (layout.aligned / "alice-00000002_0.jpg").rename(theirs)
    made = forget(layout)
    assert mine.read_bytes() == data
    assert made["remains"] == []
    assert not theirs.exists()
    assert str(theirs) in made["removed"]
    assert len(list(other.aligned.iterdir())) == FACES // 2


def test_a_picture_that_says_that_it_is_of_an_unknown_source_is_left_and_named(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    run(layout, source=SOURCE)
    added = layout.aligned / "alice-00000001_7.jpg"
    added.write_bytes(identified(face_jpeg(1, 0, clip=3), "7" * 64))
    made = forget(layout)
    assert [path.name for path in layout.aligned.iterdir()] == [added.name]
    assert any(one.startswith(f"{added}: ") for one in made["left"])


def test_faces_whose_manifest_was_lost_are_known_by_the_ids_in_the_ledger(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    run(layout, source=SOURCE)
    shutil.rmtree(layout.debug)
    (layout.aligned / "alice-00000001_0.jpg").rename(layout.aligned / "00017.jpg")
    known = frozenset(face_id(SOURCE, number, TRACES[number, index].box) for number, index in TRACES)
    remove_faces([ClipFaces(layout, face_ids=known)], clip_files)
    assert list(layout.aligned.iterdir()) == []


PLACES = (
    "data_src/aligned/00000007.jpg",
    "data_src/00000007.jpg",
    "data_src/masks/best.jpg",
    "data_src/debug/best.jpg",
    "data_src/aligned/bob-00000002_0.jpg",
    "mine/masks/keep.jpg",
    "mine/debug/00000001.jpg",
    "data_dst/00000003.jpg",
    "data_dst/aligned/.hidden/x.JPEG",
)


@pytest.mark.parametrize("place", PLACES)
def test_no_name_and_no_folder_hides_a_face(tmp_path: Path, place: str) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    others = others_clip(tmp_path)
    run(layout)
    target = tmp_path / place
    target.parent.mkdir(parents=True, exist_ok=True)
    (layout.aligned / "alice-00000001_0.jpg").rename(target)
    made = forget(layout)
    assert str(target) in made["removed"]
    assert made["remains"] == []
    assert OWN.isdisjoint(marks_below(tmp_path))
    assert len(set(marks_below(tmp_path)) & set(others)) == len(others) - ("bob-" in place)


def test_a_face_that_two_clips_have_stays_with_the_other_clip(tmp_path: Path) -> None:
    layout, other = (inbox_layout(tmp_path, "src", slug) for slug in ("alice", "young"))
    run(layout)
    run(other)
    before = {path: path.read_bytes() for path in other.aligned.glob("young-*")}
    assert forget(layout)["remains"] == []
    assert {path: path.read_bytes() for path in layout.aligned.iterdir()} == before


@pytest.mark.parametrize("name", ["faceset.pak", "OLD.PAK"])
def test_the_second_look_goes_into_facesets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    run(layout)
    pack = layout.aligned / name
    pack.write_bytes(pack_faceset([("00000.jpg", JPEGS[0, 0]), ("00001.jpg", face_jpeg(9, 0, clip=77))]))
    with monkeypatch.context() as patch:  # as where a faceset could not be written again
        patch.setattr("engine.results.removal._take_out_of_pack", lambda *_: None)
        assert forget(layout)["remains"] == [f"{pack}: 1 faces"]


def test_what_was_measured_of_the_faces_goes_with_them(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    prepare_workspace(layout)
    run(layout)
    (folder,) = faceset_folders(layout.aligned)
    write_record(folder, curate(measure_faceset(folder).features, {}), CurationSettings())
    assert cache_path(folder).exists()
    made = remove_faces([ClipFaces(layout, SOURCE)], clip_files)
    assert str(cache_path(folder)) in made.removed
    assert not cache_path(folder).exists()
    assert str(record_path(folder)) in made.removed
    assert not record_path(folder).exists()


def test_a_copy_of_metadata_keeps_what_is_of_others_alone(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    others = others_clip(tmp_path)
    run(layout)
    (folder,) = faceset_folders(layout.aligned)
    stranger = face_jpeg(9, 0, clip=77)
    (layout.aligned / "stranger.jpg").write_bytes(stranger)
    save_metadata(folder)
    broken, own = layout.root / "x" / "meta.dat", layout.root / "y" / "meta.dat"
    for path in (broken, own):
        path.parent.mkdir()
    broken.write_bytes(b"broken")
    own.write_bytes(write_metadata_copy({"1.jpg": SavedMetadata((32, 32, 3), read_fields(JPEGS[0, 0]))}))
    made = forget(layout)
    left = read_metadata_copy(folder.metadata_copy.read_bytes())
    assert hashlib.sha256(folder.metadata_copy.read_bytes()).hexdigest() in read_copies(folder)
    assert {name for name in left if not name.startswith("bob-")} == {"stranger.jpg"}
    assert len(left) == 1 + len(others)
    assert not own.exists()
    assert any(one == f"{folder.metadata_copy}: metadata of 4 faces of {5 + len(others)}" for one in made["removed"])
    assert {one.split(":")[0] for one in made["left"] if "meta.dat" in one} == {str(broken), str(folder.metadata_copy)}


def test_what_a_kill_left_half_written_goes_too(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    others = others_clip(tmp_path)
    run(layout)
    (folder,) = faceset_folders(tmp_path)
    save_metadata(folder)
    folder.metadata_copy.rename(temporary_name(folder.metadata_copy))
    pack = temporary_name(folder.pack)
    pack.write_bytes(pack_faceset([("0.jpg", JPEGS[0, 0])])[:-50])
    masked = temporary_name(folder.aligned / "00000.jpg")
    masked.write_bytes(JPEGS[0, 0])
    being_written = temporary_name(folder.aligned / "00001.jpg")
    being_written.write_bytes(next(iter(others.values())))
    made = forget(layout)
    assert {path.name for path in layout.aligned.iterdir() if path.suffix == ".part"} == {being_written.name}
    assert {str(pack), str(masked)} <= set(made["removed"])
    assert made["remains"] == []


def test_faces_behind_folders_that_are_links_are_found(tmp_path: Path) -> None:
    workspace, disk = tmp_path / "workspace", tmp_path / "disk"
    layout = inbox_layout(workspace, "src", "alice")
    others = others_clip(workspace)
    run(layout)
    disk.mkdir()
    for folder in (layout.aligned, layout.masks):
        folder.rename(disk / folder.name)
        folder.symlink_to(disk / folder.name)
    (disk / "aside").mkdir()
    (layout.aligned.parent / "aside").symlink_to(disk / "aside")
    first, second, *_ = sorted(layout.aligned.glob("alice-*.jpg"))
    shutil.copyfile(first, disk / "aside" / "mine.jpg")
    second.rename(layout.aligned / "best.jpg")
    (layout.aligned / "faceset.pak").write_bytes(pack_faceset([("0.jpg", JPEGS[0, 0])]))
    layout.aligned.parent.rename(disk / "data_src")
    layout.aligned.parent.symlink_to(disk / "data_src")
    assert forget(layout)["remains"] == []
    left = set(marks_below(disk))
    assert not left & OWN
    assert left >= set(others)
    assert not (layout.aligned / "faceset.pak").exists()


def test_nothing_is_kept_behind_a_link_and_one_that_stands_there_is_named(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "alice")
    run(layout)
    (folder,) = faceset_folders(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    folder.state.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link") as refused:
        save_metadata(folder)
    assert refused.value.hint == ""
    assert len(measure_faceset(folder).features)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    folder.state.unlink()
    assert folder.state.parent == layout.aligned.parent
    save_metadata(folder)
    folder.state.rename(tmp_path / "elsewhere" / "state")
    folder.state.symlink_to(tmp_path / "elsewhere" / "state")
    with pytest.raises(OutputError, match="is a link"):
        forget(layout)
