"""What makes the faces of a clip, as one hash: its basis. Pure.

Work goes on at its cursor where the basis is that of the commits before, and starts over where it is another. dfld's
version is no part of it, so that an upgrade throws no half-done clip away: what an upgrade may change of the result
stands in the revision (engine.revision), what it may change of the state between windows in the carry's format, and
settings that have their defaults are left out, so that a new setting changes the basis of nobody who does not set it.

dfld 0.1.0 wrote its version into the basis, and every setting. Its result is that of revision 1, so a clip that it left
half done goes on, too, where no later revision changed the faces.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from engine.clip.resume_state import FORMAT
from engine.revision import revision_of
from engine.types import ExtractSettings

BEFORE_REVISIONS = ("0.1.0",)
"""Versions of dfld that had a version in the basis instead of a revision; all made the result of revision 1."""
SETTINGS_BEFORE = (
    "similarity_threshold", "min_confidence", "frame_skip", "face_type", "margin_factor", "output_size",
    "max_faces_per_frame", "keep", "only_fit_to_train", "format", "jpeg_quality", "plain_crop", "tone_map",
    "frame_format",
)  # fmt: skip
"""The settings that these had."""


@dataclass(frozen=True)
class FaceMakers:
    """What decides how the faces of a clip come out, beside dfld itself and the clip's content."""

    settings: ExtractSettings
    backend: str
    models: Sequence[tuple[str, str]]
    """Task and SHA-256 of each."""
    photos: Mapping[str, Sequence[str]]
    """Part of the identity -> name and hash of each photo."""
    largest_face: bool
    role: str
    stretch: tuple[float | None, float | None]
    """From and to, s."""
    frame_order: str = ""
    """Hash of the names of an image folder in order; "" for the order that every dfld gave them, and for videos."""


def basis_of(makers: FaceMakers) -> str:
    """Return the basis of work that begins now."""
    defaults = asdict(ExtractSettings())
    settings = {name: value for name, value in asdict(makers.settings).items() if value != defaults[name]}
    return _hash({"revision": revision_of(makers.settings), "carry": FORMAT, "settings": settings, **_common(makers)})


def is_of_equal_result(basis: str, makers: FaceMakers) -> bool:
    """Say whether the faces of commits with this basis are those that `makers` make now."""
    if basis == basis_of(makers):
        return True
    if (revision_of(makers.settings), FORMAT) != (1, 2):
        return False
    settings = asdict(makers.settings)
    known = {name: settings[name] for name in SETTINGS_BEFORE}
    before = ({"program": version, "settings": known, **_common(makers)} for version in BEFORE_REVISIONS)
    return _has_only(settings, SETTINGS_BEFORE) and basis in map(_hash, before)


def _has_only(settings: Mapping[str, object], names: Sequence[str]) -> bool:
    """Say whether all settings but these have their defaults."""
    defaults = asdict(ExtractSettings())
    return all(name in names or value == defaults[name] for name, value in settings.items())


def _common(makers: FaceMakers) -> dict[str, object]:
    values: dict[str, object] = {
        "backend": makers.backend,
        "models": [list(model) for model in makers.models],
        "photos": {part: list(photos) for part, photos in makers.photos.items()},
        "largest_face": makers.largest_face,
        "role": makers.role,
        "stretch": list(makers.stretch),
    }
    if makers.frame_order:
        values["frames"] = makers.frame_order
    return values


def _hash(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
