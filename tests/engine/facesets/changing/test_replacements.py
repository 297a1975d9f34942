"""Wherever a kill comes, the files of a group are all old or all new once somebody holds the faceset again."""

from __future__ import annotations

import hashlib
import stat
from itertools import count
from pathlib import Path

import pytest

from core import files
from engine.errors import OutputError
from engine.facesets.changing import replacements
from engine.facesets.changing.replacements import Group, NewFile, recover, replace_files
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import FacesetFolder
from tests.faceset_rig import MASK, contents, make_faceset

NAMES = ("a.jpg", "b.jpg", "c.jpg")
OLD = {name: f"old {name}".encode() for name in NAMES}
RECORD = "debug/manifest.jsonl"


class _KilledError(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def faceset(root: Path) -> FacesetFolder:
    folder = make_faceset(root, OLD)
    (folder.parent / "debug").mkdir()
    (folder.parent / RECORD).write_bytes(b'{"a":1}\n{"cut')
    return folder


def new_file(path: Path, content: bytes) -> NewFile:
    return NewFile(path, content, hashlib.sha256(path.read_bytes()).hexdigest())


def groups_of(folder: FacesetFolder) -> list[Group]:
    return [
        Group(
            (
                new_file(folder.aligned / name, f"new {name}".encode()),
                new_file(folder.mask_of(name), f"new mask of {name}".encode()),
            ),
            {folder.parent / RECORD: f'{{"face":"{name}"}}\n'.encode()},
        )
        for name in NAMES
    ]


def is_new(folder: FacesetFolder, name: str) -> set[bool]:
    face, mask = (folder.aligned / name).read_bytes(), folder.mask_of(name).read_bytes()
    assert face in (OLD[name], f"new {name}".encode())
    assert mask in (MASK + name.encode(), f"new mask of {name}".encode())
    return {face != OLD[name], not mask.startswith(MASK)}


def test_files_are_replaced_with_their_modes_and_records(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    (folder.aligned / "a.jpg").chmod(0o640)
    assert replace_files(folder, groups_of(folder)) == (True, True, True)
    assert all(is_new(folder, name) == {True} for name in NAMES)
    assert stat.S_IMODE((folder.aligned / "a.jpg").stat().st_mode) == 0o640
    record = (folder.parent / RECORD).read_bytes()
    assert record == b'{"a":1}\n{"cut\n{"face":"a.jpg"}\n{"face":"b.jpg"}\n{"face":"c.jpg"}\n'
    assert not (folder.state / replacements.FOLDER).exists()


def test_a_kill_at_any_step_leaves_each_group_old_or_new(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps: every sync and every rename."""
    ended_new = set()
    for step in count():
        folder = faceset(quick_folder / str(step))
        left = iter(range(step))

        def or_killed(work: object, left: object = left) -> object:
            def call(*given: object) -> object:
                if next(left, None) is None:  # type: ignore[call-overload]
                    raise _KilledError
                return work(*given)  # type: ignore[operator]

            return call

        with monkeypatch.context() as patch:
            patch.setattr(files, "rename_over", or_killed(files.rename_over))
            patch.setattr(files, "_sync", or_killed(files._sync))
            try:
                replace_files(folder, groups_of(folder))
                ended = True
            except _KilledError:
                ended = False
        with sole_user(folder):
            states = [is_new(folder, name) for name in NAMES]
        assert all(len(one) == 1 for one in states)
        assert len({one.copy().pop() for one in states}) == 1
        ended_new.add(states[0].pop())
        lines = (folder.parent / RECORD).read_bytes().split(b"\n")
        assert all((f'{{"face":"{name}"}}'.encode() in lines) == is_new(folder, name).pop() for name in NAMES)
        assert not (folder.state / replacements.FOLDER).exists()
        if ended:
            break
    assert ended_new == {False, True}


def test_a_file_that_somebody_changed_meanwhile_keeps_its_group_as_it_is(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    groups = groups_of(folder)
    folder.mask_of("b.jpg").write_bytes(b"painted")
    assert replace_files(folder, groups) == (True, False, True)
    assert (folder.aligned / "b.jpg").read_bytes() == OLD["b.jpg"]
    assert folder.mask_of("b.jpg").read_bytes() == b"painted"
    assert b'"b.jpg"' not in (folder.parent / RECORD).read_bytes()


def test_a_file_that_has_gone_is_not_made_again(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    groups = groups_of(folder)[:1]
    (folder.aligned / "a.jpg").rename(tmp_path / "away.jpg")
    with pytest.raises(OutputError):
        replace_files(folder, groups)
    before = contents(folder.parent)
    with sole_user(folder):
        assert contents(folder.parent) == before
    assert not (folder.aligned / "a.jpg").exists()


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "{}",
        '[{"files":[],"records":{"../x":""}}]',
        '[{"files":[{"path":"/etc/x","new":"1"}],"records":{}}]',
        "[1]",
    ],
)
def test_a_journal_that_dfld_did_not_write_is_refused(tmp_path: Path, text: str) -> None:
    folder = faceset(tmp_path)
    staging = folder.state / replacements.FOLDER
    staging.mkdir(parents=True)
    (staging / replacements.JOURNAL).write_text(text)
    with pytest.raises(OutputError, match="makes no sense"):
        recover(folder)
    assert contents(folder.aligned) == OLD


def test_new_files_and_their_journal_are_for_their_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = faceset(tmp_path)
    seen: dict[str, int] = {}

    def look(*_: object) -> tuple[bool, ...]:
        staging = folder.state / replacements.FOLDER
        seen.update({path.name: stat.S_IMODE(path.stat().st_mode) for path in (staging, *staging.iterdir())})
        return ()

    monkeypatch.setattr(replacements, "_finish", look)
    replace_files(folder, groups_of(folder))
    assert seen[replacements.FOLDER] == 0o700
    assert seen[replacements.JOURNAL] == 0o600
