"""A dst clip whose pixels are not square, or whose size changes: frames and faces still keep the merger's contract.

DeepFaceLab's merger joins a face to its frame by the stem of `source_filename`, fits the crop of the model's face type
to the face's landmarks by a rotation and one scale, and cuts it out of the frame that lies in the folder.
"""

from __future__ import annotations

import argparse
import json
import threading
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.commands.demo_clip import CLIP_SIZE, camera_move, group_photo, write_reference
from daemon.commands.extract import add_extract_options, settings_from
from dfl.geometry import face_mat, warp_face
from dfl.image import read_metadata
from engine.backends.backend import Backend
from engine.backends.catalog import open_backend
from engine.extract import extract
from engine.identity.identity import build_identity
from engine.types import ExtractReport, ExtractSettings, Identity
from engine.workspace.file_names import inbox_layout
from tests.clips import make_clip

FRAMES = 4


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backend, Identity]:
    backend = open_backend("dlib")
    path = tmp_path_factory.mktemp("reference") / "person.png"
    write_reference(path, group_photo(), backend)
    return backend, build_identity([path], backend, name="person")[0]


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    """The middle of a camera move: the wanted person shows in each."""
    return list(camera_move(group_photo(), 12))[4 : 4 + FRAMES]


def merged_frames(
    source: Path,
    workspace: Path,
    person: tuple[Backend, Identity],
    settings: ExtractSettings = ExtractSettings(),  # noqa: B008
) -> ExtractReport:
    backend, identity = person
    return extract(
        source, inbox_layout(workspace, "dst", "shot"), identity=identity, backend=backend, settings=settings,
        stop=threading.Event(),
    )  # fmt: skip


def faces_fit_their_frames(workspace: Path) -> dict[str, NDArray[np.float64]]:
    """Do what the merger does first with each face; return the landmarks of each frame, px of it."""
    landmarks = {}
    for path in sorted((workspace / "data_dst" / "aligned").iterdir()):
        data = path.read_bytes()
        metadata = read_metadata(data)
        assert metadata is not None
        frame = cv2.imread(str(workspace / "data_dst" / metadata.source_filename))
        assert frame is not None, f"{metadata.source_filename} is not there"
        points = np.asarray(metadata.source_landmarks, np.float64)
        assert (points >= 0).all()
        assert (points < frame.shape[1::-1]).all()
        crop = warp_face(np.asarray(frame, np.uint8), face_mat(points, 512, "whole_face"), 512)
        aligned = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(crop.astype(int) - aligned).mean() < 3, "the merger cuts out what the trainer never saw"
        landmarks[metadata.source_filename] = points
    return landmarks


def test_anamorphic_frames_are_squared_and_faces_have_the_shape_of_the_original(
    pictures: list[NDArray[np.uint8]], person: tuple[Backend, Identity], tmp_path: Path
) -> None:
    width, height = CLIP_SIZE
    square = make_clip(tmp_path / "square.mkv", frames=FRAMES, size=CLIP_SIZE, draw=pictures.__getitem__)
    squeezed = make_clip(
        tmp_path / "squeezed.mkv", frames=FRAMES, size=(width * 3 // 4, height), aspect=Fraction(4, 3),
        draw=lambda number: cv2.resize(pictures[number], (width * 3 // 4, height), interpolation=cv2.INTER_AREA),
    )  # fmt: skip
    merged_frames(square, tmp_path / "plain", person)
    report = merged_frames(squeezed, tmp_path / "wide", person)
    assert report.faces_kept >= FRAMES - 1
    frames = sorted((tmp_path / "wide" / "data_dst").glob("*.png"))
    assert [cv2.imread(str(path)).shape for path in frames] == [(height, width, 3)] * FRAMES
    assert not any(side % 2 for side in (width, height)), "H.264 wants even sides"
    wanted, got = (faces_fit_their_frames(tmp_path / name) for name in ("plain", "wide"))
    assert set(got) <= set(wanted)
    for name, points in got.items():
        face_px = np.ptp(wanted[name], axis=0).max()
        assert np.abs(points - wanted[name]).mean() < 0.03 * face_px
    assert any("pixels are not square (4:3)" in told for told in report.warnings)


def test_a_clip_that_changes_its_size_gives_the_merger_frames_of_one(
    pictures: list[NDArray[np.uint8]], person: tuple[Backend, Identity], tmp_path: Path
) -> None:
    width, height = CLIP_SIZE
    parts = []
    for number, size in enumerate([CLIP_SIZE, (width * 3 // 4, height)]):
        part = make_clip(
            tmp_path / f"{number}.ts", frames=FRAMES, size=size,
            draw=lambda n, size=size: pictures[n][:, (width - size[0]) // 2 :][:, : size[0]].copy(),
        )  # fmt: skip
        parts.append(part.read_bytes())
    (tmp_path / "call.ts").write_bytes(b"".join(parts))
    report = merged_frames(tmp_path / "call.ts", tmp_path / "call", person)
    frames = sorted((tmp_path / "call" / "data_dst").glob("*.png"))
    assert len(frames) >= 2 * FRAMES - 1
    assert {cv2.imread(str(path)).shape for path in frames} == {(height, width, 3)}
    assert {int(Path(name).stem) >= FRAMES for name in faces_fit_their_frames(tmp_path / "call")} == {False, True}
    assert any(f"to {width * 3 // 4}x{height} px at frame {FRAMES}" in told for told in report.warnings)


@pytest.mark.parametrize("shape", [(2048, 2), (4096, 16), (16, 4096), (2, 2)])
def test_a_video_of_extreme_shape_is_worked_through(
    shape: tuple[int, int], person: tuple[Backend, Identity], tmp_path: Path
) -> None:
    clip = make_clip(
        tmp_path / "strip.mkv", frames=3, size=shape, codec="ffv1", pix_fmt="yuv444p",
        draw=lambda number: np.full((shape[1], shape[0], 3), 60 * number, np.uint8),
    )  # fmt: skip
    report = merged_frames(clip, tmp_path / "out", person)
    assert (report.frames_decoded, report.faces_kept) == (3, 0)
    assert report.completed


@pytest.mark.parametrize("words", [[], ["--no-tonemap"]])
def test_whether_hdr_is_tone_mapped_stands_in_the_log(
    words: list[str], person: tuple[Backend, Identity], tmp_path: Path
) -> None:
    parser = argparse.ArgumentParser()
    add_extract_options(parser)
    settings = settings_from(parser.parse_args(words))
    clip = make_clip(
        tmp_path / "hdr.mkv", frames=2, codec="libx265", pix_fmt="yuv420p10le",
        colour={"color_trc": 16, "color_primaries": 9, "colorspace": 9},
        draw=lambda _number: np.full((64, 96, 3), 148, np.uint8),
    )  # fmt: skip
    report = merged_frames(clip, tmp_path / "out", person, settings)
    log = json.loads(report.log_path.read_text())
    assert log["settings"]["tone_map"] is (not words)
    assert any("without tone mapping" in told for told in log["warnings"]) is bool(words)
    frame = cv2.imread(str(tmp_path / "out" / "data_dst" / "00000000.png"))
    assert abs(float(frame.mean()) - (148 if words else 192)) < 3
