"""What only the whole clip can tell: review tracks that later shots explain, and faces that are there twice.

Runs once, after the last window. It moves and removes files of this clip that its records name, each step of which
may be repeated: a run that was killed here comes to the same end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.identity.match import ACCEPTED_IN_VIDEO, CLEAR, NOT_VARIED, REVIEW, Gallery, TrackVerdict, known_in_video
from engine.steps import Step, no_step
from engine.tracks.tracking import Track, centre_of, resemblance
from engine.tracks.variety import choose_varied, descriptor_of
from engine.types import Embedding, FaceRecord, Metric
from engine.workspace.results import Results
from engine.workspace.workspace import Layout


@dataclass(frozen=True, eq=False)
class ReviewTrack:
    """A track that went to review, as far as later shots may judge it again."""

    track: int
    centre: Embedding
    """Of its clear samples."""
    similarity: float
    threshold: float


WAITING_MAX = 64
"""Review tracks that wait; more of them are a threshold that fits nobody, and every one is carried along."""


def still_waiting(
    waiting: Sequence[ReviewTrack], tracks: Sequence[Track], verdicts: Mapping[int, TrackVerdict], metric: Metric
) -> tuple[ReviewTrack, ...]:
    """Return the review tracks that wait for the clip's end, with those of one more window; the likeliest if many."""
    found = {one.track: one for one in waiting}
    for track in tracks:
        verdict = verdicts[track.id]
        clear = [sample for sample in track.samples if sample.clarity >= CLEAR]
        if verdict.reason == REVIEW and clear:
            found[track.id] = ReviewTrack(track.id, centre_of(clear, metric), verdict.similarity, verdict.threshold)
    likeliest = sorted(found.values(), key=lambda one: (-one.similarity, one.track))[:WAITING_MAX]
    return tuple(sorted(likeliest, key=lambda one: one.track))


def accept_known(
    records: Sequence[FaceRecord],
    waiting: Sequence[ReviewTrack],
    gallery: Gallery,
    metric: Metric,
    results: Results,
    step: Step = no_step,
) -> list[FaceRecord]:
    """Move faces of review tracks that resemble the clip's sure tracks to aligned/; return the records as they are now.

    The rule is that of engine.identity.match for a track that comes after them; only the order of shots was in the way.
    A track that was in review first and accepted later on is known too.
    """
    known = {one.track for one in waiting if _is_known(one, gallery, metric)}
    known |= {record.track for record in records if record.kept and record.track is not None}
    after = []
    for record in records:
        if record.track in known and record.reason == REVIEW and record.file:
            results.accept(record.file)
            step()
            record = replace(record, reason=ACCEPTED_IN_VIDEO, kept=True)
        after.append(record)
    return after


def drop_near_duplicates(
    records: Sequence[FaceRecord], layout: Layout, results: Results, step: Step = no_step
) -> list[FaceRecord]:
    """Keep one of the faces that show the same, the sharpest; return the records with the others as dropped.

    A face that a hand changed since it was written stays.
    """
    places = [place for place, record in enumerate(records) if record.kept and record.file]
    luma = {}
    for place in places:
        luma[place] = _read_luma(layout.aligned / str(records[place].file))
        step()
    there = [place for place in places if luma[place] is not None]
    descriptors = np.stack([np.asarray(luma[place]) for place in there]) if there else np.zeros((0, 1), np.float32)
    keep = choose_varied(descriptors, [records[place].sharpness or 0.0 for place in there], step)
    kept = {place for place, stays in zip(there, keep, strict=True) if stays}
    after = list(records)
    for place in set(places) - kept:
        if results.drop(str(records[place].file)):
            after[place] = replace(records[place], reason=NOT_VARIED, kept=False, file=None)
        step()
    return after


def revisions(before: Sequence[FaceRecord], after: Sequence[FaceRecord]) -> tuple[tuple[int, FaceRecord], ...]:
    """Return (place, record) of every face that ends otherwise than it was committed; both hold the same faces."""
    return tuple((place, now) for place, (was, now) in enumerate(zip(before, after, strict=True)) if now != was)


def _is_known(one: ReviewTrack, gallery: Gallery, metric: Metric) -> bool:
    def nearest(rows: Sequence[Embedding]) -> float:
        return max((resemblance(one.centre, row, metric) for row in rows), default=-1.0)

    in_video = nearest(gallery.positives)
    if nearest(gallery.negatives) >= in_video:
        return False
    return known_in_video(one.similarity, in_video, one.threshold)


def _read_luma(path: Path) -> NDArray[np.float32] | None:
    """Descriptor of an aligned file; None where it is gone, as after a run that was killed while dropping."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except FileNotFoundError:
        return None
    pixels = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_4)
    return None if pixels is None else descriptor_of(np.asarray(pixels, np.uint8))
