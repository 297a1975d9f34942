"""The pipeline from a video to a workspace; the one seam of the engine that the daemon and the CLI call.

Work goes window by window (engine.search.windows): read and scouted, its tracks judged, the wanted ones filled in and
written, then committed. Whoever stores the commits can go on after any crash and gets the same files as an
undisturbed run: what one window hands to the next goes through the commit's `carry` in every run.
"""

from __future__ import annotations

import hashlib
import json
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from engine.backends.accelerators import CUDA_PROVIDER
from engine.backends.backend import Backend, BackendInfo
from engine.clip.carry import Carry, carry_from_json, carry_to_json
from engine.clip.closing import accept_known, drop_near_duplicates, revisions
from engine.clip.decide import decide
from engine.clip.fill_in import Looks, write_window
from engine.errors import InputError, SettingsError
from engine.footage.verdict import verdict_on
from engine.footage.video import open_frames
from engine.frames.contract import DecodedFrame, FrameReader, look_at_source
from engine.frames.prefetch import Prefetch
from engine.frames.stretch import StretchReader
from engine.identity.same_person import Rule
from engine.search.scout import Scout
from engine.search.windows import Window, WindowReader, window_frames
from engine.steps import Steps
from engine.stopwatch import QueueFill, Stopwatch
from engine.timed_backend import TimedBackend
from engine.tracks.review_tracks import still_waiting
from engine.types import (
    WHOLE,
    Commit,
    Counts,
    Cursor,
    ExtractReport,
    ExtractSettings,
    FaceRecord,
    Identity,
    Progress,
    Resume,
)
from engine.workspace.extract_report import Subject, finish, make_report, write_log
from engine.workspace.face_writer import FaceWriter
from engine.workspace.manifest import RunNote
from engine.workspace.results import Results
from engine.workspace.workspace import Layout, prepare_workspace, sync_folders

USUAL_RATE = 25.0
"""Frames a second for which intervals are written; folders of images count as such."""


def _ignore(told: object) -> None:
    """Stand in for a callback nobody gave."""
    del told


def _nothing() -> None:
    """Stand in for the window before the first."""


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

    Call `on_commit` after each finished piece, and once more where the end of the clip tells more about faces that
    were committed before; `resume` takes up where such commits ended. When `stop` is set, leave
    the piece that is being read to the next run and return with `completed=False`. Frames outside start_s to end_s
    are left out. `within`: folders that the source must really lie in, where strangers may have put it; None = the
    operator named it. `discard`: see Results. Raise InputError for what cannot be read, OutputError for what cannot be
    written, SettingsError when identity and backend do not fit.
    """
    require_same_recogniser(identity, backend)
    threshold = settings.similarity_threshold or backend.info.default_threshold
    subject = Subject(
        source,
        layout,
        identity,
        backend.info,
        settings,
        threshold,
        notes or {},
        None if within is None else tuple(within),
    )
    note = run_note(source, identity, backend.info, settings, subject.notes)
    run = _Run(subject, backend, stop, on_progress, on_commit, resume, clock)
    after = resume.cursor if resume else None
    opened = open_frames(
        source,
        after=after,
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
            rate = float(reader.info.average_rate or USUAL_RATE)
            run.work(reader, results, rate=min(max(rate, 1.0), 240.0), after=after)
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
        backend: Backend,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[Commit], None],
        resume: Resume | None,
        clock: Callable[[], float],
    ) -> None:
        self.subject = subject
        self.watch = Stopwatch()
        self.writing = Stopwatch()
        self.backend = TimedBackend(backend, self.watch)
        self.rule = Rule(subject.threshold, backend.info.default_threshold)
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
        self.steps = Steps(self._tell, clock)
        self._done = resume.cursor.next_frame if resume else 0
        self._kept = sum(record.kept for record in self.records)
        self._queues: Mapping[str, QueueFill] = {}
        self._scouted: Callable[[], int] = int
        """Faces seen in the window that is being scouted."""
        self._filled_in = 0
        """Faces seen in the window that is being filled in; none is counted as kept before its commit."""

    def work(self, reader: FrameReader, results: Results, *, rate: float, after: Cursor | None) -> None:
        """Take window after window until the footage ends or `stop` is set."""
        with (
            Prefetch(reader, on_wait=self.steps.tell_if_due) as frames,
            FaceWriter(self.subject.layout, results, self.subject.settings, self.writing) as writer,
            ThreadPoolExecutor(1, thread_name_prefix="fill") as filler,
        ):
            self._queues = {"decoded": frames.fill, "faces": writer.fill}
            scout = Scout(
                self.backend,
                self.subject.identity,
                self.rule,
                self.subject.settings.min_confidence,
                rate_scale=rate / USUAL_RATE,
            )
            carry = carry_from_json(self._carry)
            written: Callable[[], None] = _nothing
            windows = WindowReader(
                self.watch.each("decode", frames),
                scout,
                frame_skip=self.subject.settings.frame_skip,
                frames_per_second=rate,
                each=lambda decoded: self._take(decoded, writer),
                stop=self._stop,
            )
            while True:
                scout.state = carry.scout
                self._scouted = partial(scout.faces_seen, after.next_frame if after else 0)
                window = windows.next_window(carry.shot)
                if window is None:
                    written()
                    return
                decision = decide(
                    scout,
                    self.backend,
                    self.subject.identity,
                    self.rule,
                    gallery=carry.gallery,
                    accepted=carry.accepted,
                    first_frame=window.first,
                    examined=window.examined,
                    frames=partial(
                        window_frames,
                        window,
                        self.subject.source,
                        after,
                        frame_skip=self.subject.settings.frame_skip,
                        within=self.subject.within,
                        form=self.subject.form,
                        step=self.steps.step,
                    ),
                )
                written()
                self._filled_in = self._scouted()
                looks = Looks(frozenset(scout.births), frozenset(scout.full_looks))
                fill = partial(write_window, after=after, step=self.steps.step)
                faces = filler.submit(fill, window, decision, looks, self.subject, self.backend, writer)
                scout.end_window()
                after = Cursor(window.last.index + 1, window.last.pts)
                # Through text and back, so that this run goes on from what a resumed one would find.
                metric = self.subject.identity.metric
                waiting = still_waiting(carry.waiting, decision.tracks, decision.verdicts, metric)
                state = Carry(scout.state, window.shot, decision.gallery, waiting, decision.accepted)
                text = carry_to_json(state)
                carry = carry_from_json(text)
                # The next window is scouted while this one is filled in; commits keep their order.
                written = partial(self._commit, window, faces, after, text, writer, results)

    def close(self, results: Results) -> None:
        """Do what only the whole clip can tell: see engine.clip.closing."""
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
        """Count what is damaged behind the last sound picture too: no window, and so no commit, tells of it."""
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
        self,
        window: Window,
        faces: Future[tuple[FaceRecord, ...]],
        cursor: Cursor,
        carry: str,
        writer: FaceWriter,
        results: Results,
    ) -> None:
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
            packets_damaged=self._damaged_before + window.last.packets_damaged,
        )
        self._carry, self._cursor = carry, cursor
        self._on_commit(Commit(cursor, fresh, self.counts, carry))
        self._done, self._filled_in = cursor.next_frame, 0
        self.steps.tell()

    def _take(self, decoded: DecodedFrame, writer: FaceWriter) -> None:
        """Do what every frame asks for: write it for the merger, tell progress."""
        if self.subject.layout.frames is not None:
            with self.watch.stage("convert"):
                frame = decoded.to_frame()
            writer.write_frame(frame)
        self._done = decoded.index + 1
        self.steps.step()

    def _tell(self) -> None:
        rejected = len(self.records) - self._kept
        self._on_progress(
            Progress(
                frames_done=self._done,
                frames_total=self.total,
                faces_kept=self._kept,
                faces_rejected=rejected,
                stage_seconds=self._stage_seconds(),
                queue_seconds=self._queue_seconds(),
                faces_undecided=self._filled_in + self._scouted(),
            )
        )

    def _stage_seconds(self) -> dict[str, float]:
        stages = Stopwatch()
        stages.add(self.watch.seconds)
        stages.add(self.writing.seconds)
        return stages.seconds

    def _queue_seconds(self) -> dict[str, float]:
        return {queue: fill.share_seconds for queue, fill in self._queues.items()}


def run_note(
    source: Path,
    identity: Identity,
    info: BackendInfo,
    settings: ExtractSettings,
    notes: Mapping[str, str] | None = None,
) -> RunNote:
    """Return what a run is made from: two with equal notes write the same files. Raise InputError.

    What stands for the content is its hash where `notes` has one, else the file's size and time. A folder counts as
    the same content while it has the same path: its pictures are told by their names.
    """
    values = [identity.name, info.name, [model.sha256 for model in info.models], asdict(settings)]
    basis = hashlib.sha256(json.dumps(values, sort_keys=True).encode(errors="backslashreplace"))
    basis.update(np.ascontiguousarray(identity.embeddings).tobytes())
    status = look_at_source(source)
    content = f"folder {source}" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} {status.st_mtime_ns}"
    return RunNote(str(source), (notes or {}).get("sha256", content), basis.hexdigest())


def require_same_recogniser(identity: Identity, backend: Backend) -> None:
    """Raise SettingsError where the embeddings of `identity` and `backend` cannot be compared."""
    info = backend.info
    if (identity.model, identity.embeddings.shape[1]) != (info.recognition_model, info.embedding_size):
        raise SettingsError(
            f"the identity {identity.name!r} was made with {identity.backend} ({identity.model}), "
            f"this run uses {info.name} ({info.recognition_model}); their embeddings cannot be compared",
            hint="make the identity again with the backend and model pack of this run",
        )
