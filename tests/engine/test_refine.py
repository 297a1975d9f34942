"""A second pass over a faceset takes noise out of its landmarks, and leaves right ones alone, byte for byte."""

from __future__ import annotations

import hashlib
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from numpy.typing import NDArray

from dfl.hull import hull_mask
from dfl.image import read_metadata, with_metadata
from engine.errors import FacesetError, InputError
from engine.refining.realign import NOTE_KEY
from engine.results.manifest import ManifestWriter, read_manifest
from engine.results.manifest_lines import FaceWritten, MaskWritten, WrittenFile
from engine.results.read_back import ReadBack
from engine.same_face import trace_of_jpeg
from engine.workspace.align import encode_mask
from engine.workspace.file_names import Layout, output_layout
from tests.faceset_rig import contents
from tests.refine_rig import FRAMES, SIDE, add_noise, extracted, landmarks_in, refined, write_images


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """An extraction; its images lie beside it."""
    return extracted(tmp_path_factory.mktemp("refine"))


@pytest.fixture
def images(original: Layout) -> Path:
    return original.root.parent / "images"


@pytest.fixture
def layout(original: Layout, tmp_path: Path) -> Layout:
    """A copy of it, of the same images."""
    shutil.copytree(original.root, tmp_path / "out")
    return output_layout(tmp_path / "out")


def error(layout: Layout, right: dict[str, NDArray[np.float64]]) -> float:
    found = landmarks_in(layout)
    return float(np.mean([np.linalg.norm(found[name] - one, axis=1).mean() for name, one in right.items()]))


def test_noise_in_landmarks_falls_and_the_faces_stay_the_same_faces(layout: Layout, images: Path) -> None:
    right = landmarks_in(layout)
    ids = {path.name: read_metadata(path.read_bytes()).dfld_face_id for path in layout.aligned.iterdir()}
    add_noise(layout, images)
    before = error(layout, right)
    report = refined(layout)
    assert len(report.moved_px) == FRAMES
    assert report.completed
    assert error(layout, right) < 0.3 * before
    for path in layout.aligned.iterdir():
        metadata = read_metadata(path.read_bytes())
        assert metadata.dfld_face_id == ids[path.name]
        assert NOTE_KEY in metadata.unknown
        hull = encode_mask(hull_mask(SIDE, SIDE, metadata.landmarks))
        assert (layout.masks / f"{path.stem}_mask.png").read_bytes() == hull
    once = contents(layout.root)
    again = refined(layout)
    assert again.outcomes == {"close_enough": FRAMES}
    assert contents(layout.root) == once


def test_right_landmarks_stay_and_so_does_every_byte(layout: Layout) -> None:
    before = contents(layout.root)
    report = refined(layout)
    assert report.outcomes == {"close_enough": FRAMES}
    assert contents(layout.root) == before


def test_a_dry_run_says_what_would_move_and_moves_nothing(layout: Layout, images: Path) -> None:
    add_noise(layout, images)
    before = contents(layout.root)
    tried = refined(layout, dry_run=True)
    assert contents(layout.root) == before
    done = refined(layout)
    assert tried.faces == done.faces
    assert all(1.0 < one < 8.0 for one in tried.moved_px)


def test_faces_are_not_taken_from_other_footage(layout: Layout, images: Path, tmp_path: Path) -> None:
    add_noise(layout, images)
    before = contents(layout.root)
    report = refined(layout, write_images(tmp_path / "other", wall=1))
    assert report.outcomes == {"no_footage": FRAMES}
    assert contents(layout.root) == before


def test_footage_that_is_not_there_any_more_is_asked_for(tmp_path: Path) -> None:
    layout = extracted(tmp_path)
    add_noise(layout, tmp_path / "images")
    (tmp_path / "images").rename(tmp_path / "archive")
    with pytest.raises(InputError) as refused:
        refined(layout)
    assert "--video" in refused.value.hint
    content = read_manifest(layout).run
    assert content is not None
    report = refined(layout, moved={content.content: tmp_path / "archive"}, dry_run=True)
    assert len(report.moved_px) == FRAMES
    assert len(refined(layout, tmp_path / "archive").moved_px) == FRAMES


def test_faces_that_no_manifest_names_need_their_footage_named(layout: Layout, images: Path) -> None:
    (layout.debug / "manifest.jsonl").unlink()
    with pytest.raises(FacesetError) as refused:
        refined(layout)
    assert "--video" in refused.value.hint
    assert refined(layout, images).outcomes == {"close_enough": FRAMES}


def test_faces_of_deepfacelab_are_known_by_what_their_frame_shows(layout: Layout, images: Path, tmp_path: Path) -> None:
    right = landmarks_in(layout)
    add_noise(layout, images)
    for path in layout.aligned.iterdir():
        data = path.read_bytes()
        path.write_bytes(with_metadata(data, replace(read_metadata(data), dfld_face_id=None)))
    before = error(layout, right)
    assert refined(layout, write_images(tmp_path / "other", wall=1)).outcomes == {"no_footage": FRAMES}
    assert len(refined(layout, images).moved_px) == FRAMES
    assert error(layout, right) < 0.3 * before


def test_a_refined_face_counts_as_dflds_own_and_an_edited_one_as_a_persons(layout: Layout, images: Path) -> None:
    own, edited = sorted(path.name for path in layout.aligned.iterdir())[:2]
    add_noise(layout, images)
    _write_into_manifest(layout)
    path = layout.aligned / edited
    data = path.read_bytes()
    path.write_bytes(with_metadata(data, replace(read_metadata(data), unknown=MappingProxyType({"theirs": 1}))))
    assert len(refined(layout).moved_px) == FRAMES
    clip = ReadBack(layout, None)
    assert clip.check(own).finding == "whole"
    assert clip.check(edited).finding == "edited"


def _write_into_manifest(layout: Layout) -> None:
    """Have the manifest say that dfld wrote the faces as they lie there now."""

    def written(path: Path) -> WrittenFile:
        found = path.stat()
        return WrittenFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), found.st_size, found.st_mtime_ns)

    with ManifestWriter(layout) as writer:
        for name, face in read_manifest(layout).faces.items():
            path = layout.aligned / name
            if not path.exists():
                continue  # in review
            trace = trace_of_jpeg(path.read_bytes())
            assert trace is not None
            writer.add(FaceWritten(replace(face, file=written(path), trace=trace)))
            writer.add(MaskWritten(written(layout.masks / f"{path.stem}_mask.png")))


def test_work_that_was_stopped_is_done_by_the_next_run(layout: Layout, images: Path) -> None:
    add_noise(layout, images)
    stop = threading.Event()
    report = refined(layout, stop=stop, on_progress=lambda done, _total: stop.set() if done >= 4 else None)
    assert not report.completed
    assert 4 <= len(report.moved_px) < FRAMES
    rest = refined(layout)
    assert rest.completed
    assert rest.outcomes["close_enough"] == len(report.moved_px)
    assert rest.outcomes["agrees_with_neighbours"] == FRAMES - len(report.moved_px)


def test_a_face_whose_mask_cannot_be_carried_over_stays_as_it_is(layout: Layout, images: Path) -> None:
    add_noise(layout, images)
    name = sorted(path.name for path in layout.aligned.iterdir())[3]
    mask = layout.masks / f"{Path(name).stem}_mask.png"
    mask.write_bytes(b"no picture")
    before = (layout.aligned / name).read_bytes()
    report = refined(layout)
    (left,) = (one for one in report.faces if not one.moves)
    assert (left.name, left.outcome) == (name, "cannot_be_moved")
    assert "mask" in left.why
    assert (layout.aligned / name).read_bytes() == before
    assert mask.read_bytes() == b"no picture"


def test_what_was_moved_can_be_taken_back_to_the_byte(layout: Layout, images: Path) -> None:
    add_noise(layout, images)
    before = contents(layout.aligned) | contents(layout.masks)
    moved = refined(layout)
    refined(layout)
    report = refined(layout, undo=True)
    assert report.outcomes == {"taken_back": FRAMES}
    assert report.moved_px == pytest.approx(moved.moved_px, rel=0.1)
    assert contents(layout.aligned) | contents(layout.masks) == before
    assert refined(layout, undo=True).outcomes == {"never_moved": FRAMES}
