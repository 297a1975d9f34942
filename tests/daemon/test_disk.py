"""The disk reserve: hysteresis, and closed when in doubt."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from daemon.config.schema import DiskConfig
from daemon.jobs.disk import DiskGuard, Space, ask_space, has_room, reserve_of

GIB = 2**30
SETTINGS = DiskConfig(reserve_bytes=10 * GIB, reserve_percent=5.0, resume_margin_bytes=2 * GIB)


def space(free_gib: float, total_gib: float = 100) -> Space:
    return Space(1, int(free_gib * GIB), int(total_gib * GIB))


@pytest.mark.parametrize(
    ("free_gib", "had_room", "expected"),
    [(11, True, True), (10, True, True), (9.9, True, False), (11, False, False), (12, False, True)],
)
def test_work_pauses_below_the_reserve_and_goes_on_a_margin_above_it(
    free_gib: float, had_room: bool, expected: bool
) -> None:
    assert has_room(space(free_gib), SETTINGS, had_room=had_room) is expected


def test_the_larger_of_both_reserves_counts() -> None:
    assert reserve_of(space(1, total_gib=100), SETTINGS) == 10 * GIB
    assert reserve_of(space(1, total_gib=1000), SETTINGS) == 50 * GIB


def test_a_filesystem_that_does_not_answer_counts_as_full(tmp_path: Path) -> None:
    def broken(_path: Path) -> Space:
        raise OSError(errno.EIO, "input/output error")

    room = DiskGuard(SETTINGS, broken).room(tmp_path)
    assert not room.ok
    assert "does not answer" in room.why_not


def test_a_reserve_larger_than_the_filesystem_says_so(tmp_path: Path) -> None:
    room = DiskGuard(SETTINGS, lambda _path: space(3, total_gib=4)).room(tmp_path)
    assert "more than the filesystem has (4.0 GiB); lower [disk] reserve" in room.why_not


def test_a_workspace_that_is_not_made_yet_is_asked_at_its_nearest_parent(tmp_path: Path) -> None:
    assert ask_space(tmp_path / "not" / "there").device == tmp_path.stat().st_dev
