"""What a curation is asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import SettingsError

BEST_OF_CELL = 3
"""So many faces of a pose stay however poor they are: a blurred profile beats none."""
MATCH_FLOOR = 10
"""A cell keeps so many faces where the other person's faces need fewer."""


@dataclass(frozen=True)
class CurationSettings:
    """Limits and budget of a curation. Raise SettingsError for what leaves its range."""

    near_duplicate_radius: float = 1.75
    """Faces less apart than this, in noticeable steps (see engine.facesets.curation.near_duplicates), show the same."""
    per_cell: int = 60
    """Most faces of one pose, light and expression."""
    upscale_max: float = 3.0
    """A face that alignment enlarged more often has no detail to learn from; or half as often again as the median of
    the set, where that is more."""
    cut_off_max: float = 0.15
    """Part of the crop outside the frame."""
    mask_over_hull_min: float = 0.6
    """Less of the face inside its mask: something covers it."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("near_duplicate_radius", 0.0, 10.0),
            ("per_cell", BEST_OF_CELL, 1_000_000),
            ("upscale_max", 0.1, 100.0),
            ("cut_off_max", 0.0, 1.0),
            ("mask_over_hull_min", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsError(f"{name} is {value}, expected {low:g} to {high:,.15g}")
