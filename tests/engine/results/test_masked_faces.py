"""A face that dfld has masked is as dfld wrote it: for a redo, for dfld verify, for a search for manual changes."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfl.image import read_metadata, with_metadata
from dfl.xseg_mask import encode_xseg_mask
from engine.facesets.faceset_folder import faceset_folders
from engine.mask_faceset import MaskRequest, mask_faceset
from engine.masks.choose import MaskSources
from engine.masks.hull import HullMasks
from engine.masks.source import FaceToMask, PredictedMask
from engine.masks.write_mask import mask_picture
from engine.results.manifest_lines import RunNote, mask_name
from engine.results.manual_changes import survey
from engine.results.read_back import ReadBack
from engine.results.run_results import Results
from engine.same_face import trace_of_jpeg
from engine.workspace.file_names import Layout, inbox_layout
from engine.workspace.output_files import prepare_workspace
from tests.faceset_rig import SIDE, face_jpeg

FACES = 3


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A clip's faces, each with its hull mask, as an extraction writes them."""
    layout = inbox_layout(tmp_path, "src", "clip")
    prepare_workspace(layout)
    write_run(layout)
    return layout


def write_run(layout: Layout) -> None:
    with Results(layout, RunNote("clip.mp4", "content", "basis"), resumes=False) as results:
        for number in range(FACES):
            data = face_jpeg(number)
            trace = trace_of_jpeg(data)
            assert trace is not None
            if not results.is_decided(trace):
                results.write_face("aligned", number, 0, "jpg", data, hull_picture(data), trace)
        results.committed(FACES)
        results.finished()


def hull_picture(data: bytes) -> bytes:
    (hull,) = HullMasks().masks([FaceToMask(np.zeros((SIDE, SIDE, 3), np.uint8), read_metadata(data))])
    return mask_picture(hull)


class Eroded:
    """A source: the hull, a little smaller."""

    name = "xseg"
    model_sha = "5" * 64

    def masks(self, faces: list[FaceToMask]) -> list[PredictedMask]:
        hulls = HullMasks().masks(faces)
        return [PredictedMask(cv2.erode(one.mask, np.ones((3, 3), np.uint8)), "xseg", self.model_sha) for one in hulls]


def mask_all(layout: Layout) -> None:
    (folder,) = faceset_folders(layout.root)
    request = MaskRequest("auto", MaskSources(xseg=Eroded()), "xseg")  # type: ignore[arg-type]
    report = mask_faceset(folder, request, stop=threading.Event(), on_progress=lambda _done, _all: None)
    assert report.outcomes == {"masked": FACES}
    assert not any(one.picture_left for one in report.faces)


def findings(layout: Layout) -> Counter[str]:
    clip = ReadBack(layout, None)
    return Counter(clip.check(name).finding for name in clip.names)


def test_a_masked_face_is_whole_and_no_manual_change(layout: Layout) -> None:
    written = {path: path.read_bytes() for path in (*layout.aligned.iterdir(), *layout.masks.iterdir())}
    mask_all(layout)
    assert all(path.read_bytes() != data for path, data in written.items())
    assert findings(layout) == {"whole": FACES}
    found = survey(layout)
    assert not found.changes
    assert found.faces == FACES
    assert set(found.removable) == set(written)


def test_a_redo_writes_masked_faces_anew(layout: Layout) -> None:
    written = {path: path.read_bytes() for path in (*layout.aligned.iterdir(), *layout.masks.iterdir())}
    mask_all(layout)
    write_run(layout)
    assert {path: path.read_bytes() for path in written} == written
    assert not survey(layout).changes


def test_what_a_person_does_to_a_masked_face_is_a_manual_change(layout: Layout) -> None:
    mask_all(layout)
    names = sorted(path.name for path in layout.aligned.iterdir())
    edited = layout.aligned / names[0]
    theirs = replace(read_metadata(edited.read_bytes()), xseg_mask=encode_xseg_mask(np.tri(256)))
    edited.write_bytes(with_metadata(edited.read_bytes(), theirs))
    cv2.imwrite(str(layout.masks / mask_name(names[1])), np.zeros((SIDE, SIDE), np.uint8))
    assert findings(layout) == {"edited": 2, "whole": 1}
    assert survey(layout).counts == {"edited": 2}
