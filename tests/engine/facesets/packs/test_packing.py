"""A faceset.pak and the loose faces hold the same bytes, whichever way they went and wherever a kill came."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import files
from daemon.cli import main
from dfl.faceset import describe_image, pack_faceset, read_faceset, write_header
from engine.errors import FacesetError, PackedFacesetError
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.packs import packing
from engine.facesets.packs.packing import pack_faces, unpack_faces
from tests.faceset_rig import contents, face_jpeg, make_faceset

MUTANTS = int(os.environ.get("DFLD_PACK_MUTANTS", "60"))
FACES = {f"{number:08d}_0.jpg": face_jpeg(number) for number in range(5)}
PACK = pack_faceset(FACES.items())


class _KilledError(BaseException):
    """Stands for SIGKILL: nothing runs behind it."""


@given(numbers=st.sets(st.integers(0, 50), min_size=1, max_size=8))
@settings(max_examples=15)
def test_packing_and_unpacking_gives_the_same_folder(memory_folder: Path, numbers: set[int]) -> None:
    with TemporaryDirectory(dir=memory_folder) as root:
        folder = make_faceset(Path(root), {f"f{number}.jpg": face_jpeg(number) for number in numbers})
        (folder.aligned / "broken.jpg").write_bytes(b"no face")
        (folder.aligned / "notes.txt").write_text("notes")
        before = contents(folder.parent)
        packed = pack_faces(folder, keep=False)
        assert (packed.faces, [one.name for one in packed.left]) == (len(numbers), ["broken.jpg"])
        assert {path.name for path in folder.aligned.iterdir()} == {"faceset.pak", "broken.jpg", "notes.txt"}
        assert packed.pack_bytes <= packed.face_bytes + 2500 * packed.faces
        unpack_faces(folder, keep=False)
        assert contents(folder.parent) == before


def test_a_pack_of_deepfacelabs_own_unpacks_to_the_files_that_it_was_made_of(shared: Path, quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, {})
    shutil.copyfile(shared / "golden" / "faceset.pak", folder.pack)
    done = unpack_faces(folder, keep=True)
    names = {path.name for path in folder.aligned.iterdir()} - {"faceset.pak"}
    assert (done.faces, len(names)) == (5, 5)
    for name in names:
        assert (folder.aligned / name).read_bytes() == (shared / "golden" / "dflimg" / name).read_bytes()
    folder.pack.unlink()
    packed = pack_faces(folder, keep=True)
    masks = sum(len(image.metadata.xseg_mask or b"") for image in read_faceset(folder.pack.read_bytes()))
    assert packed.pack_bytes <= packed.face_bytes + 2500 * packed.faces + masks


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("is_packing", [False, True])
def test_a_kill_at_every_step_loses_no_face_and_doing_it_again_ends_the_same(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch, is_packing: bool, keep: bool
) -> None:
    work = pack_faces if is_packing else unpack_faces
    for step in count():
        folder = make_faceset(quick_folder / str(step), FACES if is_packing else {}, masks=False)
        if not is_packing:
            folder.pack.write_bytes(PACK)
        was_killed = _killed_at(step, monkeypatch, lambda folder=folder: work(folder, keep=keep))  # type: ignore[misc]
        loose = {path.name: path.read_bytes() for path in folder.aligned.glob("*.jpg")}
        packed = folder.pack.read_bytes() if folder.pack.exists() else b""
        assert packed in (b"", PACK)
        assert packed or loose == FACES
        if was_killed:
            try:
                work(folder, keep=keep)
            except FacesetError:  # it had just ended
                assert not is_packing
                assert loose == FACES
        found = {path.name: path.read_bytes() for path in folder.aligned.iterdir()}
        pack, faces = {"faceset.pak": PACK}, FACES
        assert found == (faces | pack if keep else pack if is_packing else faces)
        if not was_killed:
            assert step >= 3
            break


def _killed_at(step: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> bool:
    steps = count()

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if next(steps) == step:
                raise _KilledError
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        for owner, name in ((files, "sync_file"), (files, "rename_over"), (packing, "sync_folder"), (Path, "unlink")):
            patched.setattr(owner, name, counted(getattr(owner, name)))
        try:
            work()
        except _KilledError:
            return True
    return False


def test_a_second_pack_removes_only_what_stands_in_the_first(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FACES)
    pack_faces(folder, keep=True)
    (folder.aligned / "new.jpg").write_bytes(face_jpeg(30))
    before = contents(folder.parent)
    with pytest.raises(PackedFacesetError, match=r"1 faces beside it are not in it: new\.jpg") as refused:
        pack_faces(folder, keep=False)
    assert "dfld unpack" in refused.value.hint
    assert contents(folder.parent) == before
    unpack_faces(folder, keep=False)
    assert pack_faces(folder, keep=False).faces == 6


def test_nothing_is_unpacked_over_another_file(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, {})
    folder.pack.write_bytes(PACK)
    name = sorted(FACES)[3]
    (folder.aligned / name).write_bytes(b"somebody's")
    before = contents(folder.parent)
    with pytest.raises(FacesetError, match=name):
        unpack_faces(folder, keep=False)
    assert contents(folder.parent) == before


def test_several_persons_in_one_pack_get_a_folder_each(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, {})
    images = [describe_image("1.jpg", data, person_name=name) for name, data in zip("ab", FACES.values(), strict=False)]
    folder.pack.write_bytes(write_header(images) + b"".join(list(FACES.values())[:2]))
    unpack_faces(folder, keep=False)
    first, second, *_ = FACES.values()
    assert contents(folder.aligned) == {"a/1.jpg": first, "b/1.jpg": second}
    folder.pack.write_bytes(write_header([images[0]] * 2) + first * 2)
    with pytest.raises(FacesetError, match="several faces of one name"):
        unpack_faces(folder, keep=False)


def test_a_face_that_changes_while_it_is_packed_stops_the_packing(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_faceset(quick_folder, FACES)
    real = packing.write_pack

    def changed_first(*arguments: object, **named: object) -> None:
        (folder.aligned / sorted(FACES)[0]).write_bytes(face_jpeg(20))
        real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "write_pack", changed_first)
    with pytest.raises(FacesetError, match="changed while it was packed"):
        pack_faces(folder, keep=False)
    assert len(list(folder.aligned.glob("*.jpg"))) == 5
    assert not folder.pack.exists()


def test_no_face_is_packed_that_could_not_be_unpacked(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FACES)
    jpeg = face_jpeg(9)
    sides = jpeg.index(b"\xff\xc0") + 5
    (folder.aligned / "empty.jpg").write_bytes(jpeg[:sides] + b"\0\0\0\0" + jpeg[sides + 4 :])
    (folder.aligned / os.fsdecode(b"\xff.jpg")).write_bytes(jpeg)
    before = contents(folder.parent)
    packed = pack_faces(folder, keep=False)
    assert {one.name for one in packed.left} == {"empty.jpg", os.fsdecode(b"\xff.jpg")}
    unpack_faces(folder, keep=False)
    assert contents(folder.parent) == before


def test_a_face_that_changes_once_it_is_packed_is_not_removed(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_faceset(quick_folder, FACES)
    changed, gone, *_ = sorted(FACES)
    real = packing.write_pack

    def changed_behind(*arguments: object, **named: object) -> None:
        real(*arguments, **named)  # type: ignore[arg-type]
        (folder.aligned / changed).write_bytes(face_jpeg(20))
        (folder.aligned / gone).unlink()

    monkeypatch.setattr(packing, "write_pack", changed_behind)
    assert [one.name for one in pack_faces(folder, keep=False).left] == [changed]
    assert {path.name for path in folder.aligned.iterdir()} == {changed, "faceset.pak"}
    assert (folder.aligned / changed).read_bytes() == face_jpeg(20)


def test_a_file_that_appears_while_a_pack_is_unpacked_keeps_its_bytes_and_the_pack_stays(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_faceset(quick_folder, {})
    folder.pack.write_bytes(PACK)
    name = sorted(FACES)[2]
    real = packing._require_free

    def written_behind(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        (folder.aligned / name).write_bytes(b"somebody's")

    with monkeypatch.context() as patched:
        patched.setattr(packing, "_require_free", written_behind)
        with pytest.raises(FacesetError, match="was written by another program"):
            unpack_faces(folder, keep=False)
    assert (folder.aligned / name).read_bytes() == b"somebody's"
    assert folder.pack.read_bytes() == PACK


def test_a_pack_that_is_replaced_while_it_is_unpacked_stays(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_faceset(quick_folder, {})
    folder.pack.write_bytes(PACK)
    other = pack_faceset([("other.jpg", face_jpeg(30))])
    real = packing.sync_folder

    def replaced(path: Path) -> None:
        real(path)
        files.replace_file(folder.pack, other)

    monkeypatch.setattr(packing, "sync_folder", replaced)
    with pytest.raises(FacesetError, match="changed while it was unpacked"):
        unpack_faces(folder, keep=False)
    assert folder.pack.read_bytes() == other


def test_a_face_that_goes_while_it_is_packed_stops_the_packing(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_faceset(quick_folder, FACES)
    real = packing.write_pack

    def removed_first(*arguments: object, **named: object) -> None:
        (folder.aligned / sorted(FACES)[0]).unlink()
        real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "write_pack", removed_first)
    with pytest.raises(FacesetError, match="changed while it was packed"):
        pack_faces(folder, keep=False)
    assert {path.name for path in folder.aligned.iterdir()} == set(sorted(FACES)[1:])


@given(data=st.data())
@settings(max_examples=MUTANTS)
def test_a_mutated_pack_is_refused_by_name_or_unpacks_and_nothing_else_changes(
    memory_folder: Path, data: st.DataObject
) -> None:
    with TemporaryDirectory(dir=memory_folder) as root:
        folder: FacesetFolder = make_faceset(Path(root), {"0.jpg": FACES["00000000_0.jpg"]})
        mutated = bytearray(PACK)
        header = 16 + int.from_bytes(PACK[8:16], "little") + 8 * 6
        for _ in range(data.draw(st.integers(1, 3))):
            mutated[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            del mutated[data.draw(st.integers(0, len(mutated))) :]
        folder.pack.write_bytes(mutated)
        before = contents(folder.parent)
        try:
            unpack_faces(folder, keep=True)
        except FacesetError:
            assert contents(folder.parent) == before
        assert {place: contents(folder.parent)[place] for place in before} == before


def test_the_commands_say_what_they_did(quick_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_faceset(quick_folder, FACES)
    (folder.aligned / "a.png").write_bytes(b"")
    assert main(["pack", str(quick_folder)]) == 0
    said = capsys.readouterr().out
    assert "5 faces packed" in said
    assert "a.png stays as it is" in said
    assert main(["unpack", str(quick_folder), "--keep", "--json"]) == 0
    assert '"faces": 5' in capsys.readouterr().out
    folder.pack.unlink()
    assert main(["unpack", str(quick_folder)]) == 1
    assert "holds no faceset.pak" in capsys.readouterr().err
