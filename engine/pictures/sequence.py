"""File names of a folder -> the frames of a sequence: which, in which order, what is missing or there twice. Pure.

Numbers in names count as numbers: 2 comes before 10, with or without zeros in front. Where the numbers are padded, the
order is that of the plain names, which is DeepFaceLab's own (it sorts by path). Reads no file and no folder.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.pictures.image_header import IMAGE_SUFFIXES

SHOWN_MAX = 5
"""So many gaps or names stand in a sentence; the rest is counted."""
DENSE_FRACTION = 0.5
"""Numbers of which fewer are there than this part of their range count no frames: dates, times, numbers of photos."""

_NUMBER = re.compile("[0-9]+")  # the digits of ASCII alone: int() and every tool that writes frames agree on them


@dataclass(frozen=True)
class SequenceNames:
    """The frames of a folder by name."""

    names: tuple[str, ...]
    """In the order of the footage, one a stem."""
    left_out: tuple[tuple[str, str], ...]
    """(name, name that is taken instead): images whose stem another image has."""

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each odd thing: images left out, numbers that two names have, numbers missing."""
        return tuple(_notes(self))


def natural_key(name: str) -> tuple[str, str]:
    """Return what names sort by so that numbers count as numbers; a total order, "1" and "01" side by side.

    A run of digits becomes "0", its length and its digits without zeros in front: among numbers the longer is the
    larger, and against any other character it stands where a digit stands. So the order equals that of the plain
    names after all numbers were padded to one width.
    """
    return _NUMBER.sub(_as_sortable, name), name


def sequence_names(names: Iterable[str]) -> SequenceNames:
    """Return the frames among the names of files in a folder. Hidden names (`._1.png` of macOS) are none.

    Of several images with one stem (`a.jpg`, `a.png`) the first by name is taken: DeepFaceLab joins faces to frames by
    stem.
    """
    chosen: dict[str, str] = {}
    left_out = []
    for name in sorted(filter(is_frame_name, names), key=natural_key):
        taken = chosen.setdefault(_stem(name), name)
        if taken is not name:
            left_out.append((name, taken))
    return SequenceNames(tuple(chosen.values()), tuple(left_out))


def is_frame_name(name: str) -> bool:
    """Say whether a file of this name is an image that can be a frame."""
    return not name.startswith(".") and f".{name.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES and "." in name


def _as_sortable(run: re.Match[str]) -> str:
    digits = run[0].lstrip("0")
    return f"0{len(digits):03d}{digits}"  # a file name has at most 255 characters, so three digits hold any length


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _notes(sequence: SequenceNames) -> Iterator[str]:
    if sequence.left_out:
        pairs = [f"{name} ({taken} is taken)" for name, taken in sequence.left_out]
        yield f"images left out, because another one has their name: {_some(pairs)}"
    numbered = _numbered(sequence.names)
    twice = [f"{names[0]} and {names[1]}" for numbers in numbered for names in numbers.values() if len(names) > 1]
    if twice:
        yield f"frames of one number, all are taken: {_some(twice)}"
    missing = [gap for numbers in numbered for gap in _gaps(sorted(numbers))]
    if missing:
        count = sum(number for number, _ in missing)
        frames = f"{count} frames are" if count > 1 else "1 frame is"
        yield f"{frames} missing by number, the others follow each other without them: {_some([g for _, g in missing])}"


def _numbered(names: Sequence[str]) -> list[dict[int, list[str]]]:
    """Group names that differ in their frame number alone; return frame number -> names of each group.

    The frame number is the last number that is not the same in all names of one form: 7 in `take2_7_v1`, where
    takes have several numbers and the version is one.
    """
    forms: dict[tuple[str, ...], list[tuple[tuple[int, ...], str]]] = defaultdict(list)
    for name in names:
        stem = _stem(name)
        forms[tuple(_NUMBER.split(stem))].append((tuple(int(run) for run in _NUMBER.findall(stem)), name))
    groups: list[dict[int, list[str]]] = []
    for members in forms.values():
        columns = list(zip(*(numbers for numbers, _ in members), strict=True))
        varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
        place = (varying or [len(columns) - 1])[-1]
        takes: dict[tuple[int, ...], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for numbers, name in members if place >= 0 else ():
            takes[numbers[:place] + numbers[place + 1 :]][numbers[place]].append(name)
        groups += takes.values()
    return groups


def _gaps(numbers: Sequence[int]) -> list[tuple[int, str]]:
    """Return (how many are missing, which) of each gap in ascending numbers; every n-th frame alone is no gap."""
    steps = [after - before for before, after in pairwise(numbers)]
    if not steps:
        return []
    step = min(steps)
    if any(one % step for one in steps) or len(numbers) < DENSE_FRACTION * (sum(steps) // step + 1):
        return []
    return [
        (wide // step - 1, _span(before + step, before + wide - step))
        for before, wide in zip(numbers, steps, strict=False)
        if wide > step
    ]


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _some(texts: Collection[str]) -> str:
    shown = list(texts)[:SHOWN_MAX]
    more = f" and {len(texts) - len(shown)} more" if len(texts) > len(shown) else ""
    return f"{', '.join(shown)}{more}"
