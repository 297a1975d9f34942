"""A face that a person points at is followed through its shot, and written like any extraction."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from dfl.image import read_metadata
from engine.by_hand.shot import shot_of
from engine.errors import InputError
from engine.extract import extract
from engine.reasons import BY_HAND, NOT_VARIED
from engine.results.read_back import ReadBack
from engine.track_by_hand import Pointer, track_by_hand
from engine.types import ExtractReport, ExtractSettings, Image
from engine.workspace.file_names import Layout, output_layout
from tests.painted import ALICE, BOB, CAROL, PaintedBackend, frames, identity_of, picture

RATE = 25
RADIUS = 20
SETTINGS = ExtractSettings(output_size=64)


def at(x: float, y: float = 120) -> tuple[float, float, float, float]:
    return (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)


def write(folder: Path, pictures: Sequence[Image]) -> Path:
    folder.mkdir()
    for number, one in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number:08d}.png"), one)
    return folder


def two_shots() -> list[Image]:
    """Twenty frames of Alice beside Bob, ten of Bob alone against another wall."""
    first = [picture([(ALICE, 60 + 4 * n, 120, RADIUS), (BOB, 250, 120, RADIUS)]) for n in range(20)]
    return first + [picture([(BOB, 140, 120, RADIUS)], wall=7) for _ in range(10)]


def layout_in(root: Path) -> Layout:
    return replace(output_layout(root / "out"), prefix="clip-at-400-")


def tracked(
    source: Path, layout: Layout, pointer: Pointer, stop: threading.Event | None = None
) -> ExtractReport | None:
    return track_by_hand(
        source,
        layout,
        pointer=pointer,
        backend=PaintedBackend(),
        settings=SETTINGS,
        stop=stop or threading.Event(),
        on_progress=lambda _: None,
    )


def frames_in(layout: Layout) -> list[int]:
    return sorted(int(path.name.removeprefix(layout.prefix)[:8]) for path in layout.aligned.iterdir())


def test_a_face_is_followed_to_both_ends_of_its_shot_and_no_further(tmp_path: Path) -> None:
    source, layout = write(tmp_path / "clip", two_shots()), layout_in(tmp_path)
    report = tracked(source, layout, Pointer(at(100), 10 / RATE))
    assert report is not None
    assert report.completed
    assert frames_in(layout) == list(range(20))
    assert report.reasons == {BY_HAND: 20}
    assert report.faces_kept == 20
    for path in layout.aligned.iterdir():
        metadata = read_metadata(path.read_bytes())
        number = int(str(metadata.source_filename)[:8])
        assert metadata.source_rect is not None
        assert abs(metadata.source_rect[[0, 2]].mean() - (60 + 4 * number)) < 4
        assert (layout.masks / f"{path.stem}_mask.png").exists()
    log = json.loads(layout.log.read_bytes())
    assert {face["reason"] for face in log["faces"]} == {BY_HAND}
    assert log["identity"]["name"] == "the face at 0.4 s"
    clip = ReadBack(layout, None)
    assert {clip.check(name).finding for name in clip.names} == {"whole"}


def test_the_ends_may_be_set_nearer(tmp_path: Path) -> None:
    source, layout = write(tmp_path / "clip", two_shots()), layout_in(tmp_path)
    tracked(source, layout, Pointer(at(100), 10 / RATE, from_s=6 / RATE, until_s=14 / RATE))
    assert frames_in(layout) == list(range(6, 15))


def test_a_loose_box_means_the_face_in_it(tmp_path: Path) -> None:
    source, layout = write(tmp_path / "clip", two_shots()), layout_in(tmp_path)
    tracked(source, layout, Pointer((200, 40, 310, 220), 10 / RATE))
    assert frames_in(layout) == list(range(20))
    (first, *_) = sorted(layout.aligned.iterdir())
    rect = read_metadata(first.read_bytes()).source_rect
    assert rect is not None
    assert abs(rect[[0, 2]].mean() - 250) < 4


def test_where_people_cross_the_other_one_is_not_taken(tmp_path: Path) -> None:
    """Alice stands; Carol walks in front of her and Alice leaves behind her back: Carol is followed from there on."""
    pictures = [picture([(ALICE, 160, 120, RADIUS)]) for _ in range(30)]
    pictures += [picture([(CAROL, 160, 120, RADIUS)]) for _ in range(30)]
    source, layout = write(tmp_path / "clip", pictures), layout_in(tmp_path)
    tracked(source, layout, Pointer(at(160), 10 / RATE))
    found = frames_in(layout)
    assert found[0] == 0
    assert 24 <= found[-1] <= 35  # as near as the samples lie


def test_a_face_that_leaves_is_lost_and_the_report_says_so(tmp_path: Path) -> None:
    pictures = [picture([(ALICE, 160, 120, RADIUS)]) for _ in range(10)] + [picture([]) for _ in range(50)]
    source, layout = write(tmp_path / "clip", pictures), layout_in(tmp_path)
    report = tracked(source, layout, Pointer(at(160), 4 / RATE))
    assert report is not None
    assert frames_in(layout) == list(range(10))
    assert any("lost after frame 9" in one for one in report.warnings)


def test_after_a_gap_only_the_same_face_is_it_again(tmp_path: Path) -> None:
    pictures = [picture([(ALICE, 160, 120, RADIUS)]) for _ in range(10)] + [picture([]) for _ in range(6)]
    pictures += [picture([(CAROL, 160, 120, RADIUS)]) for _ in range(8)]
    pictures += [picture([(ALICE, 160, 120, RADIUS)]) for _ in range(10)]
    source, layout = write(tmp_path / "clip", pictures), layout_in(tmp_path)
    tracked(source, layout, Pointer(at(160), 4 / RATE))
    found = frames_in(layout)
    assert set(range(10)) | set(range(24, 34)) == set(found)


@pytest.mark.parametrize(
    ("box", "at_s", "says"),
    [(at(170, 40), 10 / RATE, "faces are seen there at"), (at(100), 99.0, "a time within it")],
)
def test_where_nothing_can_be_meant_the_frame_is_described_and_nothing_written(
    tmp_path: Path, box: tuple[float, float, float, float], at_s: float, says: str
) -> None:
    source, layout = write(tmp_path / "clip", two_shots()), layout_in(tmp_path)
    with pytest.raises(InputError) as refused:
        tracked(source, layout, Pointer(box, at_s))
    assert says in refused.value.hint
    assert not layout.root.exists()


def test_faces_that_an_extraction_wrote_already_are_not_written_twice(tmp_path: Path) -> None:
    source, layout = write(tmp_path / "clip", two_shots()), layout_in(tmp_path)
    stop = threading.Event()
    before = output_layout(layout.root)
    extract(source, before, identity=identity_of(ALICE), backend=PaintedBackend(), settings=SETTINGS, stop=stop)
    there = sorted(path.name for path in layout.aligned.iterdir())
    assert len(there) == 20
    taken = sorted(there)[5]
    (layout.aligned / taken).unlink()
    report = tracked(source, layout, Pointer(at(100), 10 / RATE))
    assert report is not None
    assert report.reasons == {BY_HAND: 1, NOT_VARIED: 19}
    own = [path.name for path in layout.aligned.iterdir() if path.name.startswith(layout.prefix)]
    assert own == [f"{layout.prefix}{taken}"]
    assert sorted(path.name for path in layout.aligned.iterdir() if path.name not in own) == sorted({*there} - {taken})
    assert len(list(layout.masks.glob(f"{layout.prefix}*"))) == 1


def test_a_run_that_was_stopped_writes_nothing(tmp_path: Path) -> None:
    source, layout = write(tmp_path / "clip", two_shots()), layout_in(tmp_path)
    stop = threading.Event()
    stop.set()
    assert tracked(source, layout, Pointer(at(100), 10 / RATE), stop) is None
    assert not layout.aligned.exists()


def test_the_same_face_is_written_the_same_way_twice(tmp_path: Path) -> None:
    source = write(tmp_path / "clip", two_shots())
    made = []
    for name in ("one", "two"):
        layout = replace(output_layout(tmp_path / name), prefix="clip-at-400-")
        tracked(source, layout, Pointer(at(100), 10 / RATE))
        made.append({path.name: path.read_bytes() for path in layout.aligned.iterdir()})
    assert made[0] == made[1]


def test_a_long_shot_is_kept_in_pieces() -> None:
    pictures = [picture([(ALICE, 160, 120, RADIUS)]) for _ in range(150)]
    shot = shot_of(iter(frames(pictures)), lambda decoded: decoded.index == 140)
    assert shot is not None
    assert [piece.first for piece in shot.pieces] == [0, 64, 128]
    assert [piece.after and piece.after.next_frame for piece in shot.pieces] == [None, 64, 128]
