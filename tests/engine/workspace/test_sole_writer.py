"""Two extractions never write into one folder at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import OutputError
from engine.workspace.file_names import output_layout
from engine.workspace.sole_writer import sole_writer


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    with sole_writer(layout):
        with pytest.raises(OutputError, match="another dfld writes"), sole_writer(layout):
            pass
        (layout.debug / "extraction_log.json").write_text("{}")
    with sole_writer(layout):
        pass
    assert [path.name for path in layout.debug.iterdir()] == ["extraction_log.json"]


def test_what_was_made_for_the_lock_alone_goes_again(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for root in (tmp_path / "mine", tmp_path / "new"):
        with sole_writer(output_layout(root)):
            pass
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_lock_left_by_a_killed_run_holds_nobody_up(tmp_path: Path) -> None:
    layout = output_layout(tmp_path)
    layout.debug.mkdir()
    (layout.debug / ".dfld.lock").touch()
    with sole_writer(layout):
        pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    layout = output_layout(tmp_path)
    layout.debug.mkdir()
    (layout.debug / ".dfld.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError), sole_writer(layout):
        pass
    assert not (tmp_path / "elsewhere").exists()
