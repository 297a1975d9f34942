"""A worker with a pretended engine: the real process, pipes and files, but "videos" that are a line of JSON.

    {"frames": 40, "pause_s": 0.01, "trace": "frames-worked-off", "die_at": 20, "signal": 11, "hang_at": 30}

Every frame gives one face whose bytes follow from clip and frame; a piece is PIECE_FRAMES long. What a video of a
person would take seconds for takes milliseconds here, so that hundreds of kills fit into a test.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.jobs.kinds.extract import EXTRACT_CODECS, Extracted, ExtractRequest, extracted
from daemon.worker.contract import IncompleteError, WorkerKind
from daemon.worker.process import main
from engine.errors import DiskFullError, InputError, ModelError, ReferencePhotoError
from engine.face_id import box_of, face_id
from engine.face_record import FaceRecord
from engine.reasons import MANUAL_CHANGE
from engine.results.manifest_lines import RunNote
from engine.results.run_results import Results
from engine.same_face import FaceTrace
from engine.types import WHOLE, Commit, Counts, Cursor, ExtractReport, Progress, Resume, SourceVerdict
from engine.workspace.file_names import Layout, inbox_layout
from engine.workspace.output_files import prepare_workspace, sync_folders, write_file

PIECE_FRAMES = 10


def fake_video(**settings: Any) -> bytes:
    """Return the bytes of a pretended video; `name` makes two with the same settings differ."""
    return json.dumps(settings).encode() + b"\n" + b"." * 8192


class FakeExtractor:
    def picture(self, order: ExtractRequest, frame: int, face_id: str) -> bytes:
        """Return the bytes of a face's file: no picture, here."""
        return pretended_picture(order, frame, face_id)

    def try_source(self, order: ExtractRequest) -> None:
        video = read_video(Path(order.source))
        if video.get("incomplete") and not order.take_incomplete:
            raise IncompleteError("its end is not there yet")
        if video.get("kill_in_trying"):
            os.kill(os.getpid(), video["kill_in_trying"])

    def load(self, order: ExtractRequest) -> str:
        for reference in order.references:
            if not Path(reference).exists():
                raise ReferencePhotoError(f"{reference}: no such photo")
        if order.model_pack == "missing":
            raise ModelError("the model pack is missing", hint="put it there")
        return json.dumps([order.references, order.backend])

    def work(
        self,
        order: ExtractRequest,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[Commit], None],
        resume: Resume | None,
    ) -> Extracted:
        video, layout = read_video(Path(order.source)), layout_of(order)
        prepare_workspace(layout)
        note = RunNote(order.source, order.notes.get("sha256", ""), self.load(order))
        with (
            Path(order.source).open("rb"),
            Results(layout, note, resumes=resume is not None, discard=order.discard) as results,
        ):
            return self._work(video, layout, results, order, stop, on_progress, on_commit, resume)

    def _work(
        self,
        video: dict[str, Any],
        layout: Layout,
        results: Results,
        order: ExtractRequest,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[Commit], None],
        resume: Resume | None,
    ) -> Extracted:
        frames = int(video["frames"])
        begin = resume.cursor.next_frame if resume else 0
        records = list(resume.records) if resume else []
        while begin < frames and not stop.is_set():
            end = min(begin + PIECE_FRAMES, frames)
            piece = []
            for frame in range(begin, end):
                misbehave(video, frame)
                note(video, order, frame)
                piece.append(write_face(results, order, frame, self.picture))
                undecided = video.get("undecided", 0)
                on_progress(Progress(frame + 1, frames, len(records) + len(piece), 0, {}, faces_undecided=undecided))
                stop.wait(video.get("pause_s", 0.0))
            sync_folders(layout.folders)
            results.committed(end)
            records += piece
            on_commit(Commit(Cursor(end, end - 1), tuple(piece), Counts(end, end, 0), carry=f"at {end}"))
            begin = end
        made = report(order, layout, records, begin, completed=begin >= frames)
        if made.completed:
            results.finished()
        return made


def read_video(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            video = json.loads(file.readline(4096))
    except ValueError as problem:
        raise InputError(f"{path}: is not a video") from problem
    assert isinstance(video, dict)
    return video


def misbehave(video: dict[str, Any], frame: int) -> None:
    if frame == video.get("die_at"):
        os.kill(os.getpid(), video.get("signal", 11))
    if frame == video.get("raise_at"):
        raise KeyError("a bug that nobody foresaw")
    if frame == video.get("hang_at"):
        threading.Event().wait()
    if frame == video.get("grow_at"):
        video["hog"] = bytearray(video.get("grow_bytes", 1 << 30))
    if frame == video.get("fail_at"):
        flag = Path(video["until"])
        if not flag.exists():
            raise {
                "no_space": DiskFullError("no space"),
                "memory": MemoryError(),
                "input": InputError("the file is broken"),
                "disk": OSError(errno.EIO, "input/output error"),
            }[video["fail"]]


def note(video: dict[str, Any], order: ExtractRequest, frame: int) -> None:
    """Write down that a frame is worked off, for tests that count what is done twice."""
    if "trace" in video:
        with Path(video["trace"]).open("a") as trace:
            trace.write(f"{order.slug}:{frame}\n")


def pretended_picture(order: ExtractRequest, frame: int, _face_id: str) -> bytes:
    return hashlib.sha256(f"{order.slug} {frame}".encode()).digest() * 16


def write_face(
    results: Results,
    order: ExtractRequest,
    frame: int,
    picture_of: Callable[[ExtractRequest, int, str], bytes] = pretended_picture,
) -> FaceRecord:
    box = (1.0, 2.0, 3.0, 4.5)
    one = face_id(order.notes.get("sha256", "0" * 64), frame, box_of(box))
    trace = FaceTrace(f"{frame:08d}", (1, 2, 3, 4), face_id=one)
    picture = picture_of(order, frame, one)
    name = None if results.is_decided(trace) else results.write_face("aligned", frame, 0, "jpg", picture, None, trace)
    reason = "accepted" if name else MANUAL_CHANGE
    return FaceRecord(frame, frame, 0, box, 0.9, 0.1 + 1 / 3, bool(name), reason, name, face_id=one)


def layout_of(order: ExtractRequest) -> Layout:
    return inbox_layout(Path(order.workspace), order.role, order.slug)


def report(
    order: ExtractRequest,
    layout: Layout,
    records: list[FaceRecord],
    frames: int,
    *,
    completed: bool,
    packets_damaged: int = 0,
    warnings: tuple[str, ...] = (),
    verdict: SourceVerdict = WHOLE,
) -> Extracted:
    log = {"source": order.source, "notes": dict(order.notes), "at": time.time(), "completed": completed}
    write_file(layout.log, json.dumps(log).encode())
    return extracted(
        ExtractReport(
            source=Path(order.source),
            workspace=layout.root,
            frames_total=frames,
            frames_decoded=frames,
            frames_examined=frames,
            packets_damaged=packets_damaged,
            faces_found=len(records),
            faces_kept=sum(one.kept for one in records),
            reasons={"accepted": len(records)},
            stage_seconds={},
            log_path=layout.log,
            preview_path=None,
            warnings=warnings,
            completed=completed,
            verdict=verdict,
        )
    )


if __name__ == "__main__":
    main({"extract": WorkerKind(EXTRACT_CODECS, FakeExtractor)})
