"""What only the whole clip can show: review tracks that later shots explain, and faces that are there twice.

Runs once, after the last window. It moves and removes files of this clip that its records name, each step of which
may be repeated: a run that was killed here comes to the same end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from core.opening import read_regular
from dfl.jpeg import FILE_LIMIT_BYTES
from engine.face_record import FaceRecord
from engine.faces.near_duplicates import choose_varied, descriptor_of
from engine.reasons import ACCEPTED_IN_VIDEO, NOT_VARIED, REVIEW
from engine.results.run_results import Results
from engine.steps import Step, no_step
from engine.tracks.review_tracks import ReviewTrack, is_known
from engine.tracks.verdicts import Gallery
from engine.types import Metric
from engine.workspace.file_names import Layout


def accept_known(
    records: Sequence[FaceRecord],
    waiting: Sequence[ReviewTrack],
    gallery: Gallery,
    metric: Metric,
    results: Results,
    step: Step = no_step,
) -> list[FaceRecord]:
    """Move faces of review tracks that resemble the clip's sure tracks to aligned/; return the records as they are now.

    The rule is that of engine.tracks.verdicts for a track that comes after them; only the order of shots was in the
    way. A track that was in review first and accepted later on is known too.
    """
    known = {one.track for one in waiting if is_known(one, gallery, metric)}
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

    A face that a person changed since it was written stays.
    """
    places = [place for place, record in enumerate(records) if record.kept and record.file]
    luma = {}
    for place in places:
        luma[place] = _read_luma(layout.aligned / str(records[place].file))
        step()
    there = [place for place in places if luma[place] is not None]
    descriptors = np.stack([np.asarray(luma[place]) for place in there]) if there else np.zeros((0, 1), np.float32)
    keep = choose_varied(descriptors, [_sharpness(records[place]) for place in there], step)
    kept = {place for place, stays in zip(there, keep, strict=True) if stays}
    after = list(records)
    for place in set(places) - kept:
        if results.drop(str(records[place].file)):
            after[place] = replace(records[place], reason=NOT_VARIED, kept=False, file=None, file_index=None)
        step()
    return after


def revisions(before: Sequence[FaceRecord], after: Sequence[FaceRecord]) -> tuple[tuple[int, FaceRecord], ...]:
    """Return (place, record) of every face that ends otherwise than it was committed; both hold the same faces."""
    return tuple((place, now) for place, (was, now) in enumerate(zip(before, after, strict=True)) if now != was)


def _sharpness(record: FaceRecord) -> float:
    """What cannot be measured stands behind all that can."""
    return -math.inf if record.sharpness is None else record.sharpness


def _read_luma(path: Path) -> NDArray[np.float32] | None:
    """Descriptor of an aligned file; None where it is gone, as after a run that was killed while dropping, or where
    what a person put there is no picture."""
    try:
        data = np.frombuffer(read_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_4)
    except (OSError, cv2.error):
        return None
    return None if pixels is None else descriptor_of(np.asarray(pixels, np.uint8))
