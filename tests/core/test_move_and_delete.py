"""Files are moved and removed without a loss: by a kill at every step, by others' hands, by a full disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from core import files, move_and_delete
from core.files import numbered, rename_new
from core.move_and_delete import KnownFile, OtherFileError, know, move, move_link, put_back_asides, remove
from tests.core.steps import at_step, refuse, without

CONTENT = b"footage " * 2000
ROOT = Path(__file__).parents[2]
STEPS_MAX = 200


@pytest.fixture(params=["one filesystem", "two filesystems", "no renameat2", "no renameat2, no hard links"])
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """An inbox and a folder for originals, on each kind of filesystem that dfld meets."""
    kind = request.param
    lacking = [one for one in ("renameat2", "hard links") if f"no {one}" in kind]
    without(files, lacking, monkeypatch.setattr)
    if kind != "two filesystems":
        yield Places(tmp_path, lacking=lacking)
        return
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second filesystem at /dev/shm")
    far = other / f"dfld-test-{os.getpid()}-{tmp_path.name}"
    try:
        yield Places(tmp_path, far)
    finally:
        for path in sorted(far.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        far.rmdir()


class Places:
    def __init__(self, base: Path, far: Path | None = None, *, lacking: Sequence[str] = ()) -> None:
        self.lacking = lacking
        self.inbox, self.done = base / "inbox", (far or base) / "done"
        self.path, self.target = self.inbox / "clip.mp4", self.done / "clip.mp4"
        for folder in (self.inbox, self.done):
            folder.mkdir(parents=True)
        self.path.write_bytes(CONTENT)
        self.known = know(self.path)
        self.note = base / "note"
        """Of the name that a killed move was about to give the file."""

    def begun(self) -> Path | None:
        return Path(self.note.read_text()) if self.note.exists() else None

    def whole_copies(self, content: bytes = CONTENT) -> list[Path]:
        """Return every file, hidden ones too, that holds all of `content`."""
        return [one for folder in (self.inbox, self.done) for one in folder.iterdir() if one.read_bytes() == content]

    def names(self) -> list[str]:
        return sorted(one.name for folder in (self.inbox, self.done) for one in folder.iterdir())


Killer = subprocess.Popen[str]


@pytest.fixture(scope="module")
def killer() -> Iterator[subprocess.Popen[str]]:
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.core.kill_program"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        yield program
        assert program.stdin is not None
        program.stdin.close()


def killed_at(killer: Killer, step: int, places: Places, target: Path | None) -> bool:
    """Move or remove the file in a process that is killed before this step; say whether it got so far."""
    asked = {"step": step, "path": str(places.path), "known": asdict(places.known), "lacking": places.lacking}
    asked["note"] = str(places.note)
    places.note.unlink(missing_ok=True)
    assert killer.stdin is not None
    assert killer.stdout is not None
    killer.stdin.write(json.dumps({**asked, "target": target and str(target)}) + "\n")
    killer.stdin.flush()
    return bool(json.loads(killer.stdout.readline()))


def test_a_kill_at_every_step_of_a_move_loses_nothing_and_the_next_try_ends_it(places: Places, killer: Killer) -> None:
    for step in range(1, STEPS_MAX):
        killed = killed_at(killer, step, places, places.target)
        assert places.whole_copies(), f"killed before step {step}: the file is nowhere"
        place = move(places.path, places.target, places.known, begun=places.begun())
        assert place.read_bytes() == CONTENT
        assert list(places.inbox.iterdir()) == []
        left = [one for one in places.done.iterdir() if one.stat().st_size]  # empty: where there are no hard links
        assert [one.read_bytes() for one in left] == [CONTENT], f"step {step}: {places.names()}"
        assert not left[0].name.startswith(".")
        if not killed:
            return
        for one in places.done.iterdir():
            one.unlink()
        places.path.write_bytes(CONTENT)
        places.known = know(places.path)
    raise AssertionError("the move never ended by itself")


def test_a_kill_at_every_step_of_a_removal_leaves_the_file_whole_or_gone(places: Places, killer: Killer) -> None:
    for step in range(1, STEPS_MAX):
        killed = killed_at(killer, step, places, None)
        with suppress(FileNotFoundError):
            remove(places.path, places.known)
        assert places.names() == []
        if not killed:
            return
        places.path.write_bytes(CONTENT)
        places.known = know(places.path)
    raise AssertionError("the removal never ended by itself")


@pytest.mark.parametrize("how", ["replaced", "rewritten", "grown", "renamed away"])
@pytest.mark.parametrize("work", ["move", "remove"])
def test_a_file_that_is_swapped_at_any_step_stays(places: Places, how: str, work: str) -> None:
    """Whatever a stranger does between two steps, nothing that was not read is removed or filed."""
    other = b"another take " * 1500

    def swap() -> None:
        with suppress(FileNotFoundError):
            if how == "replaced":
                fresh = places.inbox / ".fresh"
                fresh.write_bytes(other)
                fresh.rename(places.path)
            elif how == "rewritten":
                places.path.read_bytes()  # it is there still
                places.path.write_bytes(other)
            elif how == "grown":
                places.path.read_bytes()
                with places.path.open("ab") as file:
                    file.write(other)
            else:
                places.path.rename(places.inbox / "elsewhere.mp4")

    swapped = CONTENT + other if how == "grown" else CONTENT if how == "renamed away" else other
    for step in range(1, STEPS_MAX):
        was_there = swap_at(step, places, swap, move_it if work == "move" else remove_it)
        if was_there is None:
            return
        if was_there or how == "replaced":
            holders = places.whole_copies(swapped)
            assert holders, f"step {step}: what came under the name is lost: {places.names()}"
            if how != "renamed away":
                assert not any(one.parent == places.done for one in holders), f"step {step}: filed, and never read"
                assert not any(one.name.startswith(".") for one in holders), f"step {step}: hidden"
        for folder in (places.inbox, places.done):
            for one in folder.iterdir():
                one.unlink()
        places.path.write_bytes(CONTENT)
        places.known = know(places.path)
    raise AssertionError("the work never ended by itself")


def move_it(places: Places) -> None:
    move(places.path, places.target, places.known)


def remove_it(places: Places) -> None:
    remove(places.path, places.known)


def swap_at(step: int, places: Places, swap: Callable[[], None], work: Callable[[Places], None]) -> bool | None:
    """Swap before this step; return whether the file still had its name then, None when the work ended before."""
    happened: list[bool] = []

    def act() -> None:
        undo()
        happened.append(places.path.exists())
        swap()

    undo = at_step(step, act)
    try:
        with suppress(OtherFileError, FileNotFoundError):
            work(places)
    finally:
        undo()
    return happened[0] if happened else None


def test_another_file_under_the_name_stays(places: Places) -> None:
    original = places.known
    for change in ("inode", "content", "size", "link", "folder", "pipe"):
        places.path.unlink()
        known = places.known
        if change == "inode":
            places.path.write_bytes(CONTENT)
            os.utime(places.path, ns=(known.mtime_ns, known.mtime_ns))
            known = KnownFile(known.inode + 1, known.size_bytes, known.mtime_ns, known.sha256)
        elif change == "content":
            places.path.write_bytes(CONTENT[::-1])
            known = know(places.path)
            known = KnownFile(known.inode, known.size_bytes, known.mtime_ns, hashlib.sha256(CONTENT).hexdigest())
        elif change == "size":
            places.path.write_bytes(CONTENT + b"!")
        elif change == "link":
            (places.inbox / "film.mp4").write_bytes(CONTENT)
            places.path.symlink_to(places.inbox / "film.mp4")
            known = know(places.inbox / "film.mp4")
        elif change == "folder":
            places.path.mkdir()
        else:
            os.mkfifo(places.path)
        places.known = known
        for work in (move_it, remove_it):
            with pytest.raises(OtherFileError, match="left alone"):
                work(places)
        assert os.path.lexists(places.path)
        assert list(places.done.iterdir()) == []
        if change == "folder":
            places.path.rmdir()
            places.path.touch()
        (places.inbox / "film.mp4").unlink(missing_ok=True)
        places.known = original


def test_two_files_of_one_name_get_two_names_and_neither_replaces_the_other(places: Places) -> None:
    (places.done / "clip.mp4").write_bytes(b"somebody's")
    assert move(places.path, places.target, places.known) == places.done / "clip.2.mp4"
    assert (places.done / "clip.mp4").read_bytes() == b"somebody's"
    assert (places.done / "clip.2.mp4").read_bytes() == CONTENT
    assert places.names() == ["clip.2.mp4", "clip.mp4"]


def test_what_this_process_has_set_aside_is_not_put_back_under_its_hands(places: Places) -> None:
    aside = move_and_delete._rename_aside(places.path, places.known, descriptor := os.open(places.path, os.O_RDONLY))
    os.close(descriptor)
    assert put_back_asides(places.inbox) == []
    assert aside.exists()


def test_two_equal_files_become_two_and_a_source_that_changes_takes_neither_along(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(places.path, ns=(1, 10**18))
    first = move(places.path, places.target, know(places.path))
    second = tmp_path / "clip.mp4"
    second.write_bytes(CONTENT)
    os.utime(second, ns=(1, 10**18))

    def grow(call: Callable[..., None]) -> Callable[..., None]:
        def growing(path: Path, target: Path) -> None:
            call(path, target)
            if target.parent == places.done:
                with (
                    target.open("ab") if target.stat().st_dev == second.parent.stat().st_dev else second.open("ab") as f
                ):
                    f.write(b"grows")

        return growing

    with monkeypatch.context() as patched:
        patched.setattr(move_and_delete, "rename_new", grow(rename_new))
        with suppress(OtherFileError):
            move(second, places.target, know(second))
    assert first.read_bytes() == CONTENT
    second.write_bytes(CONTENT)
    os.utime(second, ns=(1, 10**18))
    again = move(second, places.target, know(second))
    assert again != first
    assert (first.read_bytes(), again.read_bytes()) == (CONTENT, CONTENT)


def test_what_a_caller_raises_while_bytes_are_read_leaves_the_file_where_it_was(places: Places) -> None:
    def stop() -> None:
        raise InterruptedError

    for work in (
        lambda: move(places.path, places.target, places.known, on_chunk=stop),
        lambda: remove(places.path, places.known, on_chunk=stop),
    ):
        with pytest.raises(InterruptedError):
            work()
        assert places.names() == ["clip.mp4"]


@pytest.mark.parametrize("places", ["two filesystems"], indirect=True)
def test_attributes_of_users_go_to_another_filesystem_where_it_can_hold_them(places: Places) -> None:
    try:
        for path in (places.path, places.done):
            os.setxattr(path, "user.source", b"camera 2")
    except OSError as problem:
        pytest.skip(f"no extended attributes here: {problem.strerror}")
    assert os.getxattr(move(places.path, places.target, places.known), "user.source") == b"camera 2"


def test_mode_and_time_go_with_the_file(places: Places) -> None:
    places.path.chmod(0o604)
    os.utime(places.path, ns=(1, 1_600_000_000_123_456_789))
    target = move(places.path, places.target, know(places.path))
    assert target.stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert target.stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("places", ["two filesystems"], indirect=True)
def test_a_full_target_leaves_the_original_and_no_half(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in ("write", "fsync"):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, refuse(errno.ENOSPC))
            with pytest.raises(OSError, match="No space"):
                move(places.path, places.target, places.known)
        assert places.names() == ["clip.mp4"]
        assert places.path.read_bytes() == CONTENT


@pytest.mark.parametrize("places", ["two filesystems"], indirect=True)
def test_a_copy_that_reads_back_as_something_else_is_not_kept(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, chunk: real(descriptor, bytes(chunk)[::-1]))
    with pytest.raises(OSError, match="reads back as something else"):
        move(places.path, places.target, places.known)
    assert places.names() == ["clip.mp4"]


def test_what_a_kill_left_aside_comes_back_under_its_name_before_anything_else(places: Places, killer: Killer) -> None:
    for step in range(1, STEPS_MAX):  # up to the first kill after the rename
        assert killed_at(killer, step, places, None)
        if not places.path.exists():
            break
    (aside,) = places.inbox.iterdir()
    assert aside.suffix == ".original"
    assert put_back_asides(places.inbox, "other.mp4") == []
    assert put_back_asides(places.inbox) == [places.path], "a whole folder's, without knowing whose they are"
    places.path.rename(aside)
    assert put_back_asides(places.inbox, places.path.name) == [places.path]
    places.path.rename(aside)
    assert move(places.path, places.target, places.known).read_bytes() == CONTENT
    assert places.names() == ["clip.mp4"]


def test_a_rename_takes_no_name_that_is_taken(places: Places) -> None:
    (places.inbox / "taken").write_bytes(b"taken")
    with pytest.raises(FileExistsError):
        rename_new(places.path, places.inbox / "taken")
    assert (places.inbox / "taken").read_bytes() == b"taken"
    assert places.path.read_bytes() == CONTENT


def test_a_file_of_unknown_content_is_known_by_the_rest(places: Places) -> None:
    known = KnownFile(places.known.inode, places.known.size_bytes, places.known.mtime_ns, "")
    assert move(places.path, places.target, known).read_bytes() == CONTENT


def test_numbered_names_stay_within_the_limit_of_a_file_name() -> None:
    names = numbered(Path("/x") / ("ä" * 125 + ".mp4"))
    first, second = next(names), next(names)
    assert first.name != second.name
    assert len(os.fsencode(second.name)) <= 255
    assert second.name.endswith(".2.mp4")


def test_a_moved_link_is_on_the_disk_before_the_old_one_goes(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    (places.inbox / "film.mp4").write_bytes(CONTENT)
    places.path.unlink()
    places.path.symlink_to("film.mp4")
    steps: list[str] = []
    real_fsync, real_unlink = os.fsync, os.unlink

    def fsync(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        real_fsync(descriptor)

    def unlink(path: Path) -> None:
        steps.append(f"unlink {path}")
        real_unlink(path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "unlink", unlink)
    (places.done / "clip.mp4").write_bytes(b"somebody's")
    reported: list[Path] = []
    place = move_link(places.path, places.target, on_place=reported.append)
    assert [place] == reported == [places.done / "clip.2.mp4"]
    assert place.is_symlink()
    assert place.read_bytes() == CONTENT
    assert steps == [f"sync {places.done}", f"unlink {places.path}", f"sync {places.inbox}"]
    assert not os.path.lexists(places.path)


def test_what_replaces_a_link_while_it_is_moved_stays(places: Places) -> None:
    (places.inbox / "film.mp4").write_bytes(CONTENT)
    places.path.unlink()
    places.path.symlink_to("film.mp4")

    def swap(_: Path) -> None:
        places.path.rename(places.inbox / "old")
        places.path.write_bytes(b"somebody's")

    place = move_link(places.path, places.target, on_place=swap)
    assert place.read_bytes() == CONTENT
    assert places.path.read_bytes() == b"somebody's"
