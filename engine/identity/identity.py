"""Identity: what the reference photos of a person say to one backend.

Photos are read and judged by engine.identity.reference_photos, weighed against each other by
engine.identity.reference_set, compared with faces by engine.identity.same_person, saved by
engine.identity.identity_file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.errors import ReferencePhotoError
from engine.identity.embedding import embed_faces
from engine.identity.reference_photos import (
    UNREADABLE,
    PhotoReport,
    ReadBytes,
    ReferenceFace,
    list_photos,
    look_at_photo,
    name_photos,
    open_photo,
    read_anywhere,
)
from engine.identity.reference_set import (
    cluster_centres,
    duplicate_weights,
    leave_one_out,
    measure_blank,
    people_in,
    weighted_mean,
)
from engine.identity.same_person import similarities_to
from engine.types import Identity, Image, Metric

NEGATIVE = "negative"
OTHER_AGE = "other age"
SAME_PHOTO = 0.97
"""Similarity from which two photos are the same picture, resized or saved again."""
SAME_PERSON_EXTRA = 0.10
"""A negative this far above the threshold shows the person: not even look-alikes come so close."""


@dataclass(frozen=True, eq=False)
class _Photos:
    """The usable photos of one group."""

    names: tuple[str, ...]
    crops: tuple[Image, ...]
    embeddings: NDArray[np.float32]
    reports: tuple[PhotoReport, ...]
    denied: PermissionError | None = None
    """Met while reading one of them: what is wrong is then not in the photo."""


def build_identity(
    photos: Sequence[Path],
    backend: Backend,
    *,
    name: str,
    largest_face: bool = False,
    allow_mixed: bool = False,
    negatives: Sequence[Path] = (),
    other_age: Sequence[Path] = (),
    read: ReadBytes = read_anywhere,
) -> tuple[Identity, tuple[PhotoReport, ...]]:
    """Given photos or folders of photos of one person, make their Identity, with a report on each photo.

    `negatives` are photos of people who must not be taken for them (relatives, doubles); `other_age` shows the same
    person at the age that is not wanted. `read` reads the files of `photos`, which strangers may have chosen; the
    others are the operator's. A photo with no face, several faces (unless `largest_face`), a tiny face, or
    that cannot be read is reported and left out. Raise ReferencePhotoError when a path does not exist, when no photo
    is usable (naming each), when the photos show different people (unless `allow_mixed`), or when a negative shows
    the person.
    """
    info = backend.info
    person = _look_at(photos, backend, largest_face=largest_face, read=read)
    if not person.names:
        count = len(person.reports)
        which = f"the photo of {name} cannot" if count == 1 else f"none of {count} reference photos of {name} can"
        raise ReferencePhotoError(
            f"{which} be used: " + "; ".join(f"{report.photo}: {report.detail}" for report in person.reports),
            hint="give photos that show the person's face alone and at least 40 px wide, or allow --largest-face "
            "(largest_face = true in an inbox)",
        ) from person.denied
    if not allow_mixed:
        _refuse_mixed(name, person, info.metric, info.default_threshold)
    others = _look_at(negatives, backend, largest_face=largest_face, role=NEGATIVE)
    aged = _look_at(other_age, backend, largest_face=largest_face, role=OTHER_AGE)
    _refuse_same(name, person, others, info.metric, info.default_threshold + SAME_PERSON_EXTRA, "a negative")
    _refuse_same(name, person, aged, info.metric, SAME_PHOTO, "of the other age")
    weights = duplicate_weights(person.embeddings, info.metric, info.default_threshold)
    blank, blank_range = measure_blank(backend, person.crops, person.embeddings)
    identity = Identity(
        name=name,
        backend=info.name,
        model=info.recognition_model,
        metric=info.metric,
        embeddings=person.embeddings,
        mean=weighted_mean(person.embeddings, weights, info.metric),
        photos=person.names,
        centres=cluster_centres(person.embeddings, weights, info.metric),
        blank=blank,
        blank_range=blank_range,
        negatives=others.embeddings if others.names else None,
        other_age=aged.embeddings if aged.names else None,
    )
    fits = leave_one_out(person.embeddings, weights, info.metric)
    reports = _with_fit(person, fits, info.default_threshold)
    return identity, (*reports, *others.reports, *aged.reports)


def _look_at(
    photos: Sequence[Path],
    backend: Backend,
    *,
    largest_face: bool,
    role: str = "",
    read: ReadBytes = read_anywhere,
) -> _Photos:
    """Read photos, find whose face each shows, and embed those that can be used."""
    paths = list_photos(photos) if photos or not role else ()
    reports: list[PhotoReport] = []
    used: list[str] = []
    crops: list[Image] = []
    denied: PermissionError | None = None
    for path, label in zip(paths, name_photos(paths), strict=True):
        try:
            photo = open_photo(path, read)
            outcome = look_at_photo(photo.pixels, label, backend, largest_face=largest_face, halved=photo.halved)
            if isinstance(outcome, ReferenceFace):
                crops.append(backend.recognition_crop(outcome.image, outcome.face))
                used.append(label)
        except ReferencePhotoError as problem:
            outcome = PhotoReport(label, False, UNREADABLE, problem.message)
            denied = problem.__cause__ if isinstance(problem.__cause__, PermissionError) else denied
        except (
            MemoryError,
            cv2.error,
        ) as problem:  # OpenCV has an error of its own for memory that it does not get
            short = isinstance(problem, MemoryError) or problem.code == cv2.Error.StsNoMem
            reason = "needs more memory than there is" if short else "cannot be searched for faces"
            outcome = PhotoReport(label, False, UNREADABLE, f"reference photo {path} {reason}")
        report = outcome.report if isinstance(outcome, ReferenceFace) else outcome
        reports.append(replace(report, detail=f"{role}: {report.detail}") if role else report)
    return _Photos(tuple(used), tuple(crops), embed_faces(backend, crops), tuple(reports), denied)


def _refuse_mixed(name: str, person: _Photos, metric: Metric, threshold: float) -> None:
    groups = people_in(person.embeddings, metric, threshold)
    if len(groups) < 2:
        return
    said = " | ".join(", ".join(person.names[place] for place in group) for group in groups)
    raise ReferencePhotoError(
        f"the reference photos of {name} show {len(groups)} people who do not resemble each other: {said}; "
        "nothing was extracted",
        hint="keep the photos of one person; where they are the same person all the same, --allow-mixed takes "
        "them (allow_mixed = true in an inbox)",
    )


def _refuse_same(name: str, person: _Photos, others: _Photos, metric: Metric, limit: float, what: str) -> None:
    if not others.names:
        return
    likeness = similarities_to(others.embeddings, person.embeddings, metric)
    worst = np.unravel_index(int(likeness.argmax()), likeness.shape)
    if likeness[worst] < limit:
        return
    raise ReferencePhotoError(
        f"photo {others.names[worst[0]]}, given as {what}, shows {name} as {person.names[worst[1]]} does "
        f"(similarity {likeness[worst]:.2f}); nothing was extracted",
        hint="remove it from one of the two",
    )


def _with_fit(person: _Photos, fits: NDArray[np.float64], threshold: float) -> list[PhotoReport]:
    """Say of each used photo how well it fits the others; name the ones that hardly do."""
    by_name = dict(zip(person.names, fits.tolist(), strict=True))
    reports = []
    for report in person.reports:
        fit = by_name.get(report.photo) if report.used else None
        if fit is None or np.isnan(fit):
            reports.append(report)
            continue
        doubt = "; it hardly fits the others: another person, or a poor photo?" if fit < threshold else ""
        detail = f"{report.detail}; similarity to the other photos {fit:.2f}{doubt}"
        reports.append(replace(report, detail=detail, fits=round(fit, 4)))
    return reports
