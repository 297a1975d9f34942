"""Masks as jobs of the service: queued behind an extraction, put into the faces of its clip wherever these lie."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from daemon.cli import main
from daemon.config.faceset_tables import MasksConfig
from daemon.config.load import read_config
from daemon.errors import ConfigError
from daemon.jobs.kinds.contract import Failure
from daemon.jobs.kinds.mask import MASK_CODECS, ClipMaskRequest, MaskAsked, MaskCommit, MaskSourceName
from daemon.jobs.kinds.registry import OF_MASKS
from daemon.ledger import jobs as table
from daemon.ledger.ledger import Ledger
from daemon.metrics.catalogue import MASK_CHECKS, MASK_SOURCES, OTHER
from daemon.readings import ledger_reading
from daemon.worker.masker import Masker
from dfl.image import read_fields, read_metadata, with_metadata
from engine.facesets.changing.renames import PlannedMove, carry_out
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import aligned_folder
from engine.masks.checks import CheckName
from engine.masks.choose import MaskMode
from engine.masks.write_mask import owner_in
from tests.daemon_rig import PICTURE_WORKER, InProcess, Rig
from tests.fake_worker import fake_video
from tests.parser_files import celebamask_model
from tests.parser_files import write_model as write_parser
from tests.xseg_rig import made_weights, write_model

FRAMES = 5


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    one = Rig(tmp_path)
    (one.inbox / "clip.mp4").write_bytes(fake_video(frames=FRAMES, name="clip"))
    return one


def ask_for_masks(rig: Rig, **keys: Any) -> None:
    rig.inboxes["alice"]["masks"] = keys or {"source": "hull"}


def owners(folder: Path) -> list[str]:
    """Whose mask each face of a folder has."""
    return [owner_in(read_fields(path.read_bytes())) for path in sorted(folder.glob("*.jpg"))]


def aligned(rig: Rig) -> Path:
    return rig.workspace / "data_src" / "aligned"


def extracted(rig: Rig) -> None:
    """Extract the clip, with a service that asks for no masks."""
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done")


def queue_masks(rig: Rig) -> None:
    ledger = Ledger(rig.base / "state" / "ledger.db")

    def queue(writer: Any) -> None:
        table.queue_about(writer, OF_MASKS.name, table.fetched(writer, 1), request="", rank=1.0, now_s=1.0)

    try:
        ledger.write(queue)
    finally:
        ledger.close()


def test_a_clip_that_is_extracted_gets_masks_and_its_faces_count_as_whole(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_for_masks(rig)
    with InProcess(rig, PICTURE_WORKER):
        jobs = rig.wait_for_states("done", "done")
        assert [(job["kind"], job["subject"]) for job in jobs] == [("extract", None), ("mask", 1)]
        assert json.loads(jobs[1]["counts"]) == {"masked": FRAMES, "from hull": FRAMES}
        assert jobs[1]["message"] == f"{FRAMES} of {FRAMES} faces masked: {FRAMES} from hull"
        assert main(["verify", "alice", "--config", str(rig.config_path)]) == 0
    assert f"{FRAMES} whole" in capsys.readouterr().out
    assert owners(aligned(rig)) == ["dfld"] * FRAMES
    ledger = Ledger(rig.base / "state" / "ledger.db")
    try:
        assert ledger_reading(ledger, {})["dfld_masks_total"] == {("alice", "hull"): FRAMES}
    finally:
        ledger.close()


def test_an_inbox_that_asks_for_no_masks_has_no_such_job(rig: Rig) -> None:
    extracted(rig)
    assert rig.states() == ["done"]
    assert owners(aligned(rig)) == ["nobody"] * FRAMES


def move(where: str, name: str) -> Callable[[Rig], None]:
    """Have dfld move the first face."""

    def moved(rig: Rig) -> None:
        folder = aligned_folder(aligned(rig))
        first = min(folder.aligned.glob("*.jpg"))
        with sole_user(folder):
            carry_out(folder, [PlannedMove(f"aligned/{first.name}", f"{where}/{name}")], journal_kind="sort")

    return moved


def renamed_by_a_person(rig: Rig) -> None:
    first = min(aligned(rig).glob("*.jpg"))
    first.rename(first.with_name("my best.jpg"))


@pytest.mark.parametrize("moved", [move("aligned", "00000000.jpg"), move("aside", "00000000.jpg"), renamed_by_a_person])
def test_faces_get_their_masks_wherever_they_lie_by_now(rig: Rig, moved: Callable[[Rig], None]) -> None:
    extracted(rig)
    moved(rig)
    ask_for_masks(rig)
    queue_masks(rig)
    with InProcess(rig, PICTURE_WORKER):
        jobs = rig.wait_for_states("done", "done")
    assert json.loads(jobs[1]["counts"])["masked"] == FRAMES
    assert owners(aligned(rig)) + owners(rig.workspace / "data_src" / "aside") == ["dfld"] * FRAMES


def test_a_face_that_a_person_took_out_is_counted_and_a_mask_of_a_person_stays(rig: Rig) -> None:
    extracted(rig)
    taken, masked, *_ = sorted(aligned(rig).glob("*.jpg"))
    taken.unlink()
    data = masked.read_bytes()
    masked.write_bytes(with_metadata(data, replace(read_metadata(data), xseg_mask=b"\x89PNG of a person")))
    ask_for_masks(rig)
    queue_masks(rig)
    with InProcess(rig, PICTURE_WORKER):
        jobs = rig.wait_for_states("done", "done")
    counts = json.loads(jobs[1]["counts"])
    assert counts == {"masked": FRAMES - 2, "from hull": FRAMES - 2, "a person's": 1, "taken out": 1}
    assert owners(aligned(rig)).count("person") == 1


def test_masks_wait_while_another_program_of_dfld_holds_the_faceset_however_long(rig: Rig) -> None:
    rig.tables["retry"]["attempts"] = 2
    extracted(rig)
    ask_for_masks(rig)
    queue_masks(rig)
    with InProcess(rig, PICTURE_WORKER):
        with sole_user(aligned_folder(aligned(rig))):
            rig.wait_for_states("done", "waiting")
            (_, job) = rig.jobs()
            assert (job["reason"], job["attempts"]) == ("held", 0)
        rig.wait_for_states("done", "done")


def test_a_job_whose_inbox_asks_for_no_masks_any_more_says_so(rig: Rig) -> None:
    extracted(rig)
    queue_masks(rig)
    with InProcess(rig, PICTURE_WORKER):
        jobs = rig.wait_for_states("done", "failed")
    assert (jobs[1]["reason"], "asks for no masks" in jobs[1]["message"]) == ("settings", True)


def clip_request(rig: Rig, *faces: tuple[str, str], **asked: Any) -> ClipMaskRequest:
    return ClipMaskRequest(
        str(rig.workspace), "src", "clip", MaskAsked("hull", **asked), str(rig.base / "cache"), 1, tuple(faces)
    )


def test_the_values_of_a_mask_job_travel(rig: Rig) -> None:
    request = clip_request(rig, *((f"{number:032x}", f"{number}.jpg") for number in range(2500)))
    assert MASK_CODECS.request.decode(tuple(MASK_CODECS.request.encode(request))) == request


def test_a_stopped_job_goes_on_behind_its_last_piece_and_masks_all(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.worker.masker.FACES_A_COMMIT", 2)
    extracted(rig)
    request = clip_request(rig, whole_faceset=True)
    commits: list[MaskCommit] = []
    stop, masker = threading.Event(), Masker()

    def commit(one: MaskCommit) -> None:
        commits.append(one)
        stop.set()

    masker.load(request)
    nothing: Callable[[object], None] = lambda _progress: None  # noqa: E731
    first = masker.work(request, stop=stop, on_progress=nothing, on_commit=commit, resume=None)
    assert (first.completed, [one.next_face for one in commits]) == (False, [2])
    last = Masker().work(request, stop=threading.Event(), on_progress=nothing, on_commit=commit, resume=2)
    assert (last.completed, [one.next_face for one in commits]) == (True, [2, 4, FRAMES])
    assert sum(one.outcomes["masked"] for one in commits) == FRAMES
    assert owners(aligned(rig)) == ["dfld"] * FRAMES


def test_the_basis_names_the_attempt_of_the_clip_and_what_was_asked_for(rig: Rig) -> None:
    extracted(rig)
    request, masker = clip_request(rig, whole_faceset=True), Masker()
    bases = {
        masker.load(one)
        for one in (request, replace(request, attempt=2), clip_request(rig, replace_theirs=True, whole_faceset=True))
    }
    assert len(bases) == 3
    assert masker.load(request) in bases


def test_a_clip_that_is_not_done_is_not_masked(rig: Rig) -> None:
    extracted(rig)
    ask_for_masks(rig)
    queue_masks(rig)
    ledger = Ledger(rig.base / "state" / "ledger.db")
    try:
        ledger.write(lambda writer: writer.execute("UPDATE jobs SET state = 'failed' WHERE id = 1"))
        config = rig.config
        job = ledger.read(lambda reader: table.fetched(reader, 2))
        found = ledger.read(lambda reader: OF_MASKS.request(job, config.inboxes[0], config, reader, now_s=1.0))
    finally:
        ledger.close()
    assert isinstance(found, Failure)
    assert (found.outlook, found.reason) == ("setup", "unfinished")


def test_sources_of_masks_are_the_engines_everywhere() -> None:
    in_config, _ = get_args(get_type_hints(MasksConfig)["source"])
    assert set(get_args(MaskSourceName)) == set(get_args(in_config)) == set(get_args(MaskMode))
    assert set(MASK_SOURCES) == {*get_args(MaskMode), "polygons", OTHER} - {"auto"}
    assert set(MASK_CHECKS) == {*get_args(CheckName), OTHER}


@pytest.mark.parametrize(
    ("source", "keys"),
    [("xseg", ["xseg_model"]), ("parser", ["parser"]), ("intersect", ["xseg_model", "parser"]), ("auto", [])],
)
def test_a_source_that_needs_models_needs_their_keys(rig: Rig, source: str, keys: list[str]) -> None:
    ask_for_masks(rig, source=source)
    try:
        read_config(rig.config_path)
        missing = []
    except ConfigError as problem:
        missing = [one.key.rpartition(".")[2] for one in problem.problems]
    assert missing == keys


def test_networks_are_opened_again_only_when_their_files_change(rig: Rig, tmp_path: Path) -> None:
    masker, model = Masker(), tmp_path / "xseg"
    write_model(model, made_weights())
    write_parser(celebamask_model(), tmp_path / "parser.onnx")
    asked = MaskAsked("auto", str(model), parser=str(tmp_path / "parser.onnx"), include=("glasses", "hair"))
    request = replace(clip_request(rig), asked=asked)
    first = masker.load(request)
    opened = masker._sources(request)
    assert masker._sources(request) is opened
    assert {"xseg", "parser"} <= {line.partition(" ")[0] for line in opened.made_by.splitlines()}
    write_model(model, made_weights(seed=1))
    assert masker.load(request) != first, "other weights make other masks"
    assert masker._sources(request) is not opened
