"""One face that a person points at, followed through its shot and written like any extraction.

    the shot of the time found → the face in the box → followed back to where the shot begins, and on to where it ends
    → parts in which it is somebody else cut off → one judged window → written by the writer of extractions

Nothing is matched: the decision is the person's, and so is the reason in every record (engine.reasons.BY_HAND). The
similarity that stands there is that to the face which was pointed at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np

from engine.backends.backend import Backend
from engine.by_hand.follow_given import Followed, GivenFace, refused_track, track_of
from engine.by_hand.given_face import face_in_box, identity_of_face
from engine.by_hand.shot import ShotSoFar, rest_of_shot, shot_of
from engine.clip.judge_window import Decision
from engine.clip.judged_windows import JudgedWindow
from engine.clip.windows import Footage, Window
from engine.clip.write_window import known_ids, write_window
from engine.errors import InputError
from engine.extract import run_note, run_rule
from engine.face_id import face_id
from engine.face_record import FaceRecord
from engine.footage.source_hash import source_sha256
from engine.footage.video import open_frames
from engine.frames.contract import DecodedFrame, FrameForm, VideoInfo
from engine.frames.stretch import seconds_of
from engine.reasons import BY_HAND, NO_MATCH, NOT_VARIED, RESCUED
from engine.results.manifest import manifest_in, manifest_path, manifest_paths
from engine.results.run_results import Results
from engine.same_face import FaceTrace, is_at_same_place
from engine.search.observer import Observer
from engine.search.scout import Scout, ScoutSettings
from engine.steps import Steps
from engine.stopwatch import Stopwatch
from engine.tracks.track import Sighting, Track
from engine.tracks.verdicts import Gallery, TrackVerdict
from engine.types import Counts, Cursor, ExtractReport, ExtractSettings, Identity, Progress
from engine.workspace.extract_report import Subject, finish, make_report, write_log
from engine.workspace.face_writer import FaceWriter
from engine.workspace.file_names import Layout
from engine.workspace.output_files import prepare_workspace, sync_folders


@dataclass(frozen=True)
class Pointer:
    """What a person points at."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom, px of the upright frame."""
    at_s: float
    """From the first frame of the footage."""
    from_s: float | None = None
    until_s: float | None = None
    """Between which times it is followed; None: from where the shot begins, to where it ends."""

    @property
    def name(self) -> str:
        """Return `the face at 12.4 s`: what the log calls the person."""
        return f"the face at {self.at_s:g} s"


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the passes over the footage have shown."""

    identity: Identity
    track: Track
    others: Track | None
    """Somebody else, where the face was away for a while."""
    shot: ShotSoFar
    examined: int
    total: int | None
    notices: tuple[str, ...]


def track_by_hand(
    source: Path,
    layout: Layout,
    *,
    pointer: Pointer,
    backend: Backend,
    settings: ExtractSettings,
    stop: threading.Event,
    on_progress: Callable[[Progress], None],
    discard: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> ExtractReport | None:
    """Follow a face of a video or image folder through its shot, and write it as a DeepFaceLab workspace.

    `discard`: as in engine.results.run_results.Results. A run that was stopped or killed begins anew; None where it was
    stopped before the face was found. Raise InputError where the footage cannot be read, is shorter, or shows no face
    there; OutputError for what cannot be written.
    """
    run = _Run(source, pointer, backend, settings, stop, on_progress, clock)
    seen = run.look()
    if seen is None:
        return None
    subject = Subject(
        source, layout, seen.identity, backend.info, settings, run_rule(settings, backend.info).threshold, {}
    )
    if stop.is_set():
        return _report(subject, (), seen, completed=False)
    note = run_note(source, seen.identity, backend.info, settings)
    prepare_workspace(layout)

    def begin() -> None:
        write_log(_report(subject, (), seen, completed=False), (), subject)

    with Results(layout, note, resumes=False, discard=discard, on_begin=begin) as results:
        sha256 = source_sha256(source, stop=stop, step=run.steps.step)
        if stop.is_set():
            return _report(subject, (), seen, completed=False)
        with FaceWriter(layout, results, settings, Stopwatch(), source_sha256=sha256) as writer:
            judged = _window(seen, subject, backend)
            footage = Footage(source, form=subject.form)
            found = write_window(judged, footage, subject, backend, writer, known_ids(sha256, ()), run.steps.step)
            writer.wait()
        records = _by_hand(found)
        records = _without_known(records, layout, results, sha256)
        sync_folders(layout.folders)
        results.committed(judged.window.end.next_frame)
        report = finish(_report(subject, records, seen, completed=True), records, subject)
        results.finished()
    return report


class _Run:
    """One call of `track_by_hand`: the passes that write nothing."""

    def __init__(
        self,
        source: Path,
        pointer: Pointer,
        backend: Backend,
        settings: ExtractSettings,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        clock: Callable[[], float],
    ) -> None:
        self._source = source
        self._pointer = pointer
        self._backend = backend
        self._settings = settings
        self._stop = stop
        self._on_progress = on_progress
        self._done = 0
        self._seen = 0
        self._total: int | None = None
        self.steps = Steps(self._report, clock)

    def look(self) -> _Seen | None:
        """Find the face and follow it both ways; None where the run was stopped before."""
        pointer, backend = self._pointer, self._backend
        confidence = self._settings.min_confidence
        with self._open(None) as (frames, info, warnings):
            self._total = info.frames_estimate
            shot = shot_of(frames, lambda decoded: seconds_of(decoded, info) >= pointer.at_s)
            if shot is None and self._stop.is_set():
                return None
            if shot is None:
                raise InputError(f"{self._source} has no frame at {pointer.at_s:g} s", hint="give a time within it")
            given = shot.frame
            face = face_in_box(backend, given, np.array(pointer.box), confidence)
            identity = identity_of_face(backend, given.to_frame().pixels, face, name=pointer.name)
            observer = Observer(backend, identity, confidence)
            (sample,) = observer.sample(given, [face])
            start = Sighting(given.index, face, given.pts)
            on = GivenFace(observer, start, sample)
            ahead = rest_of_shot(frames, shot.state)
            on.follow(takewhile(lambda decoded: self._is_before_end(decoded, info), ahead), self._step)
            notices = warnings()
        back = GivenFace(observer, start, sample)
        for place in reversed(range(len(shot.pieces))):
            if back.is_lost or self._stop.is_set():
                break
            back.follow(self._piece_backwards(shot, place), self._step)
        track = track_of(start, sample, back.followed, on.followed, observer)
        examined = track.last.frame - track.sightings[0].frame + 1
        others = refused_track(back.followed, on.followed, track)
        return _Seen(
            identity, track, others, shot, examined, self._total, (*notices, *_lost(back.followed, on.followed))
        )

    def _piece_backwards(self, shot: ShotSoFar, place: int) -> Iterator[DecodedFrame]:
        """Yield the frames of one piece of the shot before the given one, the last first."""
        piece = shot.pieces[place]
        end = shot.pieces[place + 1].first if place + 1 < len(shot.pieces) else shot.frame.index
        with self._open(piece.after) as (frames, info, _):
            held = [
                decoded
                for decoded in takewhile(lambda one: one.index < end, frames)
                if self._pointer.from_s is None or seconds_of(decoded, info) >= self._pointer.from_s
            ]
        return reversed(held)

    def _is_before_end(self, decoded: DecodedFrame, info: VideoInfo) -> bool:
        until = self._pointer.until_s
        return until is None or seconds_of(decoded, info) <= until

    @contextmanager
    def _open(
        self, after: Cursor | None
    ) -> Iterator[tuple[Iterator[DecodedFrame], VideoInfo, Callable[[], tuple[str, ...]]]]:
        """Open the footage; its frames end once the run is stopped."""
        form = FrameForm(tone_map=self._settings.tone_map)
        with open_frames(self._source, after=after, form=form, step=self.steps.step) as reader:

            def frames() -> Iterator[DecodedFrame]:
                for decoded in reader:
                    if self._stop.is_set():
                        return
                    self._done = max(self._done, decoded.index + 1)
                    self.steps.step()
                    yield decoded

            yield frames(), reader.info, lambda: tuple(reader.warnings)

    def _step(self) -> None:
        self._seen += 1
        self.steps.step()

    def _report(self) -> None:
        self._on_progress(
            Progress(
                frames_done=self._done,
                frames_total=self._total,
                faces_kept=0,
                faces_rejected=0,
                stage_seconds={},
                faces_undecided=self._seen,
            )
        )


def _lost(back: Followed, on: Followed) -> Iterator[str]:
    for followed, word in ((back, "before"), (on, "after")):
        if followed.is_lost:
            last = followed.sightings[-1].frame if followed.sightings else None
            where = "at once" if last is None else f"{word} frame {last}"
            yield f"the face was lost {where}, and not seen again; point at it there for the rest of the shot"


def _window(seen: _Seen, subject: Subject, backend: Backend) -> JudgedWindow:
    """Return the frames of a track as a window in which the person has accepted it."""
    track, info = seen.track, backend.info
    first, last = track.sightings[0], track.last
    piece = max((one for one in seen.shot.pieces if one.first <= first.frame), key=lambda one: one.first)
    rule = run_rule(subject.settings, info)
    # Every frame counts as looked at: what a track holds is all that there is to be found.
    looks = tuple(range(first.frame, last.frame + 1))
    scout = Scout(ScoutSettings(subject.identity, rule, info.detection_side_px), looks=looks, full_looks=looks)
    end = Cursor(last.frame + 1, last.pts)
    window = Window(
        after=piece.after,
        first=piece.first,
        end=end,
        frames=last.frame - piece.first + 1,
        packets_damaged=0,
        examined=seen.examined,
        kept=None,
        shot=None,
        scout=scout,
    )
    verdicts = {track.id: TrackVerdict("accepted", BY_HAND, 1.0, len(track.samples))}
    tracks = (track,) if seen.others is None else (track, seen.others)
    if seen.others is not None:
        verdicts[seen.others.id] = TrackVerdict("rejected", NO_MATCH, -1.0, 0)
    decision = Decision(tracks, verdicts, {}, Gallery(), frozenset(), first.frame)
    return JudgedWindow(window, decision, "")


def _by_hand(records: Sequence[FaceRecord]) -> tuple[FaceRecord, ...]:
    """Return the records with the one reason that there is: no face was kept for what it is like."""
    return tuple(replace(one, reason=BY_HAND) if one.reason == RESCUED else one for one in records)


def _without_known(
    records: Sequence[FaceRecord], layout: Layout, results: Results, sha256: str
) -> tuple[FaceRecord, ...]:
    """Drop the faces that an extraction of the same footage has put into aligned/: they would be there twice."""
    known = _known_faces(layout, sha256)
    kept: list[FaceRecord] = []
    for record in records:
        left, top, right, bottom = (round(edge) for edge in record.bbox)
        trace = FaceTrace(f"{record.frame:08d}", (left, top, right, bottom))
        is_known = any(is_at_same_place(one, trace) for one in known.get(record.frame, ()))
        if record.file is not None and is_known and results.drop(record.file):
            record = replace(record, kept=False, reason=NOT_VARIED, file=None, file_index=None)
        kept.append(record)
    return tuple(kept)


def _known_faces(layout: Layout, sha256: str) -> Mapping[int, Sequence[FaceTrace]]:
    """Return the faces of other runs over the same footage that lie in aligned/, by their frame."""
    found: dict[int, list[FaceTrace]] = {}
    for path in manifest_paths(layout.debug).values():
        if path == manifest_path(layout):
            continue
        for face in manifest_in(path).faces.values():
            is_of_footage = face.trace.face_id == face_id(sha256, face.number, face.trace.box)
            if is_of_footage and (layout.aligned / face.file.name).exists():
                found.setdefault(face.number, []).append(face.trace)
    return found


def _report(subject: Subject, records: Sequence[FaceRecord], seen: _Seen, *, completed: bool) -> ExtractReport:
    return make_report(
        subject,
        records,
        Counts(frames_decoded=seen.examined, frames_examined=seen.examined),
        total=seen.total,
        notices=(*subject.backend.warnings, *seen.notices),
        stage_seconds={},
        queue_fill={},
        completed=completed,
    )
