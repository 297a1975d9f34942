"""The files of one clip, and only those."""

from __future__ import annotations

from pathlib import Path

from daemon.worker.outputs import clip_files
from engine.workspace.file_names import inbox_layout
from engine.workspace.output_files import prepare_workspace

OWN = (
    "aligned/take-00000001_0.jpg",
    "aligned/take-00000001_1.png",
    "aligned/.take-00000002_0.jpg.part",
    "review/take-00000003_0.jpg",
    "masks/take-00000001_0_mask.png",
    "debug/take-extraction_log.json",
    "debug/take-preview.jpg",
    "debug/take-manifest.jsonl",
)
OTHERS = (
    "aligned/take-2-00000001_0.jpg",
    "aligned/mistake-00000001_0.jpg",
    "aligned/take-notes from me.txt",
    "aligned/00000001_0.jpg",
    "debug/take-2-extraction_log.json",
)


def test_a_clip_with_a_longer_name_is_left_alone(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "take")
    prepare_workspace(layout)
    for name in (*OWN, *OTHERS):
        (tmp_path / "data_src" / name).write_bytes(b"x")
    assert {str(path.relative_to(tmp_path / "data_src")) for path in clip_files(layout)} == set(OWN)


def test_whole_frames_belong_to_the_clip_of_a_dst_workspace(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "dst", "take")
    prepare_workspace(layout)
    for name in ("00000000.png", "00000001.jpg", ".00000002.png.part", "mine.png"):
        (tmp_path / "data_dst" / name).write_bytes(b"x")
    assert sorted(path.name for path in clip_files(layout)) == [".00000002.png.part", "00000000.png", "00000001.jpg"]
