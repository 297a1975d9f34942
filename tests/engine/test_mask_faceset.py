"""Every face of a faceset gets its mask, whole, whatever happens meanwhile; what is a person's stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfl.image import MaskPolygon, read_fields, read_metadata, with_metadata
from dfl.jpeg import without_app15
from dfl.xseg_mask import decode_xseg_mask, encode_xseg_mask
from engine import mask_faceset as module
from engine.errors import FacesetError, ModelError, OutputError, SettingsError
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import FacesetFolder
from engine.mask_faceset import MaskReport, MaskRequest, mask_faceset
from engine.mask_sources import SourceSettings, open_mask_sources
from engine.masks.choose import MaskSources
from engine.masks.hull import HullMasks
from engine.masks.source import FaceToMask, NoMask, PredictedMask
from engine.masks.write_mask import mask_picture, note_in, owner_in
from tests.faceset_rig import SIDE, contents, face_jpeg, make_faceset
from tests.xseg_rig import made_weights, write_model

KILLS = int(os.environ.get("DFLD_MASK_KILLS", "4"))
MUTANTS = int(os.environ.get("DFLD_MASK_MUTANTS", "200"))
ROOT = Path(__file__).parents[2]


class Eroded:
    """A source: the hull, a little smaller, so that it passes every check and differs from the hull."""

    name = "xseg"
    model_sha = "5" * 64

    def __init__(self) -> None:
        self.asked = 0

    def masks(self, faces: Sequence[FaceToMask]) -> Sequence[PredictedMask | NoMask]:
        self.asked += len(faces)
        return [self._eroded(face) for face in faces]

    def _eroded(self, face: FaceToMask) -> PredictedMask:
        (hull,) = HullMasks().masks([face])
        return PredictedMask(cv2.erode(hull.mask, np.ones((3, 3), np.uint8)), self.name, self.model_sha)


def faceset(tmp_path: Path, count: int = 4) -> FacesetFolder:
    """A faceset with the hull masks that an extraction writes."""
    names = {f"{number:08d}_0.jpg": face_jpeg(number) for number in range(count)}
    folder = make_faceset(tmp_path, names, masks=False)
    for name, data in names.items():
        folder.mask_of(name).write_bytes(hull_picture(data))
    return folder


def hull_picture(data: bytes) -> bytes:
    (hull,) = HullMasks().masks([FaceToMask(np.zeros((SIDE, SIDE, 3), np.uint8), read_metadata(data))])
    return mask_picture(hull)


def request_of(source: Eroded | None = None, mode: str = "auto", **changes: object) -> MaskRequest:
    sources = MaskSources(xseg=source)
    return MaskRequest(mode, sources, f"xseg {source and source.model_sha}", **changes)  # type: ignore[arg-type]


def masked(folder: FacesetFolder, request: MaskRequest) -> MaskReport:
    return mask_faceset(folder, request, stop=threading.Event(), on_progress=lambda _done, _all: None)


def outcomes(report: MaskReport) -> dict[str, str]:
    return {one.name: one.outcome for one in report.faces}


def test_every_face_gets_a_mask_and_its_picture_follows(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.aligned.iterdir()}
    report = masked(folder, request_of(Eroded()))
    assert report.completed
    assert report.outcomes == {"masked": 4}
    assert report.sources == {"xseg": 4}
    for name, data in before.items():
        after = (folder.aligned / name).read_bytes()
        assert without_app15(after) == without_app15(data)
        assert owner_in(read_fields(after)) == "dfld"
        note = note_in(read_fields(after))
        assert note is not None
        assert (note.source, note.model_sha) == ("xseg", "5" * 64)
        assert {"area", "overlap", "holes"} <= note.checks.keys()
        picture = cv2.imread(str(folder.mask_of(name)), cv2.IMREAD_UNCHANGED)
        (wanted,) = Eroded().masks([FaceToMask(np.zeros((SIDE, SIDE, 3), np.uint8), read_metadata(data))])
        assert isinstance(wanted, PredictedMask)
        np.testing.assert_array_equal(picture, np.where(wanted.is_face, 255, 0))
        larger = cv2.resize(np.asarray(picture), (256, 256), interpolation=cv2.INTER_AREA) >= 128
        assert (decode_xseg_mask(read_metadata(after).xseg_mask or b"") != larger).mean() < 0.02
    assert oct((folder.aligned / name).stat().st_mode & 0o777) == "0o640"


def test_the_same_work_is_not_done_again_and_another_source_is(tmp_path: Path) -> None:
    folder, source = faceset(tmp_path), Eroded()
    masked(folder, request_of(source))
    after = contents(folder.parent)
    again = masked(folder, request_of(source))
    assert again.outcomes == {"as before": 4}
    assert again.sources == {"xseg": 4}
    assert source.asked == 4
    assert contents(folder.parent) == after
    assert masked(folder, request_of()).outcomes == {"masked": 4}
    name = "00000001_0.jpg"
    assert folder.mask_of(name).read_bytes() == hull_picture((folder.aligned / name).read_bytes())
    masked(folder, request_of(source))
    assert {k: v for k, v in contents(folder.parent).items() if "masks" in k} == {
        k: v for k, v in after.items() if "masks" in k
    }


def test_a_face_that_changed_is_masked_anew(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    masked(folder, request_of(Eroded()))
    path = folder.aligned / "00000002_0.jpg"
    inside = np.array([[10, 10], [50, 10], [30, 50]], np.float32)
    drawn = replace(read_metadata(path.read_bytes()), seg_ie_polys=(MaskPolygon(True, inside),))
    path.write_bytes(with_metadata(path.read_bytes(), drawn))
    report = masked(folder, request_of(Eroded()))
    assert outcomes(report)[path.name] == "masked"
    assert report.sources == {"xseg": 3, "polygons": 1}
    (polygon,) = read_metadata(path.read_bytes()).seg_ie_polys
    np.testing.assert_array_equal(polygon.points, inside)


def test_a_mask_that_jumps_between_two_frames_is_named(tmp_path: Path) -> None:
    """Five frames of one face that does not move; the network leaves half of it out once."""
    still = replace(read_metadata(face_jpeg(1)), dfld_face_id=None)
    names = {
        f"{number:08d}_0.jpg": with_metadata(
            face_jpeg(number), replace(still, source_filename=f"{number:08d}.png")
        )
        for number in range(5)
    }  # fmt: skip
    folder = make_faceset(tmp_path, names, masks=False)

    class Jumping(Eroded):
        def _eroded(self, face: FaceToMask) -> PredictedMask:
            found = super()._eroded(face)
            if face.metadata.source_filename != "00000002.png":
                return found
            return replace(found, mask=cv2.erode(found.mask, np.ones((13, 13), np.uint8)))

    for outcome in ("masked", "as before"):
        report = masked(folder, request_of(Jumping(), mode="xseg"))
        assert report.outcomes == {outcome: 5}
        assert list(report.flickering) == ["00000002_0.jpg"]
        assert report.flickering["00000002_0.jpg"].change > 0.35


def test_a_mask_of_a_person_stays_unless_the_opposite_is_asked(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    path = folder.aligned / "00000002_0.jpg"
    theirs = encode_xseg_mask(np.tri(256))
    path.write_bytes(with_metadata(path.read_bytes(), replace(read_metadata(path.read_bytes()), xseg_mask=theirs)))
    before = path.read_bytes()
    assert outcomes(masked(folder, request_of(Eroded())))[path.name] == "a person's"
    assert path.read_bytes() == before
    replaced = masked(folder, request_of(Eroded(), replace_theirs=True))
    assert outcomes(replaced)[path.name] == "masked"
    assert owner_in(read_fields(path.read_bytes())) == "dfld"


def test_a_picture_of_a_person_in_masks_stays_and_a_missing_one_is_not_made(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    painted = folder.mask_of("00000000_0.jpg")
    cv2.imwrite(str(painted), np.full((SIDE, SIDE), 255, np.uint8))
    before = painted.read_bytes()
    folder.mask_of("00000001_0.jpg").unlink()
    report = masked(folder, request_of(Eroded()))
    assert report.outcomes == {"masked": 4}
    assert [one.name for one in report.faces if one.picture_left] == ["00000000_0.jpg"]
    assert painted.read_bytes() == before
    assert not folder.mask_of("00000001_0.jpg").exists()
    assert masked(folder, request_of(Eroded())).outcomes == {"as before": 4}


def test_a_check_writes_nothing_and_judges_the_masks_of_a_person_too(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    path = folder.aligned / "00000002_0.jpg"
    empty = replace(read_metadata(path.read_bytes()), xseg_mask=encode_xseg_mask(np.zeros((256, 256))))
    path.write_bytes(with_metadata(path.read_bytes(), empty))
    before = contents(tmp_path)
    report = masked(folder, request_of(Eroded(), only_check=True))
    assert report.outcomes == {"masked": 3, "a person's": 1}
    assert "area 0.00 of the hull" in next(one.why for one in report.faces if one.name == path.name)
    assert contents(tmp_path) == before
    assert not folder.state.exists()


def test_what_cannot_be_masked_is_named_and_the_rest_is_masked(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    _, wide = cv2.imencode(".jpg", np.zeros((64, 96, 3), np.uint8))
    made = {
        "a.jpg": b"",
        "b.jpg": face_jpeg(1)[:-20],
        "c.jpg": with_metadata(wide.tobytes(), replace(read_metadata(face_jpeg(1)), face_type="mark_only")),
        "d.png": b"\x89PNG",
        "e.jpg": without_app15(face_jpeg(1)),
    }
    for name, data in made.items():
        (folder.aligned / name).write_bytes(data)
    (folder.aligned / "f.jpg").mkdir()
    (folder.aligned / "g.jpg").symlink_to(folder.aligned / "00000000_0.jpg")
    report = masked(folder, request_of(Eroded()))
    assert report.outcomes == {"masked": 4, "unreadable": 7}
    why = {one.name: one.why for one in report.faces}
    assert "square" in why["c.jpg"]
    assert "a folder" in why["f.jpg"]
    assert "a symbolic link" in why["g.jpg"]
    assert "no DeepFaceLab metadata" in why["e.jpg"]
    for name, data in made.items():
        assert (folder.aligned / name).read_bytes() == data


def test_a_face_that_another_program_writes_meanwhile_is_left_to_it(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    path = folder.aligned / "00000001_0.jpg"

    class Meddling(Eroded):
        def _eroded(self, face: FaceToMask) -> PredictedMask:
            if face.metadata.source_filename == "00000001.png":
                path.write_bytes(face_jpeg(77))
            return super()._eroded(face)

    report = masked(folder, request_of(Meddling()))
    assert outcomes(report)[path.name] == "changed meanwhile"
    assert path.read_bytes() == face_jpeg(77)
    assert not [one for one in folder.aligned.iterdir() if one.name.endswith(".part")]


def test_a_stop_ends_after_a_face_and_the_next_run_goes_on(tmp_path: Path) -> None:
    folder, source, stop = faceset(tmp_path), Eroded(), threading.Event()
    report = mask_faceset(
        folder, request_of(source), stop=stop, on_progress=lambda done, _all: stop.set() if done == 2 else None
    )
    assert not report.completed
    assert (len(report.faces), report.total) == (2, 4)
    assert masked(folder, request_of(source)).outcomes == {"as before": 2, "masked": 2}
    assert source.asked == 4


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    with sole_user(folder), pytest.raises(FacesetError, match="another dfld works on"):
        masked(folder, request_of())


def test_a_mode_without_its_source_is_refused_before_a_face_is_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="need the source xseg"):
        masked(faceset(tmp_path), request_of(mode="xseg"))
    with pytest.raises(SettingsError, match="need the source xseg"):
        open_mask_sources(SourceSettings("xseg"))


def test_a_network_of_deepfacelab_masks_a_faceset(tmp_path: Path) -> None:
    folder = faceset(tmp_path)
    model = write_model(tmp_path / "model", made_weights(seed=3))
    opened = open_mask_sources(SourceSettings("xseg", model, cache=tmp_path / "kept", device="cpu"))
    report = masked(folder, MaskRequest("xseg", opened.sources, opened.made_by))
    assert report.outcomes == {"masked": 4}
    assert opened.made_by.endswith(" whole_face")
    assert opened.made_by.split()[1] == (opened.sources.xseg and opened.sources.xseg.model_sha)


@pytest.mark.parametrize("mode", ["hull", "auto"])
def test_a_network_is_not_even_opened_where_it_is_not_asked(tmp_path: Path, mode: str) -> None:
    settings = SourceSettings(mode, tmp_path / "none" if mode == "hull" else None)  # type: ignore[arg-type]
    assert open_mask_sources(settings).sources == MaskSources()


def test_a_network_that_is_not_there_is_an_error_in_auto_too(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no XSeg network"):
        open_mask_sources(SourceSettings("auto", tmp_path))


def test_a_full_disk_leaves_the_face_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = faceset(tmp_path)
    before = contents(folder.parent)

    def no_space(path: Path, content: bytes, **how: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(module, "replace_file", no_space)
    with pytest.raises(OutputError, match="No space left"):
        masked(folder, request_of(Eroded()))
    assert contents(folder.parent) == before


def test_mutated_metadata_is_named_or_masked_and_never_more(tmp_path: Path) -> None:
    folder = make_faceset(tmp_path, {}, masks=False)
    whole = face_jpeg(1)
    source = np.random.default_rng(5)
    end = len(whole) - len(without_app15(whole)) + 40
    for number in range(MUTANTS):
        changed = bytearray(whole)
        for _ in range(int(source.integers(1, 6))):
            changed[int(source.integers(0, end))] = int(source.integers(0, 256))
        cut = bytes(changed) if number % 4 else bytes(changed[: int(source.integers(1, len(changed)))])
        (folder.aligned / f"{number:05d}.jpg").write_bytes(cut)
    before = {path.name: path.read_bytes() for path in folder.aligned.iterdir()}
    report = masked(folder, request_of())
    assert report.completed
    assert set(report.outcomes) <= {"masked", "unreadable", "no mask", "a person's"}
    assert report.outcomes["unreadable"] > MUTANTS // 4
    for one in report.faces:
        after = (folder.aligned / one.name).read_bytes()
        if one.outcome == "masked":
            assert without_app15(after) == without_app15(before[one.name])
        else:
            assert after == before[one.name]
            assert one.why or one.outcome == "a person's"


def test_a_kill_at_any_step_leaves_old_or_new_faces_and_a_rerun_ends_the_same(tmp_path: Path) -> None:
    undisturbed = faceset(tmp_path / "undisturbed", 3)
    masked(undisturbed, request_of(Eroded()))
    wanted = contents(undisturbed.parent)
    old = contents(faceset(tmp_path / "old", 3).parent)
    for number in range(KILLS):
        folder = faceset(tmp_path / f"killed{number}", 3)
        step = 1 + number * 23 // max(KILLS - 1, 1)
        child = _run_until_step(folder, step)
        assert child in (-signal.SIGKILL, 0)
        for name, data in contents(folder.parent).items():
            assert data in (old.get(name), wanted.get(name)) or name.endswith(".part")
        masked(folder, request_of(Eroded()))
        assert contents(folder.parent) == wanted


def _run_until_step(folder: FacesetFolder, step: int) -> int:
    """Mask the faceset in a process that kills itself at a call that writes, renames, syncs or removes."""
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT)!r}]
from pathlib import Path
from engine.facesets.faceset_folder import faceset_folders
steps = 0
def kill_at(owner, name):
    whole = getattr(owner, name)
    def counted(*given, **named):
        global steps
        steps += 1
        if steps == {step}:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*given, **named)
    setattr(owner, name, counted)
import importlib.util
spec = importlib.util.spec_from_file_location("cases", {str(Path(__file__))!r})
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink")):
    kill_at(owner, name)
(folder,) = faceset_folders(Path({str(folder.aligned)!r}))
cases.masked(folder, cases.request_of(cases.Eroded()))
"""
    return subprocess.run([sys.executable, "-c", code], check=False).returncode
