"""Whatever hands do to the results of a clip, and in whatever order, a redo undoes none of it."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl.faceset import pack_faceset, read_faceset
from dfl.image import AlignedMetadata, MaskPolygon, encode_aligned_jpeg, read_metadata, with_metadata
from engine.face_id import box_of, face_id
from engine.results import face_files, manual_changes, missing_faces
from engine.results.clearing import clear_results
from engine.results.face_files import hash_or_nothing, trace_in, traces_in_pack
from engine.results.manifest import Manifest, read_manifest, write_manifest
from engine.results.manifest_lines import Folder, RunNote, WrittenFace, WrittenFile
from engine.results.manual_changes import survey
from engine.results.missing_faces import faces_not_found
from engine.results.run_results import Results
from engine.same_face import FaceTrace, is_same_face, trace_of, trace_of_jpeg
from engine.workspace import file_names as layout_module
from engine.workspace.align import encode_mask
from engine.workspace.file_names import Layout, inbox_layout, output_layout, prefix_of_face
from engine.workspace.output_files import prepare_workspace

FACES = 8
SOURCE, OTHER_SOURCE = "5" * 64, "6" * 64
SIDE = 32
NOTE = RunNote("clip.mp4", "content", "basis")
EXAMPLES = int(os.environ.get("DFLD_MANUAL_CHANGES_EXAMPLES", "25"))


def landmarks_of(number: int, index: int, clip: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Landmarks of a face: two faces in a frame stand apart, each clip has its own people."""
    return np.random.default_rng((clip, number, index)).uniform(0, 40, (68, 2)) + np.array((200.0 * index, 10.0))


def face_jpeg(number: int, index: int, *, clip: int = 0, quality: int = 90) -> bytes:
    points = landmarks_of(number, index, clip)
    box = np.array([points[:, 0].min(), points[:, 1].min(), points[:, 0].max(), points[:, 1].max()])
    metadata = AlignedMetadata(
        face_type="whole_face",
        landmarks=points / 8,
        source_filename=f"{number:08d}.png",
        source_rect=np.rint(box).astype(np.int64),
        source_landmarks=points,
        image_to_face_mat=np.eye(2, 3),
    )
    pixels = np.random.default_rng((clip, number, index)).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    return encode_aligned_jpeg(pixels, metadata, quality)


MASK = encode_mask(np.full((SIDE, SIDE), 255, np.uint8))
ALL = tuple((number, index) for number in range(FACES // 2) for index in (0, 1))
JPEGS = {place: face_jpeg(*place) for place in ALL}
TRACES = {place: trace for place, jpeg in JPEGS.items() if (trace := trace_of_jpeg(jpeg))}


def identified(jpeg: bytes, source: str) -> bytes:
    """Return an aligned JPEG with the id that its face has in a source."""
    metadata = read_metadata(jpeg)
    assert metadata.source_rect is not None
    one = face_id(source, int(PurePath(str(metadata.source_filename)).stem), box_of(metadata.source_rect.tolist()))
    return with_metadata(jpeg, replace(metadata, dfld_face_id=one))


def run(layout: Layout, note: RunNote = NOTE, *, quality: int = 90, discard: str = "", source: str = "") -> None:
    """Write all faces as an extraction does: of each frame one to aligned/ and one to review/.

    `source`: of the ids; "" as a dfld that gave faces none.
    """
    prepare_workspace(layout)
    with Results(layout, note, resumes=False, discard=discard) as results:
        for number, index in ALL:
            jpeg = JPEGS[number, index] if quality == 90 else face_jpeg(number, index, quality=quality)
            jpeg = identified(jpeg, source) if source else jpeg
            trace = trace_of_jpeg(jpeg)
            assert trace is not None
            if not results.is_decided(trace):
                folder: Folder = "review" if index else "aligned"
                results.write_face(folder, number, index, "jpg", jpeg, MASK, trace)
        results.committed(len(ALL))
        results.finished()


def pictures(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.jpg") if path.parent.name != "debug")


def traces_there(root: Path) -> Counter[str]:
    """Return how often each face lies in a workspace, packed ones included."""
    found = [trace_in(path) for path in pictures(root)]
    found += [trace for pack in root.rglob("*.pak") for trace in traces_in_pack(pack)]
    return Counter(one.landmarks_hash for one in found if one is not None)


@dataclass
class Hands:
    """Random hands in a workspace, and what they remember having done."""

    layout: Layout
    chance: random.Random
    kept: dict[Path, bytes] = field(default_factory=dict)
    """Files that they changed, moved, renamed or added: where each must be in the end, with which bytes."""
    gone: set[str] = field(default_factory=set)
    """Marks of the faces that they deleted."""
    added: int = 0

    def one(self) -> Path | None:
        """Choose a face that no hand made up."""
        own = [path for path in pictures(self.layout.root) if trace_in(path) is not None]
        own = [path for path in own if self._mark(path) in {trace.landmarks_hash for trace in TRACES.values()}]
        return self.chance.choice(own) if own else None

    def _mark(self, path: Path) -> str:
        trace = trace_in(path)
        return "" if trace is None else trace.landmarks_hash

    def _moved(self, path: Path, target: Path) -> None:
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        self.kept.pop(path, None)
        self.kept[target] = target.read_bytes()

    def delete(self) -> None:
        if path := self.one():
            self.gone.add(self._mark(path))
            path.unlink()
            self.kept.pop(path, None)

    def move(self) -> None:
        if path := self.one():
            folders = [
                self.layout.aligned,
                self.layout.review,
                self.layout.root / "aligned_trash",
                self.layout.root / "x",
            ]
            target = self.chance.choice(folders) / path.name
            if target.parent != path.parent:
                self._moved(path, target)

    def rename(self) -> None:
        if path := self.one():
            self._moved(path, path.with_name(f"{self.chance.randrange(100):05d}.jpg"))

    def sort_all(self) -> None:
        """As DeepFaceLab's sorter does it: every face of the folder gets a number."""
        for number, path in enumerate(sorted(self.layout.aligned.glob("*.jpg"), key=lambda _: self.chance.random())):
            self._moved(path, path.with_name(f"{1000 + number:05d}.jpg"))

    def draw_polygons(self) -> None:
        if path := self.one():
            polygon = MaskPolygon(True, np.array([[1, 2], [3, 4], [5, 6]], np.float32) + self.chance.random())
            metadata = replace(read_metadata(path.read_bytes()), seg_ie_polys=(polygon,))
            self._edit(path, with_metadata(path.read_bytes(), metadata))

    def apply_mask(self) -> None:
        """As XSeg's apply does it: a mask in every face."""
        for path in pictures(self.layout.root):
            if trace_in(path) is not None:
                metadata = replace(
                    read_metadata(path.read_bytes()), xseg_mask=MASK + bytes([self.chance.randrange(256)])
                )
                self._edit(path, with_metadata(path.read_bytes(), metadata))

    def retouch(self) -> None:
        if path := self.one():
            data = path.read_bytes()
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            self._edit(path, encode_aligned_jpeg(255 - np.asarray(pixels, np.uint8), read_metadata(data), 100))

    def edit_mask_file(self) -> None:
        masks = sorted(self.layout.masks.glob("*.png"))
        if masks:
            path = self.chance.choice(masks)
            path.write_bytes(MASK + bytes([self.chance.randrange(256)]))
            self.kept[path] = path.read_bytes()
            face = path.name.replace("_mask.png", ".jpg")
            for folder in (self.layout.aligned, self.layout.review):
                if (folder / face).exists():
                    self.kept[folder / face] = (folder / face).read_bytes()

    def delete_mask_file(self) -> None:
        masks = [path for path in sorted(self.layout.masks.glob("*.png")) if path not in self.kept]
        if masks:
            self.chance.choice(masks).unlink()

    def pack(self) -> None:
        """As DeepFaceLab does it, originals deleted."""
        loose = [path for path in sorted(self.layout.aligned.glob("*.jpg")) if trace_in(path) is not None]
        pack = self.layout.aligned / "faceset.pak"
        if loose and not pack.exists():
            pack.write_bytes(pack_faceset([(path.name, path.read_bytes()) for path in loose]))
            self.kept[pack] = pack.read_bytes()
            for path in loose:
                path.unlink()
                self.kept.pop(path, None)

    def add(self) -> None:
        """A face of their own, also under a name that dfld could choose."""
        self.added += 1
        names = [
            f"mine {self.added}.jpg",
            f"{self.layout.prefix}{self.chance.randrange(FACES):08d}_{self.added % 3}.jpg",
        ]
        path = self.layout.aligned / self.chance.choice(names)
        if not path.exists():
            path.write_bytes(face_jpeg(self.added, 0, clip=1))
            self.kept[path] = path.read_bytes()

    def _edit(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self.kept[path] = data


DEEDS: tuple[Callable[[Hands], None], ...] = (
    Hands.delete,
    Hands.move,
    Hands.rename,
    Hands.sort_all,
    Hands.draw_polygons,
    Hands.apply_mask,
    Hands.retouch,
    Hands.edit_mask_file,
    Hands.delete_mask_file,
    Hands.pack,
    Hands.add,
)


def layouts(base: Path) -> tuple[Layout, Layout]:
    return output_layout(base / "out"), inbox_layout(base / "workspace", "src", "take")


def check(hands: Hands, done: str) -> None:
    root = hands.layout.root
    lost = {path: "gone" for path in hands.kept if not path.exists()}
    lost |= {path: "changed" for path, data in hands.kept.items() if path.exists() and path.read_bytes() != data}
    assert not lost, f"{done}: {lost}"
    there = traces_there(root)
    assert not hands.gone & set(there), f"{done}: deleted faces are back"
    assert not [mark for mark, count in there.items() if count > 1], f"{done}: a face is there twice"
    wanted = {trace.landmarks_hash for trace in TRACES.values()} - hands.gone
    assert not wanted - set(there), f"{done}: faces are missing"


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    deeds=st.lists(st.integers(0, len(DEEDS) - 1), max_size=6),
    inbox=st.booleans(),
    ids_since=st.integers(0, 4),
)
def test_no_sequence_of_hands_is_undone_by_any_number_of_redos(
    tmp_path_factory: pytest.TempPathFactory, seed: int, deeds: list[int], inbox: bool, ids_since: int
) -> None:
    """Also where faces have ids only since one of the redos (`ids_since`; 4: none ever)."""
    base = tmp_path_factory.mktemp("hands")
    layout = layouts(base)[inbox]
    run(layout, source="" if ids_since else SOURCE)
    hands = Hands(layout, random.Random(seed))
    done = ""
    for redo in range(3):
        for deed in deeds[redo::2]:
            DEEDS[deed](hands)
            done += f" {DEEDS[deed].__name__}"
        source = SOURCE if redo + 1 >= ids_since else ""
        run(layout, replace(NOTE, basis=f"basis {redo}"), quality=90 - redo, source=source)
        done += " REDO"
        check(hands, done)
    shutil.rmtree(base)


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(seed=st.integers(0, 2**32), deeds=st.lists(st.integers(0, len(DEEDS) - 1), max_size=5))
def test_given_up_hand_work_goes_and_every_face_comes_back_and_what_was_added_stays(
    tmp_path_factory: pytest.TempPathFactory, seed: int, deeds: list[int]
) -> None:
    base = tmp_path_factory.mktemp("hands")
    layout = output_layout(base / "out")
    run(layout)
    hands = Hands(layout, random.Random(seed))
    for deed in deeds:
        DEEDS[deed](hands)
    if seed % 2:
        run(layout)  # what was decided before an earlier redo goes as well
    run(layout, discard="order")
    there = traces_there(layout.root)
    assert all(there[trace.landmarks_hash] == 1 for trace in TRACES.values())
    packed = {trace.landmarks_hash for pack in layout.root.rglob("*.pak") for trace in traces_in_pack(pack) if trace}
    for (number, index), jpeg in JPEGS.items():
        if TRACES[number, index].landmarks_hash not in packed:
            name = next(path for path in pictures(layout.root) if path.read_bytes() == jpeg)
            assert name.parent in (layout.aligned, layout.review)
    for path, data in hands.kept.items():
        if trace_of_jpeg(data) is not None and "mine" in path.name:
            assert path.read_bytes() == data
    shutil.rmtree(base)


class _Killed(BaseException):
    pass


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the process die at its `step`-th change of a name on the disk."""
    count = 0

    def counting(original: Callable[..., object]) -> Callable[..., object]:
        def change(*arguments: object, **named: object) -> object:
            nonlocal count
            count += 1
            if count > step:
                raise _Killed
            return original(*arguments, **named)

        return change

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, counting(getattr(Path, name)))
        yield


def test_a_kill_at_any_step_of_a_redo_undoes_nothing_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template"
    layout = output_layout(template)
    run(layout)
    hands = Hands(layout, random.Random(3))
    for deed in (Hands.delete, Hands.move, Hands.rename, Hands.draw_polygons, Hands.add):
        deed(hands)
    for step in range(200):
        base = tmp_path / f"kill{step}"
        shutil.copytree(template, base)
        again = output_layout(base)
        moved = {base / path.relative_to(template): data for path, data in hands.kept.items()}
        survived = Hands(again, random.Random(0), moved, set(hands.gone))
        try:
            with killed_at(step, monkeypatch):
                run(again, replace(NOTE, basis="other"))
            ended = True
        except _Killed:
            ended = False
        run(again, replace(NOTE, basis="other"))
        check(survived, f"killed at step {step}")
        shutil.rmtree(base)
        if ended:
            return
    raise AssertionError("a redo takes fewer steps than that")


def test_a_kill_at_any_step_of_a_discarding_redo_keeps_what_a_hand_does_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template"
    layout = output_layout(template)
    run(layout)
    (layout.aligned / "00000000_0.jpg").rename(layout.aligned / "00001.jpg")
    run(layout)  # decided in an earlier run: the journal names the file
    for number in (1, 2):
        (layout.aligned / f"{number:08d}_0.jpg").write_bytes(face_jpeg(number, 0, quality=50))
    for step in range(0, 200, 3):
        base = tmp_path / f"kill{step}"
        shutil.copytree(template, base)
        again = output_layout(base)
        try:
            with killed_at(step, monkeypatch):
                run(again, discard="order")
            return
        except _Killed:
            pass
        left = {path: path.read_bytes() for path in pictures(base) if path.read_bytes() not in JPEGS.values()}
        left |= {path: path.read_bytes() for path in pictures(base) if path.name == "00001.jpg"}
        if step % 2:  # an ordinary redo comes: what still lies there, stays
            run(again)
            assert {path: path.read_bytes() for path in left} == left, f"killed at step {step}"
        else:  # the order is carried out to its end
            run(again, discard="order")
            assert {path.read_bytes() for path in pictures(base)} == set(JPEGS.values()), f"killed at step {step}"
        marks = Counter(trace.landmarks_hash for trace in TRACES.values())
        assert traces_there(base) == marks, f"killed at step {step}"
        shutil.rmtree(base)
    raise AssertionError("a redo takes fewer steps than that")


def test_a_run_that_writes_nothing_costs_no_face(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    run(layout)
    before = {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file()}
    with Results(layout, replace(NOTE, content="broken"), resumes=False, discard="order") as results:
        assert not results.is_decided(TRACES[0, 0])
        assert not results.has_begun
    assert {path: path.read_bytes() for path in layout.root.rglob("*") if path.is_file()} == before


def test_an_order_to_discard_hand_work_is_carried_out_once(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    run(layout)
    path = layout.aligned / "00000000_0.jpg"
    path.write_bytes(b"edited")
    run(layout, discard="order")
    assert path.read_bytes() == JPEGS[0, 0]
    path.write_bytes(b"edited again")
    run(layout, discard="order")  # its run begins anew, after a death before the first commit
    assert path.read_bytes() == b"edited again"
    run(layout, discard="another order")
    assert path.read_bytes() == JPEGS[0, 0]


def test_a_clear_that_was_cut_short_counts_no_decision_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = output_layout(tmp_path / "out")
    run(layout)
    (layout.aligned / "00000000_0.jpg").unlink()
    (layout.aligned / "00000001_0.jpg").write_bytes(b"edited")
    (layout.review / "00000002_1.jpg").rename(layout.aligned / "00000002_1.jpg")
    (layout.masks / "00000003_0_mask.png").unlink()
    changes = survey(layout).counts
    assert changes == {"deleted": 1, "edited": 1, "moved": 1, "mask_deleted": 1}
    with pytest.raises(_Killed), killed_at(4, monkeypatch):
        clear_results(layout)
    assert read_manifest(layout).clearing
    clear_results(layout)
    assert survey(layout).counts == changes


@pytest.mark.parametrize("deed", ["nothing", "renamed", "unmarked"])
def test_a_survey_takes_no_more_steps_for_each_face_in_a_large_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    """Comparisons of paths, hashes of files and names read: all that grew with the square of the faces."""

    def steps_of(faces: int) -> int:
        layout = inbox_layout(tmp_path / f"{faces}", "src", "take")
        prepare_workspace(layout)
        written = {}
        for number in range(faces):
            path = layout.aligned / f"{layout.face_stem(number, 0)}.png"
            path.write_bytes(b"%08d" % number)
            trace = FaceTrace(f"{number:08d}", (1, 2, 3, 4), "" if deed == "unmarked" else f"{number:032d}")
            found = path.stat()
            file = WrittenFile(path.name, sha256(path.read_bytes()).hexdigest(), found.st_size, found.st_mtime_ns)
            written[path.name] = WrittenFace(file, "aligned", number, trace)
            if deed != "nothing":
                path.rename(path.with_name(f"{number:05d}.png"))
            write_manifest(inbox_layout(layout.root, "src", f"other{number}"), Manifest())
        write_manifest(layout, Manifest(NOTE, written, committed=faces, finished=True))
        steps = 0

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def count(*arguments: Any) -> Any:
                nonlocal steps
                steps += 1
                return function(*arguments)

            return count

        with monkeypatch.context() as patch:
            patch.setattr(PurePath, "__eq__", counted(PurePath.__eq__))
            for module in (manual_changes, missing_faces, face_files):
                patch.setattr(module, "hash_or_nothing", counted(hash_or_nothing))
            patch.setattr(layout_module.re, "fullmatch", counted(layout_module.re.fullmatch))
            for module in (layout_module, missing_faces):
                patch.setattr(module, "prefix_of_face", counted(prefix_of_face))
            found_faces = survey(layout)
        assert found_faces.faces == (faces if deed == "nothing" else 0)
        assert len(found_faces.changes) == (0 if deed == "nothing" else faces)
        return steps

    few, many = steps_of(40), steps_of(160)
    assert many <= 4 * few + 40, f"{few} steps for 40 faces, {many} for 160"


def test_a_face_deleted_before_it_was_committed_is_no_decision(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    prepare_workspace(layout)
    with Results(layout, NOTE, resumes=False) as results:
        results.write_face("aligned", 0, 0, "jpg", JPEGS[0, 0], MASK, TRACES[0, 0])
        (layout.aligned / "00000000_0.jpg").unlink()
    assert survey(layout).changes == ()


def test_a_resumed_run_leaves_what_a_hand_changed_in_the_piece_that_was_cut_short(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    prepare_workspace(layout)
    with Results(layout, NOTE, resumes=False) as results:
        for place in ALL[:4]:
            results.write_face("aligned", *place, "jpg", JPEGS[place], MASK, TRACES[place])
    edited = layout.aligned / "00000000_0.jpg"
    edited.write_bytes(edited.read_bytes() + b"edited")
    with Results(layout, NOTE, resumes=True) as results:
        names = [results.write_face("aligned", *place, "jpg", JPEGS[place], MASK, TRACES[place]) for place in ALL[:4]]
    assert names[0] is None
    assert None not in names[1:]
    assert edited.read_bytes().endswith(b"edited")


def test_a_name_that_a_hands_own_file_has_is_left_to_it(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    prepare_workspace(layout)
    with Results(layout, NOTE, resumes=False) as results:
        (layout.aligned / "00000000_0.jpg").write_bytes(b"mine")
        (layout.masks / "00000000_1_mask.png").write_bytes(b"mine, too")
        names = [
            results.write_face("aligned", 0, index, "jpg", JPEGS[0, index], MASK, TRACES[0, index]) for index in (0, 1)
        ]
    assert names == ["00000000_10.jpg", "00000000_11.jpg"]
    assert (layout.aligned / "00000000_0.jpg").read_bytes() == b"mine"


def test_other_content_takes_over_only_decisions_about_the_very_same_pictures(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    run(layout)
    for index, folder in ((0, layout.aligned), (1, layout.review)):
        (folder / f"00000001_{index}.jpg").unlink()
    prepare_workspace(layout)
    trace = TRACES[1, 0]
    left, top, right, bottom = trace.box
    moved = FaceTrace(trace.frame, (left + 9, top, right + 9, bottom), "another mark")
    with Results(layout, replace(NOTE, content="longer"), resumes=False) as results:
        assert results.is_decided(replace(trace, landmarks_hash="as a grown file shows it")), "the same picture"
        assert not results.is_decided(moved), "another take: whoever stands there is another face"
    with Results(layout, replace(NOTE, basis="other models"), resumes=False) as results:
        assert results.is_decided(moved), "the same content, through another detector"


def test_whole_frames_that_a_hand_changed_or_deleted_stay_so(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "dst", "take")

    def write_frames() -> None:
        prepare_workspace(layout)
        with Results(layout, NOTE, resumes=False) as results:
            for number in range(4):
                results.write_frame(f"{number:08d}.png", b"frame %d" % number)
            results.committed(4)
            results.finished()

    write_frames()
    data = tmp_path / "data_dst"
    (data / "00000001.png").write_bytes(b"denoised")
    (data / "00000002.png").unlink()
    (data / "00000009.png").write_bytes(b"mine")
    for _ in range(2):
        write_frames()
        assert {path.name: path.read_bytes() for path in data.glob("*.png")} == {
            "00000000.png": b"frame 0",
            "00000001.png": b"denoised",
            "00000003.png": b"frame 3",
            "00000009.png": b"mine",
        }


def test_frames_that_no_run_wrote_are_never_mixed_with_a_clips_own(tmp_path: Path) -> None:
    from engine.errors import OutputError

    layout = inbox_layout(tmp_path, "dst", "take")
    prepare_workspace(layout)
    (tmp_path / "data_dst" / "00000001.png").write_bytes(b"whose?")
    with pytest.raises(OutputError, match="already holds 1 frames that dfld did not write"):
        Results(layout, NOTE, resumes=False)
    assert (tmp_path / "data_dst" / "00000001.png").exists()


def test_a_link_in_a_faces_place_is_neither_followed_nor_removed(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    run(layout)
    victim = tmp_path / "victim.jpg"
    victim.write_bytes(JPEGS[0, 0])
    face = layout.aligned / "00000000_0.jpg"
    face.unlink()
    face.symlink_to(victim)
    run(layout)
    assert face.is_symlink()
    assert victim.read_bytes() == JPEGS[0, 0]


def test_faces_of_other_clips_in_the_workspace_are_never_taken_for_this_clips(tmp_path: Path) -> None:
    mine, other = (inbox_layout(tmp_path, "src", slug) for slug in ("take", "take-2"))
    run(mine)
    prepare_workspace(other)
    with Results(other, NOTE, resumes=False) as results:
        trace = trace_of_jpeg(face_jpeg(0, 0, clip=7))
        assert trace is not None
        results.write_face("aligned", 0, 0, "jpg", face_jpeg(0, 0, clip=7), MASK, trace)
        results.committed(9)
    before = {path.name for path in mine.aligned.glob("take-2-*")}
    clear_results(mine)
    assert {path.name for path in mine.aligned.iterdir()} == before
    assert read_manifest(other).faces


def test_a_face_that_two_clips_of_one_recording_miss_is_taken_for_neithers(tmp_path: Path) -> None:
    mine, other = (inbox_layout(tmp_path, "src", slug) for slug in ("take", "take-2"))
    run(mine)
    run(other)
    (mine.aligned / "take-00000000_0.jpg").unlink()
    renamed = (other.aligned / "take-2-00000000_0.jpg").rename(other.aligned / "zz.jpg")
    assert survey(mine).counts == {"deleted": 1}
    run(mine, discard="order 1")
    assert renamed.read_bytes() == JPEGS[0, 0]
    assert (mine.aligned / "take-00000000_0.jpg").exists()
    run(other)
    assert renamed.read_bytes() == JPEGS[0, 0]
    assert survey(other).counts == {"renamed": 1}


def test_ids_say_whose_a_face_of_two_clips_of_one_recording_is(tmp_path: Path) -> None:
    mine, other = (inbox_layout(tmp_path, "src", slug) for slug in ("take", "take-2"))
    run(mine, source=SOURCE)
    run(other, source=OTHER_SOURCE)
    (mine.aligned / "take-00000000_0.jpg").unlink()
    renamed = (other.aligned / "take-2-00000000_0.jpg").rename(other.aligned / "zz.jpg")
    assert survey(mine).counts == {"deleted": 1}
    assert survey(other).counts == {"renamed": 1}
    renamed.rename(mine.aligned / "take-00000000_0.jpg")
    assert survey(other).counts == {"renamed": 1}, "under the very name that the other clip gave to its face"


def test_no_name_hides_a_face_that_has_an_id(tmp_path: Path) -> None:
    mine, other = (inbox_layout(tmp_path, "src", slug) for slug in ("take", "take-2"))
    run(mine, source=SOURCE)
    run(other, source=OTHER_SOURCE)
    (mine.aligned / "take-00000001_0.jpg").rename(other.aligned / "take-2-00000077_0.jpg")
    found = survey(mine)
    assert found.counts == {"renamed": 1}
    assert found.changes[0].file == "data_src/aligned/take-2-00000077_0.jpg"


@pytest.mark.parametrize("moved_px", [0, 6, 400])
def test_faces_without_id_and_manifest_are_known_by_frame_and_place(tmp_path: Path, moved_px: int) -> None:
    """As an older dfld left them, or a workspace whose manifest was lost: a redo by other models doubles nothing."""
    layout = output_layout(tmp_path / "out")
    run(layout)
    shutil.rmtree(layout.debug)
    before = pictures(layout.root)
    prepare_workspace(layout)
    with Results(layout, replace(NOTE, content="another clip's"), resumes=False) as results:
        for (number, index), trace in TRACES.items():
            points = landmarks_of(number, index) + moved_px
            found = trace_of(f"{trace.frame}.png", np.array(trace.box) + moved_px, points, face_id=f"{number}{index}")
            assert results.is_decided(found) == (moved_px < 100), "what is elsewhere in the frame is another face"
        results.finished()
    assert pictures(layout.root) == before
    assert all(one.is_unlisted for one in read_manifest(layout).changes), "the next redo knows it, too"


def test_an_added_face_beside_a_manifest_takes_no_face_of_the_clip_away(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    run(layout, source=SOURCE)
    (layout.aligned / "00000001_7.jpg").write_bytes(face_jpeg(1, 0, clip=1))
    with Results(layout, NOTE, resumes=False) as results:
        assert not any(results.is_decided(trace) for trace in TRACES.values())


def test_faces_are_found_under_any_name_and_in_facesets_and_what_is_gone_is_named(tmp_path: Path) -> None:
    for source in (SOURCE, ""):  # "": made before there were ids
        layout = inbox_layout(tmp_path / f"with {source or 'none'}", "src", "take")
        run(layout, source=source)
        written = [
            (face_id(SOURCE, face.number, face.trace.box), name) for name, face in read_manifest(layout).faces.items()
        ]
        assert faces_not_found(layout, written, SOURCE) == []
        first, second, third = sorted(layout.aligned.glob("*.jpg"))[:3]
        first.rename(layout.root / "best.jpg")
        pack = layout.aligned / "faceset.pak"
        pack.write_bytes(pack_faceset([("00000.jpg", second.read_bytes())]))
        second.unlink()
        third.unlink()
        (layout.review / "take-00000001_1.jpg").write_bytes(face_jpeg(9, 0, clip=9))
        assert sorted(faces_not_found(layout, written, SOURCE)) == ["take-00000001_1.jpg", third.name]
        shutil.rmtree(layout.debug)
        assert sorted(faces_not_found(layout, written, SOURCE)) == ["take-00000001_1.jpg", third.name]


def test_pictures_without_metadata_are_found_by_their_bytes(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    prepare_workspace(layout)
    with Results(layout, NOTE, resumes=False) as results:
        for number in range(3):
            trace = FaceTrace(f"{number:08d}", (1, 2, 3, 4), face_id=f"id {number}")
            results.write_face("aligned", number, 0, "png", b"face %d" % number, None, trace)
    written = [(f"id {number}", f"{number:08d}_0.png") for number in range(3)]
    (layout.aligned / "00000000_0.png").rename(layout.aligned / "best.png")
    (layout.aligned / "00000001_0.png").write_bytes(b"another picture")
    assert faces_not_found(layout, written) == ["00000001_0.png"]


@pytest.mark.parametrize("same_clip", [True, False])
def test_two_people_in_one_frame_are_never_one_face(same_clip: bool) -> None:
    one, other = FaceTrace("1", (0, 0, 100, 120)), FaceTrace("1", (90, 0, 190, 120))
    assert not is_same_face(one, other, same_clip=same_clip)
    assert not is_same_face(one, FaceTrace("2", one.box), same_clip=same_clip)
    assert is_same_face(one, FaceTrace("1", (1, 1, 101, 121)), same_clip=same_clip)


def test_packed_faces_are_found_by_what_lies_in_the_images(tmp_path: Path) -> None:
    pack = tmp_path / "faceset.pak"
    pack.write_bytes(pack_faceset([("00000.jpg", JPEGS[0, 0]), ("00001.jpg", JPEGS[1, 1])]))
    assert traces_in_pack(pack) == [TRACES[0, 0], TRACES[1, 1]]
    assert len(read_faceset(pack.read_bytes())) == 2


def test_an_edit_that_keeps_the_size_is_seen_and_a_copy_with_another_time_is_no_edit(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    run(layout)
    edited, restored = layout.aligned / "00000000_0.jpg", layout.aligned / "00000001_0.jpg"
    data = bytearray(edited.read_bytes())
    data[-20] ^= 1
    edited.write_bytes(data)
    os.utime(restored, ns=(1, 1))
    found = survey(layout)
    assert found.counts == {"edited": 1}
    assert restored in found.removable
