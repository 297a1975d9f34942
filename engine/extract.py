"""The pipeline from a video to a workspace; the one seam of the engine that the daemon and the CLI call.

Work goes window by window (engine.clip.windows): read and scouted, its tracks judged, the wanted ones filled in and
written, then committed. Whoever stores the commits can go on after any crash and gets the same files as an
undisturbed run: what one window hands to the next goes through the commit's `carry` in every run.
"""

from __future__ import annotations

import hashlib
import json
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from engine.backends.backend import Backend, BackendInfo
from engine.clip.after_last_window import accept_known, drop_near_duplicates, revisions
from engine.clip.judged_windows import JudgedWindow, JudgedWindows
from engine.clip.resume_state import carry_from_json
from engine.clip.timed_backend import TimedBackend
from engine.clip.windows import Footage
from engine.clip.write_window import known_ids, write_window
from engine.errors import InputError
from engine.face_id import is_sha256
from engine.face_record import FaceRecord
from engine.footage.source_hash import source_sha256
from engine.footage.verdict import verdict_on
from engine.footage.video import open_frames
from engine.frames.contract import DecodedFrame, FrameReader, look_at_source
from engine.frames.prefetch import Prefetch
from engine.frames.stretch import StretchReader
from engine.identity.embedding import require_same_recogniser
from engine.identity.same_person import Rule
from engine.models.accelerators import CUDA_PROVIDER
from engine.results.manifest_lines import RunNote
from engine.results.run_results import Results
from engine.revision import revision_of
from engine.steps import Steps
from engine.stopwatch import QueueFill, Stopwatch
from engine.types import WHOLE, Commit, Counts, ExtractReport, ExtractSettings, Identity, Progress, Resume
from engine.workspace.extract_report import Subject, finish, make_report, write_log
from engine.workspace.face_writer import FaceWriter
from engine.workspace.file_names import Layout
from engine.workspace.output_files import prepare_workspace, sync_folders


def _ignore(reported: object) -> None:
    """Stand in for a callback nobody gave."""
    del reported


def extract(
    source: Path,
    layout: Layout,
    *,
    identity: Identity,
    backend: Backend,
    settings: ExtractSettings,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] = _ignore,
    on_commit: Callable[[Commit], None] = _ignore,
    resume: Resume | None = None,
    notes: Mapping[str, str] | None = None,
    within: Sequence[Path] | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    discard: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> ExtractReport:
    """Find the identity's faces in a video or image folder and write them as a DeepFaceLab workspace.

    Call `on_commit` after each finished piece, and once more where the end of the clip changes faces that were
    committed before; `resume` goes on where such commits ended. When `stop` is set, leave
    the piece that is being read to the next run and return with `completed=False`. Frames outside start_s to end_s
    are left out. `within`: folders that the source must really lie in, where strangers may have put it; None = the
    operator named it. `discard`: see Results. Raise InputError for what cannot be read, OutputError for what cannot be
    written, SettingsError when identity and backend do not fit.
    """
    require_same_recogniser(identity, backend)
    rule = run_rule(settings, backend.info)
    subject = Subject(
        source,
        layout,
        identity,
        backend.info,
        settings,
        rule.threshold,
        notes or {},
        None if within is None else tuple(within),
    )
    note = run_note(source, identity, backend.info, settings, subject.notes)
    run = _Run(subject, rule, backend, stop, on_progress, on_commit, resume, clock)
    opened = open_frames(
        source,
        after=resume.cursor if resume else None,
        on_gpu=backend.info.device == CUDA_PROVIDER,
        within=within,
        form=subject.form,
        step=run.steps.step,
    )
    with StretchReader(opened, start_s=start_s, end_s=end_s, step=run.steps.step) as reader:
        prepare_workspace(layout)

        def begin() -> None:
            write_log(run.report((), completed=False), (), subject)

        with Results(layout, note, resumes=resume is not None, discard=discard, on_begin=begin) as results:
            run.total = reader.info.frames_estimate
            sha256 = subject.notes.get("sha256", "")
            if not is_sha256(sha256):
                sha256 = source_sha256(source, within=within, stop=stop, step=run.steps.step)
            run.work(reader, results, sha256)
            if not stop.is_set():
                run.close(results)
                evidence = reader.evidence()
                run.damaged_by_the_end(evidence.damaged)
                run.verdict = verdict_on(replace(evidence, damaged=run.counts.packets_damaged))
            notices = (*backend.info.warnings, *reader.warnings)
            completed = not stop.is_set()
            if completed and not run.counts.frames_decoded:
                raise InputError(f"{source}: not one frame could be decoded", hint="the file is damaged or empty")
            report = run.report(notices, completed=completed)
            if results.has_begun:
                report = finish(report, run.records, subject)
            if completed:
                results.finished()
    return report


class _Run:
    """One call of `extract`: what changes while it works; the caller's thread alone touches it."""

    def __init__(
        self,
        subject: Subject,
        rule: Rule,
        backend: Backend,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[Commit], None],
        resume: Resume | None,
        clock: Callable[[], float],
    ) -> None:
        self.subject = subject
        self.footage = Footage(subject.source, subject.settings.frame_skip, subject.within, subject.form)
        self.rule = rule
        self.watch = Stopwatch()
        self.writing = Stopwatch()
        self.backend = TimedBackend(backend, self.watch)
        self.records = list(resume.records) if resume else []
        self.counts = resume.counts if resume else Counts()
        self.total: int | None = None
        self.verdict = WHOLE
        self._carry = resume.carry if resume else ""
        self._cursor = resume.cursor if resume else None
        self._damaged_before = self.counts.packets_damaged
        self._stop = stop
        self._on_progress = on_progress
        self._on_commit = on_commit
        self.steps = Steps(self._report_progress, clock)
        self._done = resume.cursor.next_frame if resume else 0
        self._kept = sum(record.kept for record in self.records)
        self._queues: Mapping[str, QueueFill] = {}
        self._windows: JudgedWindows | None = None
        self._filled_in = 0
        """Faces seen in the window that is being filled in; none is counted as kept before its commit."""

    def work(self, reader: FrameReader, results: Results, sha256: str) -> None:
        """Take window after window until the footage ends or the run is stopped. `sha256`: of the source, for ids."""
        subject, known = self.subject, known_ids(sha256, self.records)
        with (
            Prefetch(reader, on_wait=self.steps.report_if_due) as frames,
            FaceWriter(subject.layout, results, subject.settings, self.writing, source_sha256=sha256) as writer,
            ThreadPoolExecutor(1, thread_name_prefix="fill") as filler,
        ):
            self._queues = {"decoded": frames.fill, "faces": writer.fill}
            self._windows = JudgedWindows(
                self._taken(self.watch.each("decode", frames), writer),
                self.footage,
                self.backend,
                self.subject.identity,
                self.rule,
                min_confidence=self.subject.settings.min_confidence,
                average_rate=reader.info.average_rate,
                stop=self._stop,
                after=self._cursor,
                carry=self._carry,
                step=self.steps.step,
            )
            # The next window is scouted while this one is filled in; commits keep their order.
            before: tuple[JudgedWindow, Future[tuple[FaceRecord, ...]]] | None = None
            for judged in self._windows:
                if before is not None:
                    known = known.after(self._commit(*before, writer, results))
                self._filled_in = judged.decision.faces_seen
                faces = filler.submit(
                    write_window, judged, self.footage, self.subject, self.backend, writer, known, self.steps.step
                )
                before = judged, faces
            if before is not None:
                self._commit(*before, writer, results)

    def _taken(self, frames: Iterator[DecodedFrame], writer: FaceWriter) -> Iterator[DecodedFrame]:
        """Pass the frames on, each written for the merger and counted as progress; once stopped, no more are."""
        for decoded in frames:
            if not self._stop.is_set():
                if self.subject.layout.frames is not None:
                    with self.watch.stage("convert"):
                        frame = decoded.to_frame()
                    writer.write_frame(frame)
                self._done = decoded.index + 1
                self.steps.step()
            yield decoded

    def close(self, results: Results) -> None:
        """Do what only the whole clip can show: see engine.clip.after_last_window."""
        carry, layout = carry_from_json(self._carry), self.subject.layout
        committed = tuple(self.records)
        with self.watch.stage("close"):
            metric = self.subject.identity.metric
            self.records = accept_known(self.records, carry.waiting, carry.gallery, metric, results, self.steps.step)
            if self.subject.settings.keep == "varied":
                self.records = drop_near_duplicates(self.records, layout, results, self.steps.step)
            sync_folders(layout.folders)
        revised = revisions(committed, self.records)
        if revised and self._cursor is not None:
            self._on_commit(Commit(self._cursor, (), self.counts, self._carry, revised))

    def damaged_by_the_end(self, packets: int) -> None:
        """Count what is damaged behind the last sound picture too: no window, and so no commit, holds it."""
        self.counts = replace(self.counts, packets_damaged=self._damaged_before + packets)

    def report(self, notices: tuple[str, ...], *, completed: bool) -> ExtractReport:
        return make_report(
            self.subject,
            self.records,
            self.counts,
            total=self.total,
            notices=notices,
            stage_seconds=self._stage_seconds(),
            queue_fill={queue: fill.mean for queue, fill in self._queues.items()},
            completed=completed,
            verdict=self.verdict,
        )

    def _commit(
        self, judged: JudgedWindow, faces: Future[tuple[FaceRecord, ...]], writer: FaceWriter, results: Results
    ) -> tuple[FaceRecord, ...]:
        """Wait for a window's faces and hand them over for good; return their records."""
        window, cursor = judged.window, judged.window.end
        with self.watch.stage("wait for faces"):
            fresh = self.steps.result_of(faces)
            writer.wait()
            sync_folders(self.subject.layout.folders)
            results.committed(cursor.next_frame)
        self.records.extend(fresh)
        self._kept += sum(record.kept for record in fresh)
        self.counts = Counts(
            frames_decoded=self.counts.frames_decoded + window.frames,
            frames_examined=self.counts.frames_examined + window.examined,
            packets_damaged=self._damaged_before + window.packets_damaged,
        )
        self._carry, self._cursor = judged.carry, cursor
        self._on_commit(Commit(cursor, fresh, self.counts, judged.carry))
        self._done, self._filled_in = cursor.next_frame, 0
        self.steps.report()
        return fresh

    def _report_progress(self) -> None:
        rejected = len(self.records) - self._kept
        self._on_progress(
            Progress(
                frames_done=self._done,
                frames_total=self.total,
                faces_kept=self._kept,
                faces_rejected=rejected,
                stage_seconds=self._stage_seconds(),
                queue_seconds=self._queue_seconds(),
                faces_undecided=self._filled_in + (self._windows.faces_seen if self._windows else 0),
            )
        )

    def _stage_seconds(self) -> dict[str, float]:
        stages = Stopwatch()
        stages.add(self.watch.seconds)
        stages.add(self.writing.seconds)
        return stages.seconds

    def _queue_seconds(self) -> dict[str, float]:
        return {queue: fill.fraction_seconds for queue, fill in self._queues.items()}


def run_rule(settings: ExtractSettings, info: BackendInfo) -> Rule:
    """Return the limits of a run: the threshold that is set, or the recogniser's own for "auto"."""
    return Rule(settings.similarity_threshold or info.default_threshold, info.default_threshold)


def run_note(
    source: Path,
    identity: Identity,
    info: BackendInfo,
    settings: ExtractSettings,
    notes: Mapping[str, str] | None = None,
) -> RunNote:
    """Return what a run is made from: two with equal notes write the same files. Raise InputError.

    What stands for the content is its hash where `notes` has one, else the file's size and time. A folder counts as
    the same content while it has the same path: its pictures are distinguished by their names.
    """
    values: list[object] = [identity.name, info.name, [model.sha256 for model in info.models], asdict(settings)]
    revision = revision_of(settings)
    if revision > 1:  # notes of revision 1 were made before there were revisions
        values.append(revision)
    basis = hashlib.sha256(json.dumps(values, sort_keys=True).encode(errors="backslashreplace"))
    basis.update(np.ascontiguousarray(identity.embeddings).tobytes())
    status = look_at_source(source)
    content = f"folder {source}" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} {status.st_mtime_ns}"
    return RunNote(str(source), (notes or {}).get("sha256", content), basis.hexdigest())
