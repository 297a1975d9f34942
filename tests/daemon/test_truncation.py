"""Does a file promise more than is there?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.inboxes.truncation import missing_bytes


def missing_of(path: Path) -> int | None:
    with path.open("rb") as file:
        return missing_bytes(file)


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
def test_a_whole_mp4_lacks_nothing_and_a_cut_one_lacks_what_was_cut_or_its_index(
    tmp_path: Path, make_clip: Callable[..., Path], options: dict[str, str]
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=30, container_options=options)
    content = clip.read_bytes()
    assert missing_of(clip) == 0
    for length in (20, len(content) // 2, len(content) - 1):
        clip.write_bytes(content[:length])
        assert missing_of(clip) != 0, length


def test_of_other_containers_only_the_kind_is_known(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    assert missing_of(make_clip(tmp_path / "clip.mkv", frames=5)) is None
    assert missing_of(make_clip(tmp_path / "clip.avi", frames=5, codec="mpeg4")) is None


def test_a_head_of_zeros_may_be_a_download_that_has_not_begun(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(100_000))
    assert missing_of(tmp_path / "zeros") is None


def test_what_is_no_container_at_all_will_not_become_one(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_bytes(b"dear diary" * 1000)
    assert missing_of(tmp_path / "notes.mp4") == 0


def test_lengths_that_make_no_sense_are_not_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\0\0\x04mdat" + bytes(1000))
    assert missing_of(tmp_path / "odd") == 0
    (tmp_path / "many").write_bytes(b"\0\0\0\x08free" * 20_000)
    assert missing_of(tmp_path / "many") is None
