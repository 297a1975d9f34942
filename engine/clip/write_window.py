"""Pass two over a window: fill in the wanted tracks, write their faces, and record what became of every face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from engine.backends.backend import Backend
from engine.clip.judge_window import Decision
from engine.clip.judged_windows import JudgedWindow
from engine.clip.windows import Footage, window_frames
from engine.face_id import box_of, face_id, track_id
from engine.face_record import FaceRecord
from engine.frames.contract import DecodedFrame, Region, holds, region_round
from engine.identity.same_person import similarity
from engine.reasons import KEPT_REASONS, MANUAL_CHANGE, NOT_FIT, RESCUED, TOO_MANY_FACES
from engine.search.follow import SEARCH_REACH, Follower, Found
from engine.search.scout import Scout
from engine.steps import Step, no_step
from engine.tracks.track import Track
from engine.tracks.verdicts import TrackVerdict, limit_of
from engine.types import Frame, Identity
from engine.workspace.align import crop_reach, crop_region
from engine.workspace.extract_report import Subject
from engine.workspace.face_writer import FaceFile, FaceWriter
from engine.workspace.file_names import index_of_face

Similarities = Mapping[int, float]
"""Of one track: frame -> similarity of the face there, for the frames that were asked."""


@dataclass(frozen=True)
class KnownIds:
    """What the ids of a clip's faces and tracks are made of."""

    source_sha256: str
    """In hex; see engine.footage.source_hash."""
    tracks: Mapping[int, str]
    """Ids of the tracks that earlier windows recorded, by their numbers."""

    def after(self, records: Iterable[FaceRecord]) -> KnownIds:
        """Return what is known once these were recorded, too; a track that an older dfld recorded has the id that its
        first face gives it."""
        tracks = dict(self.tracks)
        for record in records:
            if record.track is not None and record.track not in tracks:
                made = record.track_id or track_id(self.source_sha256, record.frame, box_of(record.bbox))
                tracks[record.track] = made
        return KnownIds(self.source_sha256, MappingProxyType(tracks))


def known_ids(source_sha256: str, records: Iterable[FaceRecord]) -> KnownIds:
    """Return what is known after these records."""
    return KnownIds(source_sha256, MappingProxyType({})).after(records)


@dataclass(frozen=True, eq=False)
class _JudgedFace:
    """A face of a judged track, before it is known what became of its file."""

    frame: int
    pts: int | None
    bbox: tuple[float, float, float, float]
    detection_score: float
    similarity: float | None
    reason: str
    track: int
    track_similarity: float | None
    file: Future[FaceFile] | None = None
    """None where it is not to be written."""


def write_window(
    judged: JudgedWindow,
    footage: Footage,
    subject: Subject,
    backend: Backend,
    writer: FaceWriter,
    known: KnownIds,
    step: Step = no_step,
) -> tuple[FaceRecord, ...]:
    """Given a judged window, write its wanted faces and return a record of every face, in frame order.

    `known`: what ids are made of. `footage`: for reading the window again where its frames were not kept. `step` is
    called for each frame read again or worked off. Waits for the files.
    """
    window, decision = judged.window, judged.decision
    own = {track.id: _own_similarities(track, subject.identity) for track in decision.tracks}
    wanted = decision.with_outcome("accepted", "review")
    others = tuple(decision.with_outcome("rejected").values())
    faces = [face for track in others for face in _rejected(track, decision, own[track.id])]
    if wanted:
        follower = Follower(backend, subject.settings.min_confidence, wanted, others)
        reach = max(SEARCH_REACH, crop_reach(subject.settings))
        limits = {number: limit_of(track, subject.identity, subject.threshold) for number, track in wanted.items()}
        task = _Task(decision, own, limits, subject, backend, writer)
        with window_frames(window, footage, step) as frames:
            for decoded in _with_births(frames, follower, window.scout):
                step()
                expected = follower.expect(decoded.index)
                if not expected:
                    continue
                region = region_round([place.box for place in expected], reach)
                frame = decoded.to_frame(region)
                found = follower.fill(decoded.index, frame.pixels, expected)
                if found:
                    faces += task.write(decoded, frame, region, found)
    faces.sort(key=lambda one: (one.frame, one.track))
    return tuple(_records(faces, known))


def _with_births(frames: Iterable[DecodedFrame], follower: Follower, scout: Scout) -> Iterator[DecodedFrame]:
    """Pass the frames on, one stretch between full looks at a time, with tracks followed back from where they begin.

    A full look leaves nothing new behind it: whoever came later was not there before.
    """
    births, full_looks = frozenset(scout.births), frozenset(scout.full_looks)
    stretch: list[DecodedFrame] = []
    for decoded in frames:
        born = follower.births_at(decoded.index) if decoded.index in births else []
        if born:
            follower.follow_back(born, reversed(stretch))
        stretch.append(decoded)
        if decoded.index in full_looks:
            yield from stretch
            stretch = []
    yield from stretch


@dataclass(frozen=True, eq=False)
class _Task:
    """What writing needs to know of a window, whatever the frame."""

    decision: Decision
    own: Mapping[int, Similarities]
    limits: Mapping[int, float]
    """Of each wanted track: the similarity from which it is accepted."""
    subject: Subject
    backend: Backend
    writer: FaceWriter

    def write(self, decoded: DecodedFrame, frame: Frame, region: Region, found: Sequence[Found]) -> list[_JudgedFace]:
        """Mark and hand over the faces of one frame; of too many accepted ones the most similar tracks stay.

        `frame` is right within `region`; where a crop reaches beyond it, the whole frame is converted after all.
        """
        too_many = self._too_many(found)
        written = [one for one in found if one.track not in too_many]
        landmarks = self.backend.landmarks_68(frame.pixels, [one.face for one in written])
        parts = [crop_region(points, self.subject.settings) for points in landmarks]
        if not all(holds(region, part, decoded.width, decoded.height) for part in parts):
            frame = decoded.to_frame()
        if self.subject.layout.frames is not None:
            frame = replace(frame, source_filename=self.writer.frame_name(frame.index))
        judged = [self._judged(frame, one, TOO_MANY_FACES) for one in found if one.track in too_many]
        for index, (one, points) in enumerate(zip(written, landmarks, strict=True)):
            if self.writer.is_decided(frame, one.face, points):
                judged.append(self._judged(frame, one, MANUAL_CHANGE))
                continue
            verdict = self.decision.verdicts[one.track]
            review = verdict.outcome == "review"
            weak = not review and _is_weak(one, self.own[one.track], self.limits[one.track], self.subject)
            file = self.writer.write_face(frame, one.face, points, index, review=review)
            judged.append(self._judged(frame, one, RESCUED if weak else verdict.reason, file))
        return judged

    def _too_many(self, found: Sequence[Found]) -> set[int]:
        verdicts = self.decision.verdicts
        accepted = [one.track for one in found if verdicts[one.track].outcome == "accepted"]
        accepted.sort(key=lambda track: (-verdicts[track].similarity, track))
        return set(accepted[self.subject.settings.max_faces_per_frame or len(accepted) :])

    def _judged(self, frame: Frame, one: Found, reason: str, file: Future[FaceFile] | None = None) -> _JudgedFace:
        verdict = self.decision.verdicts[one.track]
        return _judged(frame.index, frame.pts, one, verdict, self.own[one.track], reason, file)


def _is_weak(one: Found, own: Similarities, limit: float, subject: Subject) -> bool:
    """Say whether a face is kept for its track alone: by itself it would not have been found or recognised."""
    if one.face.detection_score < subject.settings.min_confidence:
        return True
    if not own:
        return False
    nearest = min(own, key=lambda frame: (abs(frame - one.frame), frame))
    return own[nearest] < limit


def _own_similarities(track: Track, identity: Identity) -> Similarities:
    if not track.samples:
        return {}
    values = similarity(np.stack([sample.embedding for sample in track.samples]), identity)
    return {sample.frame: float(value) for sample, value in zip(track.samples, values, strict=True)}


def _rejected(track: Track, decision: Decision, own: Similarities) -> Iterator[_JudgedFace]:
    """Faces of a rejected track: the looks that saw it."""
    verdict = decision.verdicts[track.id]
    for one in track.sightings:
        if one.frame >= decision.first_frame:
            yield _judged(one.frame, one.pts, Found(track.id, one.frame, one.face, True), verdict, own, verdict.reason)


def _judged(
    frame: int,
    pts: int | None,
    one: Found,
    verdict: TrackVerdict,
    own: Similarities,
    reason: str,
    file: Future[FaceFile] | None = None,
) -> _JudgedFace:
    x1, y1, x2, y2 = (float(value) for value in one.face.bbox)
    return _JudgedFace(
        frame=frame,
        pts=pts,
        bbox=(x1, y1, x2, y2),
        detection_score=one.face.detection_score,
        similarity=own.get(frame),
        reason=reason,
        track=one.track,
        track_similarity=verdict.similarity if verdict.samples or own else None,
        file=file,
    )


def _records(faces: Iterable[_JudgedFace], known: KnownIds) -> Iterator[FaceRecord]:
    """Yield the record of each face, in frame order, numbered within its frame. Waits for the files."""
    track_ids = dict(known.tracks)
    frame, index = -1, 0
    for one in faces:
        index = index + 1 if one.frame == frame else 0
        frame, box = one.frame, box_of(one.bbox)
        made = one.file.result() if one.file is not None else None
        file, measured = (made.file, made.measured) if made is not None else (None, None)
        reason = one.reason
        if made is not None and file is None:
            reason = MANUAL_CHANGE if made.is_manual_change else NOT_FIT
        yield FaceRecord(
            frame=frame,
            pts=one.pts,
            index=index,
            bbox=one.bbox,
            detection_score=one.detection_score,
            similarity=one.similarity,
            kept=file is not None and one.reason in KEPT_REASONS,
            reason=reason,
            file=file,
            track=one.track,
            track_similarity=one.track_similarity,
            yaw_degrees=None if measured is None else round(measured.yaw_degrees, 2),
            sharpness=None if measured is None or measured.sharpness is None else round(measured.sharpness, 3),
            fit_to_train=None if measured is None else measured.fit_to_train,
            file_index=None if file is None else index_of_face(file),
            face_id=face_id(known.source_sha256, frame, box),
            track_id=track_ids.setdefault(one.track, track_id(known.source_sha256, frame, box)),
        )
