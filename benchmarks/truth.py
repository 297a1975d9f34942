"""Labelled footage: which clips there are, whom to look for in them, and how well a set of faces finds them.

For the other programs of this folder; run by itself it does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@dataclass(frozen=True)
class Case:
    """A person to be found in a clip."""

    clip: Path
    who: str
    references: tuple[Path, ...]
    write: Callable[[Path], None] | None = field(default=None, compare=False)
    """Writes clip and truth where they are made on the spot."""

    def make(self) -> None:
        """See to it that clip and truth are there."""
        if self.write is not None and not self.clip.exists():
            self.write(self.clip)

    @property
    def truth(self) -> Path:
        return self.clip.with_suffix(".truth.json")

    @property
    def name(self) -> str:
        return f"{self.clip.stem} {self.who}"


@dataclass(frozen=True)
class Score:
    true_faces: int
    found: int
    false_faces: int
    duplicates: int

    @property
    def recall(self) -> float:
        return self.found / max(1, self.true_faces)

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.false_faces)


def labelled_cases(shared: Path = SHARED) -> list[Case]:
    """The cases with a truth: two people in one clip, one in the other."""
    clips, photos = shared / "media" / "clips", shared / "media" / "photos"
    return [
        Case(clips / "street_interview.mp4", "obama", (photos / "obama/ref_1.jpg", photos / "obama/ref_2.jpg")),
        Case(clips / "street_interview.mp4", "biden", (photos / "biden/ref_1.jpg", photos / "biden/ref_2.jpg")),
        Case(clips / "stage_speech.mp4", "miranda", (photos / "miranda/ref_1.png",)),
    ]


def nobody_cases(shared: Path = SHARED) -> list[Case]:
    """References of people who are in none of the clip's frames: every face found is false."""
    clips, photos = shared / "media" / "clips", shared / "media" / "photos"
    return [
        Case(clips / "street_interview.mp4", "nobody (lacamoire)", (photos / "lacamoire",)),
        Case(clips / "street_interview.mp4", "nobody (miranda)", (photos / "miranda",)),
        Case(clips / "stage_speech.mp4", "nobody (biden)", (photos / "biden",)),
    ]


def score(case: Case, faces: Iterable[tuple[int, float, float]]) -> Score:
    """Score faces given as (frame, centre x, centre y), as shared/tools/score_extraction.py scores files.

    A face is found when its centre lies in the true box grown by a fifth; a truth without boxes counts frames; faces
    marked "ignore" count neither way.
    """
    frames: list[dict[str, Any]] = json.loads(case.truth.read_text())["frames"]
    wanted = {
        (frame["frame"], place)
        for frame in frames
        for place, face in enumerate(frame["faces"])
        if face["who"] == case.who and not face.get("ignore")
    }
    hit: set[tuple[int, int]] = set()
    false = twice = 0
    for number, x, y in faces:
        match = _match(frames[number]["faces"] if number < len(frames) else [], case.who, x, y)
        if match is None or match[1]["who"] != case.who:
            false += match is None or not match[1].get("ignore")
        elif (number, match[0]) in hit:
            twice += 1
        elif not match[1].get("ignore"):
            hit.add((number, match[0]))
    return Score(len(wanted), len(hit), false, twice)


def _match(faces: list[dict[str, Any]], who: str, x: float, y: float) -> tuple[int, dict[str, Any]] | None:
    match = None
    for place, face in enumerate(faces):
        if "box" not in face:
            match = (place, face) if face["who"] == who else match
            continue
        x0, y0, x1, y1 = face["box"]
        grown = 0.2 * (x1 - x0)
        if x0 - grown <= x <= x1 + grown and y0 - grown <= y <= y1 + grown:
            match = (place, face)
            if face["who"] == who:
                break
    return match
