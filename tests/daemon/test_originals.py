"""Only what a job read is moved or deleted, each file as it was; nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.move_and_delete import know
from daemon.arrivals.settling import Kind
from daemon.jobs.originals import (
    REASON_ENDING,
    OriginalsResult,
    companion_paths,
    delete_unit,
    move_unit,
    put_back,
    write_reason,
)
from daemon.ledger.members import Member

OTHER = Path("/dev/shm")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox" / "sub").mkdir(parents=True)
    return tmp_path / "inbox"


@pytest.fixture(params=["one filesystem", "two filesystems"])
def done(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder for originals, beside the inbox or on another filesystem."""
    if request.param == "one filesystem":
        yield tmp_path / "done"
        return
    if not os.access(OTHER, os.W_OK) or OTHER.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second filesystem at /dev/shm")
    far = OTHER / f"dfld-test-{os.getpid()}-{tmp_path.name}"
    yield far
    shutil.rmtree(far, ignore_errors=True)


def clip(inbox: Path, name: str = "clip.mp4", content: bytes = b"video") -> Path:
    path = inbox / "sub" / name
    path.write_bytes(content)
    return path


def pictures(inbox: Path, count: int = 3) -> list[Member]:
    folder = inbox / "shoot"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.png").write_bytes(b"picture %d" % number)
    return [member(inbox, f"shoot/{number}.png") for number in range(count)]


def member(inbox: Path, path: str) -> Member:
    return Member(path.encode(), "footage", know(inbox / path))


def moved(inbox: Path, path: str, done: Path, *members: Member, kind: Kind = "video") -> Path:
    dealt = move_unit(inbox, path.encode(), kind, members or [member(inbox, path)], done)
    assert dealt.place is not None
    return dealt.place


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_keeps_its_place_below_the_inbox_and_never_overwrites_another(inbox: Path, done: Path) -> None:
    clip(inbox, content=b"first")
    first = moved(inbox, "sub/clip.mp4", done)
    clip(inbox, content=b"second")
    second = moved(inbox, "sub/clip.mp4", done)
    assert (first, second) == (done / "sub" / "clip.mp4", done / "sub" / "clip.2.mp4")
    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"second")


@pytest.mark.parametrize("what", ["move", "delete"])
def test_of_a_folder_only_the_files_that_were_read_go(inbox: Path, done: Path, what: str) -> None:
    members = pictures(inbox)
    shoot = inbox / "shoot"
    (shoot / "second day").mkdir()
    (shoot / "second day" / "take.mp4.part").write_bytes(b"half")
    (shoot / ".hidden").write_bytes(b"hidden")
    (shoot / "late.png").write_bytes(b"late")
    (shoot / ".link").symlink_to("/dev/zero")
    os.mkfifo(shoot / ".pipe")
    (shoot / "1.png").write_bytes(b"drawn over since")
    dealt = deal(inbox, done, what, members)
    assert dealt.done == 2
    assert [sentence.partition(" is not the file that was read")[0] for sentence in dealt.left] == [
        str(shoot / "1.png")
    ]
    assert below(shoot) == [".hidden", ".link", ".pipe", "1.png", "late.png", "second day", "second day/take.mp4.part"]
    if what == "move":
        assert below(done) == ["shoot", "shoot/0.png", "shoot/2.png"]


@pytest.mark.parametrize("what", ["move", "delete"])
def test_a_folder_of_which_nothing_is_left_goes_too(inbox: Path, done: Path, what: str) -> None:
    assert deal(inbox, done, what, pictures(inbox)) == OriginalsResult(done / "shoot" if what == "move" else None, 3)
    assert not (inbox / "shoot").exists()


def deal(inbox: Path, done: Path, what: str, members: list[Member]) -> OriginalsResult:
    if what == "move":
        return move_unit(inbox, b"shoot", "folder", members, done)
    return delete_unit(inbox, b"shoot", "folder", members)


def test_a_move_of_a_folder_that_was_broken_off_goes_on_into_the_same_folder(inbox: Path, done: Path) -> None:
    members, places = pictures(inbox), []

    def full(place: Path) -> None:
        places.append(place)
        (inbox / "shoot" / "1.png").rename(inbox / "1.png")  # so that the first try comes to two of three

    move_unit(inbox, b"shoot", "folder", members, done, on_start=full)
    (inbox / "shoot").mkdir(exist_ok=True)
    (inbox / "1.png").rename(inbox / "shoot" / "1.png")
    again = move_unit(inbox, b"shoot", "folder", members, done, started=places[0])
    assert again == OriginalsResult(done / "shoot", 3)
    assert below(done) == ["shoot", "shoot/0.png", "shoot/1.png", "shoot/2.png"]


def test_a_folder_that_became_a_link_is_left_alone(inbox: Path, done: Path, tmp_path: Path) -> None:
    members = pictures(inbox)
    (inbox / "shoot").rename(tmp_path / "private")
    (inbox / "shoot").symlink_to(tmp_path / "private")
    for what in ("move", "delete"):
        dealt = deal(inbox, done, what, members)
        assert (dealt.place, dealt.done, len(dealt.left)) == (None, 0, 1)
    assert len(below(tmp_path / "private")) == 3
    assert below(done) == []


def test_a_link_is_moved_as_a_link_and_deleted_as_a_link(inbox: Path, tmp_path: Path, done: Path) -> None:
    target = tmp_path / "film.mp4"
    target.write_bytes(b"film")
    (inbox / "sub" / "link.mp4").symlink_to("../../film.mp4")
    link = Member(b"sub/link.mp4", "footage", know(target))
    place = moved(inbox, "sub/link.mp4", done, link)
    assert place.is_symlink()
    assert place.read_bytes() == b"film"
    (inbox / "sub" / "link.mp4").symlink_to(target)
    assert delete_unit(inbox, b"sub/link.mp4", "video", [link]).done == 1
    assert target.exists()
    (inbox / "sub" / "link.mp4").symlink_to("/dev/zero")
    assert delete_unit(inbox, b"sub/link.mp4", "video", [link]).left
    assert (inbox / "sub" / "link.mp4").is_symlink(), "it leads elsewhere by now"


def test_companions_go_with_their_file_under_its_new_name_and_others_stay(inbox: Path, done: Path) -> None:
    for number in range(2):
        clip(inbox, content=b"%d" % number)
        clip(inbox, "clip.mp4.done", b"")
        sidecar = clip(inbox, "clip.mp4.dfld.toml", b"priority = 1\n")
        paths = [os.fsencode(one) for one in companion_paths("sub/clip.mp4", "video", ".done")]
        members = [Member(path, "companion", know(inbox / os.fsdecode(path))) for path in paths]
        if number:
            sidecar.write_bytes(b"another one\n")
        moved(inbox, "sub/clip.mp4", done, member(inbox, "sub/clip.mp4"), *members)
    names = ["clip.2.mp4", "clip.2.mp4.done", "clip.mp4", "clip.mp4.dfld.toml", "clip.mp4.done"]
    assert [path.name for path in sorted((done / "sub").iterdir())] == names
    assert [path.name for path in (inbox / "sub").iterdir()] == ["clip.mp4.dfld.toml"]


def test_a_companion_stays_where_its_file_stays(inbox: Path, done: Path) -> None:
    path = clip(inbox)
    clip(inbox, "clip.mp4.dfld.toml", b"priority = 1\n")
    members = [member(inbox, "sub/clip.mp4"), Member(b"sub/clip.mp4.dfld.toml", "companion", know(path))]
    path.write_bytes(b"another take")
    assert move_unit(inbox, b"sub/clip.mp4", "video", members, done).place is None
    assert delete_unit(inbox, b"sub/clip.mp4", "video", members).done == 0
    assert len(below(inbox / "sub")) == 2


def test_what_is_gone_already_is_no_failure(inbox: Path, done: Path) -> None:
    path = clip(inbox)
    members = [member(inbox, "sub/clip.mp4")]
    path.unlink()
    works: list[Callable[[], OriginalsResult]] = [
        lambda: move_unit(inbox, b"sub/clip.mp4", "video", members, done),
        lambda: delete_unit(inbox, b"sub/clip.mp4", "video", members),
    ]
    assert [work() for work in works] == [OriginalsResult(None, 0), OriginalsResult(None, 0)]


def test_a_reason_lies_beside_its_file_and_goes_when_the_file_is_put_back(inbox: Path, done: Path) -> None:
    clip(inbox)
    place = moved(inbox, "sub/clip.mp4", done)
    reason = write_reason(place, {"reason": "not_readable"})
    assert json.loads(reason.read_text()) == {"reason": "not_readable"}
    assert reason.name == f"clip.mp4{REASON_ENDING}"
    assert put_back(place, inbox / "sub" / "clip.mp4").read_bytes() == b"video"
    assert not reason.exists()


def test_a_folder_is_put_back_beside_what_stayed_of_it(inbox: Path, done: Path) -> None:
    members = pictures(inbox)
    (inbox / "shoot" / "late.png").write_bytes(b"late")
    place = moved(inbox, "shoot", done, *members, kind="folder")
    assert put_back(place, inbox / "shoot") == inbox / "shoot"
    assert below(inbox / "shoot") == ["0.png", "1.png", "2.png", "late.png"]
    assert not place.exists()
