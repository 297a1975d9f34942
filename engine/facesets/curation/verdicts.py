"""What a curation decides of each face, and why. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Place = Literal["keep", "aside"]
Decision = Place
"""What a person decided of a face: it stays with the faces that are trained on, or it is out of them."""
Reason = Literal[
    "fit",
    "poor_but_rare",
    "poor_but_needed",
    "decided",
    "polygons",
    "too_small",
    "too_dark",
    "too_flat",
    "blurred",
    "motion_blur",
    "landmarks_unsure",
    "occluded",
    "cut_off",
    "near_duplicate",
    "over_budget",
]
GATES: tuple[Reason, ...] = (
    "landmarks_unsure",
    "cut_off",
    "occluded",
    "too_small",
    "too_dark",
    "too_flat",
    "blurred",
    "motion_blur",
)
"""In the order in which they are asked: a face has the first reason that holds. What is too dark or too flat comes
before blur, since sharpness of such a picture is that of its noise."""


@dataclass(frozen=True)
class Verdict:
    """What is decided of one face."""

    name: str
    face_id: str
    place: Place
    reason: Reason
    """Why it is set aside; for a poor face that stays, why it may (`poor_but_rare`, `poor_but_needed`); else `fit`, or
    whose decision it is."""
    measured: float | None = None
    """What was measured, in the unit of the reason; None where nothing was."""
    limit: float | None = None
    """What would have been asked for."""
    poor: Reason | None = None
    """The gate that a face fails although it stays; `measured` and `limit` are that gate's."""
    stands_for_it: str | None = None
    """Name of the kept face that is most like it; None for a face that stays, and where none is kept."""
    steps_apart: float | None = None
    """How far that face is from it, in noticeable steps."""


_GATE_TEXTS: dict[Reason, str] = {
    "too_small": "too small in the frame: enlarged {measured:.2f} times, at most {limit:.2f}",
    "too_dark": "too dark to judge: brightness {measured:.0f} of 255, at least {limit:.0f}",
    "too_flat": "too little contrast to judge: {measured:.1f} levels, at least {limit:.0f}",
    "blurred": "blurred: sharpness {measured:.2f}, at least {limit:.2f} in this set",
    "motion_blur": "blurred by motion: {measured:.2f} between sharpest and softest direction, at most {limit:.2f}",
    "landmarks_unsure": "landmarks unsure: {measured:.3f} eye distances from any head, at most {limit:.3f}",
    "occluded": "covered: its mask has {measured:.0%} of the face, at least {limit:.0%}",
    "cut_off": "cut off: {measured:.0%} of the crop outside the frame, at most {limit:.0%}",
    "near_duplicate": "near-duplicate: {measured:.2f} steps apart, more than {limit:.2f} is another view",
    "over_budget": "over the budget: {measured:.0f} faces of this pose, light and expression, at most {limit:.0f}",
}
_PLAIN_TEXTS: dict[Reason, str] = {
    "fit": "fit to train on",
    "poor_but_rare": "poor, but its pose is rare",
    "poor_but_needed": "poor, but the merger needs every frame",
    "decided": "decided by a person",
    "polygons": "its mask was drawn by a person",
    "too_small": "too small in the frame",
    "too_dark": "too dark to judge",
    "too_flat": "too little contrast to judge",
    "blurred": "blurred",
    "motion_blur": "blurred by motion",
    "landmarks_unsure": "landmarks unsure",
    "occluded": "covered by something",
    "cut_off": "cut off by the frame's edge",
    "near_duplicate": "near-duplicate",
    "over_budget": "over the budget of its cell",
}


def reason_words(reason: Reason) -> str:
    """Return a reason without numbers, for a table: `blurred by motion`."""
    return _PLAIN_TEXTS[reason]


def sentence_of(verdict: Verdict) -> str:
    """Return why a face is where it is, with numbers and the face that stands for it."""
    words = _with_numbers(verdict.poor or verdict.reason, verdict)
    if verdict.poor is not None:
        words = f"{_PLAIN_TEXTS[verdict.reason]}; {words}"
    if verdict.stands_for_it is None:
        return words
    apart = "" if verdict.steps_apart is None else f" ({verdict.steps_apart:.2f} steps apart)"
    return f"{words}; {verdict.stands_for_it} stands for it{apart}"


def reason_counts(verdicts: Sequence[Verdict]) -> list[tuple[Reason, int]]:
    """Return how many faces are set aside for each reason, the most frequent first."""
    counts = Counter(one.reason for one in verdicts if one.place == "aside")
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def poor_counts(verdicts: Sequence[Verdict]) -> list[tuple[Reason, int]]:
    """Return how many faces stay although they fail each gate, the most frequent first."""
    counts = Counter(one.poor for one in verdicts if one.poor is not None)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _with_numbers(reason: Reason, verdict: Verdict) -> str:
    template = _GATE_TEXTS.get(reason)
    if template is None or verdict.limit is None:
        return _PLAIN_TEXTS[reason]
    if verdict.measured is None:
        return f"{_PLAIN_TEXTS[reason]}: cannot be measured"
    return template.format(measured=verdict.measured, limit=verdict.limit)
