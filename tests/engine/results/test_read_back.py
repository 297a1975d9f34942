"""Every face of a clip, read back: what was written is whole, what people did is theirs, and what rotted is found."""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dfl.image import read_metadata, with_metadata
from engine.face_id import face_id
from engine.results import read_back
from engine.results.checked_face import FAULTS, FINDINGS, CheckedFace, RecordedFace
from engine.results.manifest import manifest_path
from engine.results.manifest_lines import RunNote, mask_name
from engine.results.manual_changes import survey
from engine.results.read_back import ReadBack, drop_faces, layouts_in
from engine.results.run_results import Results
from engine.same_face import trace_of_jpeg
from engine.workspace.file_names import Layout, inbox_layout, output_layout
from engine.workspace.output_files import prepare_workspace
from tests.file_modes import file_modes_count
from tests.picture_worker import SIDE, aligned_jpeg

SOURCE = "5" * 64
FACES = 6
NOTE = RunNote("clip.mp4", "content", "basis")


def id_of(frame: int) -> str:
    return face_id(SOURCE, frame, (1, 2, 3, 4))


def mask(frame: int) -> bytes:
    return cv2.imencode(".png", np.full((SIDE, SIDE), frame, np.uint8))[1].tobytes()


def write_clip(layout: Layout, *, finished: bool = True, faces: int = FACES) -> list[RecordedFace]:
    """Write the faces of a clip as a run does, each with its mask; return what the ledger holds of them."""
    prepare_workspace(layout)
    recorded = []
    with Results(layout, NOTE, resumes=False) as results:
        for frame in range(faces):
            data = aligned_jpeg("clip", frame, id_of(frame))
            trace = trace_of_jpeg(data)
            assert trace is not None
            name = results.write_face("aligned", frame, 0, "jpg", data, mask(frame), trace)
            assert name is not None
            recorded.append(RecordedFace(name, id_of(frame)))
        if finished:
            results.committed(faces)
            results.finished()
    return recorded


def redo(layout: Layout, note: RunNote = NOTE) -> list[bool]:
    """Do the clip once more; return of each face whether a person's decision about it stands."""
    decided = []
    with Results(layout, note, resumes=False) as results:
        for frame in range(FACES):
            data = aligned_jpeg("clip", frame, id_of(frame))
            trace = trace_of_jpeg(data)
            assert trace is not None
            decided.append(results.is_decided(trace))
            if not decided[-1]:
                results.write_face("aligned", frame, 0, "jpg", data, mask(frame), trace)
        results.committed(FACES)
        results.finished()
    return decided


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return inbox_layout(tmp_path, "src", "clip")


def checked(layout: Layout, recorded: list[RecordedFace] | None) -> dict[str, CheckedFace]:
    clip = ReadBack(layout, recorded)
    return {name: clip.check(name) for name in clip.names}


def findings(layout: Layout, recorded: list[RecordedFace] | None) -> Counter[str]:
    return Counter(one.finding for one in checked(layout, recorded).values())


def rot(path: Path, at: int) -> None:
    """Change a byte as a bad disk does: size and time stay."""
    found = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_what_was_written_is_whole_with_the_hash_of_its_pixels(layout: Layout) -> None:
    recorded = write_clip(layout)
    found = checked(layout, recorded)
    assert Counter(one.finding for one in found.values()) == {"whole": FACES}
    assert len({one.pixels_sha256 for one in found.values()} - {""}) == FACES
    assert findings(layout, None) == {"whole": FACES}, "without a ledger as well"


@pytest.mark.parametrize("place", ["head", "metadata", "middle", "end"])
def test_a_byte_that_a_bad_disk_changed_is_found_wherever_it_lies(layout: Layout, place: str) -> None:
    recorded = write_clip(layout)
    path = layout.aligned / recorded[2].name
    size = path.stat().st_size
    rot(path, {"head": 3, "metadata": 60, "middle": size // 2, "end": size - 2}[place])
    assert checked(layout, recorded)[path.name].finding == "damaged"
    assert findings(layout, recorded) == {"whole": FACES - 1, "damaged": 1}


def test_a_face_that_may_not_be_read_is_a_finding_and_the_others_are_read_all_the_same(layout: Layout) -> None:
    recorded = write_clip(layout)
    paths = [layout.aligned / recorded[0].name, layout.masks / mask_name(recorded[1].name)]
    for path in paths:
        path.chmod(0)
    with file_modes_count():
        found = checked(layout, recorded)
        drop_faces(layout, [one for one in found.values() if one.finding == "damaged"])
    assert Counter(one.finding for one in found.values()) == {"whole": FACES - 2, "damaged": 2}
    face, of_mask = found[recorded[0].name], found[recorded[1].name]
    assert face.why == "its picture cannot be read: Permission denied"
    assert of_mask.why == "its mask cannot be read: Permission denied"
    assert [layout.root / one.file for one in (face, of_mask)] == paths
    assert all((one.stays, one.removable, one.recorded_as) == (True, "nothing", one.name) for one in (face, of_mask))
    assert all(path.exists() for path in paths), "what was not read is never removed"


def test_a_face_on_sectors_that_the_disk_cannot_read_is_a_finding(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = write_clip(layout)
    reads = read_back.read_regular

    def read(path: Path, **how: Any) -> bytes:
        if path.name == recorded[3].name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return reads(path, **how)

    monkeypatch.setattr(read_back, "read_regular", read)
    found = checked(layout, recorded)
    assert Counter(one.finding for one in found.values()) == {"whole": FACES - 1, "damaged": 1}
    assert found[recorded[3].name].why == "its picture cannot be read: Input/output error"


def test_a_folder_that_may_not_be_searched_is_no_finding_of_its_faces(layout: Layout) -> None:
    recorded = write_clip(layout)
    layout.aligned.chmod(0o600)
    with file_modes_count(), pytest.raises(PermissionError):
        checked(layout, recorded)


def test_a_mask_is_judged_as_its_face_is_and_a_missing_one_is_reported(layout: Layout) -> None:
    recorded = write_clip(layout)
    masks = sorted(layout.masks.iterdir())
    rot(masks[0], masks[0].stat().st_size // 2)
    masks[1].write_bytes(mask(0))
    masks[2].unlink()
    found = checked(layout, recorded)
    assert [found[one.name].finding for one in recorded[:4]] == ["damaged", "edited", "damaged", "whole"]
    assert found[recorded[1].name].why == "a person changed its mask"
    assert found[recorded[2].name].why == "its mask is missing"


def test_a_missing_mask_of_a_whole_face_is_written_again_by_a_repair(layout: Layout) -> None:
    recorded = write_clip(layout)
    its_mask = layout.masks / mask_name(recorded[2].name)
    before = its_mask.read_bytes()
    its_mask.unlink()
    found = checked(layout, recorded)[recorded[2].name]
    drop_faces(layout, [found])
    assert (layout.aligned / recorded[2].name).exists(), "the face itself is not at fault"
    assert checked(layout, recorded)[recorded[2].name].finding == "unfinished"
    assert redo(layout) == [False] * FACES
    assert its_mask.read_bytes() == before
    assert findings(layout, recorded) == {"whole": FACES}


def test_a_mask_that_a_person_took_away_before_a_redo_is_missed_no_more(layout: Layout) -> None:
    recorded = write_clip(layout)
    (layout.masks / mask_name(recorded[2].name)).unlink()
    redo(layout)
    assert findings(layout, recorded) == {"whole": FACES}, "the record of the face says that a person took it"


def test_a_face_whose_metadata_is_broken_is_damaged_and_stays(layout: Layout) -> None:
    recorded = write_clip(layout)
    broken, without = (layout.aligned / one.name for one in recorded[:2])
    data = broken.read_bytes()
    at = data.index(b"\xff\xef") + 4
    broken.write_bytes(data[:at] + b"\x00" * 40 + data[at + 40 :])
    without.write_bytes(cv2.imencode(".jpg", np.zeros((SIDE, SIDE, 3), np.uint8))[1].tobytes())
    found = checked(layout, recorded)
    for path in (broken, without):
        one = found[path.name]
        assert (one.finding, one.removable, one.stays) == ("damaged", "nothing", True)
        assert "metadata" in one.why
    redo(layout)
    assert broken.exists()
    assert findings(layout, recorded[2:]) == {"whole": FACES - 2, "damaged": 2}, "and so it is after a redo"


def test_faces_that_a_person_had_before_a_redo_are_listed_and_read_and_never_removed(layout: Layout) -> None:
    recorded = write_clip(layout)
    edited, cut, moved, taken = (layout.aligned / one.name for one in recorded[:4])
    for path in (edited, cut):
        data = path.read_bytes()
        path.write_bytes(with_metadata(data, replace(read_metadata(data), eyebrows_expand_mod=1.25)))
    moved.rename(layout.root / "mine.jpg")
    taken.unlink()
    redo(layout)
    assert findings(layout, recorded[4:]) == {"whole": 2, "edited": 2, "elsewhere": 1, "taken out": 1}
    os.truncate(cut, 300)
    found = checked(layout, recorded[4:])
    damaged = next(one for one in found.values() if one.finding == "damaged")
    assert (damaged.name, damaged.removable, damaged.stays) == (cut.name, "nothing", True)
    drop_faces(layout, found.values())
    assert cut.exists()
    cut.unlink()
    taken.write_bytes(aligned_jpeg("clip", 3, id_of(3)))
    found = checked(layout, recorded[4:])
    assert Counter(one.finding for one in found.values()) == {"whole": 2, "edited": 1, "elsewhere": 2, "taken out": 1}


def test_faces_that_a_cut_manifest_does_not_list_are_unlisted(layout: Layout) -> None:
    recorded = write_clip(layout)
    lines = manifest_path(layout).read_bytes().splitlines(keepends=True)
    manifest_path(layout).write_bytes(b"".join(lines[:5]))
    listed = sum(b'"face"' in line for line in lines[:5])
    assert 0 < listed < FACES
    assert ReadBack(layout, recorded).not_listed == FACES - listed
    assert findings(layout, recorded) == {"whole": listed, "unlisted": FACES - listed}


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_has_not_come_to_its_end_is_not_finished(layout: Layout, finished: bool) -> None:
    write_clip(layout, finished=finished)
    assert ReadBack(layout, None).not_finished == ("" if finished else "not finished: 0 frames of it are done")


def test_an_empty_file_is_said_to_be_empty_and_no_name_stands_twice(layout: Layout) -> None:
    recorded = write_clip(layout)
    empty, cut = (layout.aligned / one.name for one in recorded[:2])
    os.truncate(empty, 0)
    os.truncate(cut, 300)
    found = checked(layout, recorded)
    assert found[empty.name].why == "its picture is empty"
    assert cut.name not in found[cut.name].why


@pytest.mark.parametrize("length", [0, 10, 300])
def test_a_file_that_was_cut_off_is_damaged(layout: Layout, length: int) -> None:
    recorded = write_clip(layout)
    os.truncate(layout.aligned / recorded[0].name, length)
    assert checked(layout, recorded)[recorded[0].name].finding == "damaged"


def test_what_people_do_is_no_fault(layout: Layout) -> None:
    recorded = write_clip(layout)
    taken, aside, review, labelled, linked = (layout.aligned / one.name for one in recorded[:5])
    taken.unlink()
    aside.rename(layout.root / "mine.jpg")
    review.rename(layout.review / review.name)
    data = labelled.read_bytes()
    labelled.write_bytes(with_metadata(data, replace(read_metadata(data), eyebrows_expand_mod=1.25)))
    linked.rename(layout.root / "behind a link.jpg")
    linked.symlink_to(layout.root / "behind a link.jpg")
    found = checked(layout, recorded)
    assert [found[one.name].finding for one in recorded] == [
        "taken out", "elsewhere", "elsewhere", "edited", "edited", "whole",
    ]  # fmt: skip
    assert not {one.finding for one in found.values()} & set(FAULTS)
    assert {one.finding for one in found.values()} < set(FINDINGS)


def test_pixels_that_a_person_painted_are_told_from_metadata_that_a_tool_wrote(layout: Layout) -> None:
    recorded = write_clip(layout)
    before = checked(layout, recorded)
    recorded = [replace(one, pixels_sha256=before[one.name].pixels_sha256) for one in recorded]
    first, second = (layout.aligned / one.name for one in recorded[:2])
    data = first.read_bytes()
    first.write_bytes(with_metadata(data, replace(read_metadata(data), eyebrows_expand_mod=1.25)))
    second.write_bytes(with_metadata(aligned_jpeg("painted", 99, ""), read_metadata(second.read_bytes())))
    found = checked(layout, recorded)
    assert (found[first.name].finding, found[second.name].finding) == ("edited", "edited")
    assert "pixels are as they were written" in found[first.name].why
    assert "pixels are as they were written" not in found[second.name].why


def test_a_run_that_was_cut_off_leaves_unfinished_faces_and_no_person_took_them(layout: Layout) -> None:
    write_clip(layout, finished=False)
    next(layout.aligned.iterdir()).unlink()
    assert findings(layout, []) == {"unfinished": 1, "whole": FACES - 1}


def test_a_face_that_ledger_and_manifest_do_not_agree_about_is_unlisted(layout: Layout) -> None:
    recorded = write_clip(layout)
    other = replace(recorded[1], face_id="0" * 32)
    found = checked(layout, [other, *recorded[2:]])
    assert [found[one.name].finding for one in recorded[:3]] == ["unlisted", "unlisted", "whole"]


def test_ledger_and_manifest_are_joined_by_ids_whatever_the_names(layout: Layout) -> None:
    first, second, third, *others = write_clip(layout)
    renamed = replace(third, name="another name.jpg")
    swapped = [replace(first, name=second.name), replace(second, name=first.name), renamed, *others]
    found = checked(layout, swapped)
    assert Counter(one.finding for one in found.values()) == {"whole": FACES}
    assert (found[first.name].recorded_as, found[third.name].recorded_as) == (second.name, renamed.name)
    pixels = {one.face_id: found[name].pixels_sha256 for name, one in zip(found, (first, second, third), strict=False)}
    assert findings(layout, [replace(one, pixels_sha256=pixels.get(one.face_id, "")) for one in swapped]) == {
        "whole": FACES
    }


def test_faces_without_ids_or_with_one_id_twice_are_joined_by_their_names(layout: Layout) -> None:
    recorded = write_clip(layout)
    assert findings(layout, [replace(one, face_id="") for one in recorded]) == {"whole": FACES}
    twice = [replace(one, face_id=recorded[0].face_id) for one in recorded[:2]]
    assert findings(layout, [*twice, *recorded[2:]]) == {"whole": FACES - 1, "unlisted": 1}


def test_a_name_that_the_ledger_gives_to_another_face_as_well_is_unlisted(layout: Layout) -> None:
    first, second, *others = write_clip(layout)
    ledger = [replace(first, name=second.name), replace(second, name=first.name, face_id="0" * 32), *others]
    found = checked(layout, ledger)
    assert (found[first.name].finding, found[second.name].finding) == ("unlisted", "unlisted")


def test_without_a_manifest_the_ledger_alone_says_what_is_to_be_there(layout: Layout) -> None:
    recorded = write_clip(layout)
    manifest_path(layout).unlink()
    (layout.aligned / recorded[0].name).unlink()
    os.truncate(layout.aligned / recorded[1].name, 200)
    assert findings(layout, recorded) == {"unlisted": FACES - 1, "damaged": 1}


def test_a_dropped_face_is_written_again_by_the_next_run_and_one_that_was_taken_out_is_not(layout: Layout) -> None:
    recorded = write_clip(layout)
    taken, damaged = recorded[0].name, recorded[1].name
    (layout.aligned / taken).unlink()
    os.truncate(layout.aligned / damaged, 100)
    drop_faces(layout, [checked(layout, recorded)[damaged]])
    assert checked(layout, recorded)[damaged].finding == "unfinished", "until the clip is done once more"
    assert redo(layout) == [True, *[False] * (FACES - 1)]
    assert findings(layout, recorded[1:]) == {"whole": FACES - 1, "taken out": 1}


@pytest.mark.parametrize("has_ledger", [True, False])
def test_a_face_that_a_repair_removed_is_unfinished_until_it_is_written_again_whoever_lists_it(
    layout: Layout, has_ledger: bool
) -> None:
    recorded = write_clip(layout)
    known = recorded[1:] if has_ledger else None
    rot(layout.aligned / recorded[0].name, 60)
    before = ReadBack(layout, known)
    drop_faces(layout, [before.check(recorded[0].name)])
    after = ReadBack(layout, known)
    assert after.check(recorded[0].name).finding == "unfinished"
    assert (after.names, after.basis) == (before.names, before.basis), "a verification that was killed there goes on"


def test_a_face_that_a_person_put_back_whole_since_it_was_read_is_not_removed(layout: Layout) -> None:
    recorded = write_clip(layout)
    path = layout.aligned / recorded[0].name
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    found = ReadBack(layout, recorded).check(path.name)
    assert (found.finding, found.removable) == ("damaged", "face")
    path.write_bytes(whole)
    drop_faces(layout, [found])
    assert path.read_bytes() == whole
    assert findings(layout, recorded) == {"whole": FACES}, "and no line says that dfld removed it"


def test_that_a_run_began_the_clip_anew_meanwhile_is_said(layout: Layout) -> None:
    recorded = write_clip(layout)
    clip = ReadBack(layout, recorded)
    drop_faces(layout, [replace(clip.check(recorded[0].name), finding="damaged", removable="face")])
    assert clip.begun_anew() == ""
    redo(layout)
    assert clip.begun_anew() == "not finished: it was begun anew while it was read back"
    assert ReadBack(layout, recorded).begun_anew() == ""


def test_of_a_face_beside_a_rotten_mask_the_mask_alone_is_removed_and_written_again(layout: Layout) -> None:
    recorded = write_clip(layout)
    name = recorded[1].name
    path, its_mask = layout.aligned / name, layout.masks / mask_name(name)
    before, was = its_mask.read_bytes(), path.stat().st_ino
    rot(its_mask, len(before) // 2)
    found = checked(layout, recorded)[name]
    assert (found.finding, found.removable) == ("damaged", "mask")
    drop_faces(layout, [found])
    assert path.stat().st_ino == was, "the face itself is not at fault"
    assert not its_mask.exists()
    assert not survey(layout).changes, "no person took the mask away"
    assert redo(layout) == [False] * FACES
    assert its_mask.read_bytes() == before
    assert findings(layout, recorded) == {"whole": FACES}


def test_a_face_that_a_person_edited_stays_beside_a_rotten_mask_and_its_mask_comes_back(layout: Layout) -> None:
    recorded = write_clip(layout)
    name = recorded[1].name
    path, its_mask = layout.aligned / name, layout.masks / mask_name(name)
    edited = with_metadata(path.read_bytes(), replace(read_metadata(path.read_bytes()), eyebrows_expand_mod=1.25))
    path.write_bytes(edited)
    before = its_mask.read_bytes()
    rot(its_mask, len(before) // 2)
    found = checked(layout, recorded)[name]
    assert (found.finding, found.removable) == ("damaged", "mask")
    assert "a person changed it" in found.why
    drop_faces(layout, [found])
    for turn in range(3):
        assert redo(layout) == [False, turn > 0, *[False] * (FACES - 2)]
        assert (path.read_bytes(), its_mask.read_bytes()) == (edited, before)
    assert redo(layout, replace(NOTE, basis="another")) == [False, True, *[False] * (FACES - 2)]
    assert its_mask.read_bytes() == before, "later runs leave it to the face"
    its_mask.unlink()
    assert redo(layout) == [False, True, *[False] * (FACES - 2)]
    assert not its_mask.exists(), "a person took it away"


def test_a_run_of_another_basis_makes_no_mask_for_a_face_that_a_person_edited(layout: Layout) -> None:
    recorded = write_clip(layout)
    name = recorded[0].name
    path, its_mask = layout.aligned / name, layout.masks / mask_name(name)
    edited = with_metadata(path.read_bytes(), replace(read_metadata(path.read_bytes()), eyebrows_expand_mod=1.25))
    path.write_bytes(edited)
    rot(its_mask, its_mask.stat().st_size // 2)
    drop_faces(layout, [checked(layout, recorded)[name]])
    redo(layout, replace(NOTE, basis="another"))
    assert (path.read_bytes(), its_mask.exists()) == (edited, False), "it might be of another size"


@pytest.mark.parametrize("at_fault", ["face", "mask"])
def test_a_repair_leaves_every_other_picture_of_that_name(layout: Layout, at_fault: str) -> None:
    recorded = write_clip(layout)
    name = recorded[0].name
    other = layout.review / name
    other.write_bytes(aligned_jpeg("somebody else's", 99, ""))
    path = layout.aligned / name if at_fault == "face" else layout.masks / mask_name(name)
    rot(path, path.stat().st_size // 2)
    found = checked(layout, recorded)[name]
    assert (found.finding, found.file) == ("damaged", f"data_src/aligned/{name}")
    drop_faces(layout, [found])
    assert (other.exists(), path.exists()) == (True, False)


def test_a_repair_removes_a_damaged_face_where_it_lies_and_not_what_lies_in_its_first_place(layout: Layout) -> None:
    recorded = write_clip(layout)
    name = recorded[0].name
    (layout.aligned / name).rename(layout.review / name)
    rot(layout.review / name, (layout.review / name).stat().st_size // 2)
    (layout.aligned / name).write_bytes(aligned_jpeg("somebody else's", 99, ""))
    found = checked(layout, recorded)[name]
    assert (found.finding, found.file) == ("damaged", f"data_src/review/{name}")
    drop_faces(layout, [found])
    assert ((layout.aligned / name).exists(), (layout.review / name).exists()) == (True, False)


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_repair_leaves_a_mask_that_a_person_drew_anew(layout: Layout, is_readable: bool) -> None:
    recorded = write_clip(layout)
    name = recorded[0].name
    its_mask = layout.masks / mask_name(name)
    drawn = mask(200) if is_readable else mask(200)[:40]
    its_mask.write_bytes(drawn)
    if is_readable:
        rot(layout.aligned / name, (layout.aligned / name).stat().st_size // 2)
    found = checked(layout, recorded)[name]
    assert (found.finding, found.removable) == ("damaged", "face" if is_readable else "mask")
    assert found.stays is not is_readable
    drop_faces(layout, [found])
    assert its_mask.read_bytes() == drawn
    redo(layout)
    assert its_mask.read_bytes() == drawn


def with_pixels(layout: Layout, recorded: list[RecordedFace]) -> list[RecordedFace]:
    """Return the recorded faces with the hashes that a first verification keeps."""
    found = checked(layout, recorded)
    return [replace(one, pixels_sha256=found[one.name].pixels_sha256) for one in recorded]


@pytest.mark.parametrize("has_manifest", [True, False])
def test_other_pixels_than_the_ledger_recorded_are_damage_and_cost_no_file(layout: Layout, has_manifest: bool) -> None:
    recorded = with_pixels(layout, write_clip(layout))
    recorded[1] = replace(recorded[1], pixels_sha256="0" * 64)
    if not has_manifest:
        manifest_path(layout).unlink()
    assert findings(layout, recorded) == {"whole" if has_manifest else "unlisted": FACES - 1, "damaged": 1}
    found = checked(layout, recorded)[recorded[1].name]
    assert "pixels" in found.why
    drop_faces(layout, [found])
    assert (layout.root / found.file).exists()


def test_a_face_that_was_painted_after_its_manifest_was_lost_is_damaged_and_stays(layout: Layout) -> None:
    recorded = with_pixels(layout, write_clip(layout))
    manifest_path(layout).unlink()
    painted, labelled = (layout.aligned / one.name for one in recorded[:2])
    painted.write_bytes(with_metadata(aligned_jpeg("painted", 99, ""), read_metadata(painted.read_bytes())))
    data = labelled.read_bytes()
    labelled.write_bytes(with_metadata(data, replace(read_metadata(data), eyebrows_expand_mod=1.25)))
    found = checked(layout, recorded)
    assert [found[one.name].finding for one in recorded[:3]] == ["damaged", "unlisted", "unlisted"]
    drop_faces(layout, [found[painted.name]])
    assert painted.exists()
    assert not manifest_path(layout).exists(), "an empty one would say that a person added every face"


def test_the_basis_says_which_faces_are_read_back(layout: Layout) -> None:
    recorded = write_clip(layout)
    basis = ReadBack(layout, recorded).basis
    (layout.aligned / recorded[0].name).unlink()
    assert ReadBack(layout, recorded).basis == basis, "what people do meanwhile changes nothing"
    assert ReadBack(layout, [*recorded, RecordedFace("another.jpg")]).basis != basis


def test_the_clips_of_a_workspace_and_of_an_output_folder_are_found_by_their_manifests(tmp_path: Path) -> None:
    layouts = [inbox_layout(tmp_path / "ws", "src", "a"), inbox_layout(tmp_path / "ws", "dst", "b-2")]
    for one in (*layouts, output_layout(tmp_path / "out")):
        write_clip(one, faces=1)
    assert layouts_in(tmp_path / "ws") == layouts
    assert layouts_in(tmp_path / "out") == [output_layout(tmp_path / "out")]
    assert layouts_in(tmp_path) == []
