"""Opening what has a name from outside: only regular files, within their folders, and nothing waits."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from core.opening import RefusedFileError, chunks_of, open_regular, path_of, read_regular
from tests.file_modes import file_modes_count


def test_a_regular_file_is_read_whole_and_in_pieces(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"x" * (9 << 20))
    assert read_regular(file, within=[tmp_path], max_bytes=9 << 20) == file.read_bytes()
    with open_regular(file, within=None) as opened:
        assert [len(chunk) for chunk in chunks_of(opened, file)] == [4 << 20, 4 << 20, 1 << 20]


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device", "endless device"])
@pytest.mark.parametrize("follow_links", [False, True])
def test_what_is_no_regular_file_is_named_and_never_opened(tmp_path: Path, kind: str, follow_links: bool) -> None:
    path = tmp_path / "x"
    server = socket.socket(socket.AF_UNIX)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        server.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/null" if kind == "device" else "/dev/zero")
    with pytest.raises(RefusedFileError, match=f"a {kind.rpartition(' ')[2]}"):
        open_regular(path, within=None, follow_links=follow_links)
    server.close()


def test_a_pipe_that_was_refused_had_no_reader(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = threading.Event()

    def write() -> None:
        os.close(os.open(pipe, os.O_WRONLY))  # waits for a reader
        read.set()

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(RefusedFileError):
        open_regular(pipe, within=None)
    assert not read.is_set()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # open until the writer has met it
    writer.join()
    os.close(reader)


def test_a_link_is_followed_only_on_request_and_only_to_where_files_may_lie(tmp_path: Path) -> None:
    inbox, shelf, secrets = (tmp_path / name for name in ("inbox", "shelf", "secrets"))
    for folder in (inbox, shelf, secrets):
        folder.mkdir()
        (folder / "clip.mp4").write_bytes(folder.name.encode())
    (inbox / "good.mp4").symlink_to(shelf / "clip.mp4")
    (inbox / "bad.mp4").symlink_to(secrets / "clip.mp4")
    (inbox / "folder").symlink_to(secrets)
    roots = [inbox, shelf]
    assert read_regular(inbox / "good.mp4", within=roots, follow_links=True, max_bytes=99) == b"shelf"
    with pytest.raises(RefusedFileError, match="link"):
        open_regular(inbox / "good.mp4", within=roots)
    with pytest.raises(RefusedFileError, match="outside the folders"):
        open_regular(inbox / "bad.mp4", within=roots, follow_links=True)
    with pytest.raises(RefusedFileError, match="outside the folders"):
        open_regular(inbox / "folder" / "clip.mp4", within=roots)
    with pytest.raises(RefusedFileError, match="may not be read here"):
        open_regular(inbox / "good.mp4", within=[tmp_path], outside=[shelf], follow_links=True)


def test_a_folder_that_is_itself_reached_by_a_link_counts_as_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"a")
    (tmp_path / "inbox").symlink_to(tmp_path / "real")
    assert read_regular(tmp_path / "inbox" / "a", within=[tmp_path / "inbox"], max_bytes=1) == b"a"


def test_more_bytes_than_allowed_are_refused_before_and_while_reading(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"12345")
    with pytest.raises(RefusedFileError, match="has 5 bytes, at most 4"):
        open_regular(file, within=None, max_bytes=4)
    with open_regular(file, within=None, max_bytes=5) as opened:
        with file.open("ab") as more:
            more.write(b"6")
        with pytest.raises(RefusedFileError, match="more than 5"):
            list(chunks_of(opened, file, max_bytes=5))
    assert read_regular(Path("/proc/self/status"), within=None, max_bytes=1 << 20).startswith(b"Name:")


def test_swapping_the_name_for_anything_else_at_any_moment_gives_the_file_or_a_refusal(tmp_path: Path) -> None:
    """A thread swaps the name between a file, a pipe, and a link to a secret, while it is opened again and again."""
    (tmp_path / "in").mkdir()
    name, secret = tmp_path / "in" / "clip", tmp_path / "secret"
    secret.write_bytes(b"secret")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for make in (lambda p: p.write_bytes(b"footage"), os.mkfifo, lambda p: p.symlink_to(secret)):
                other = tmp_path / "next"
                make(other)
                other.replace(name)

    name.write_bytes(b"footage")
    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for turn in range(4000):
            try:
                found = read_regular(name, within=[tmp_path / "in"], follow_links=bool(turn % 2), max_bytes=99)
                seen.add(found)
            except (RefusedFileError, FileNotFoundError) as problem:
                seen.add(type(problem).__name__.encode())
    finally:
        stop.set()
        thread.join()
    assert b"footage" in seen
    assert b"RefusedFileError" in seen
    assert b"secret" not in seen


def test_a_library_opens_the_same_file_by_its_descriptor_after_the_name_was_swapped(tmp_path: Path) -> None:
    name = tmp_path / "clip"
    name.write_bytes(b"footage")
    with open_regular(name, within=[tmp_path]) as opened:
        name.unlink()
        os.mkfifo(name)
        assert Path(path_of(opened)).read_bytes() == b"footage"


def test_a_file_under_another_programs_lease_is_not_waited_for(tmp_path: Path) -> None:
    """A file server keeps such a lease for its clients; the kernel would have the opener wait for 45 s."""
    name = tmp_path / "clip"
    name.write_bytes(b"footage")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    holder = os.open(name, os.O_RDWR)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(BlockingIOError):
            open_regular(name, within=None)
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        open_regular(name, within=None).close()
    except PermissionError:
        pytest.skip("this filesystem knows no leases")
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)


def test_a_file_that_may_not_be_read_is_named_as_the_caller_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_bytes(b"secret")
    path.chmod(0)
    with file_modes_count(), pytest.raises(PermissionError) as caught:
        read_regular(path, within=None, max_bytes=10)
    assert caught.value.filename == str(path)


def test_a_file_whose_bytes_cannot_be_had_is_named_as_the_caller_knows_it(tmp_path: Path) -> None:
    own_memory = Path("/proc/self/mem")  # nothing lies at address 0
    with own_memory.open("rb", buffering=0) as file, pytest.raises(OSError, match="error") as caught:
        next(chunks_of(file, tmp_path / "film.mp4"))  # type: ignore[arg-type]
    assert caught.value.filename == str(tmp_path / "film.mp4")
