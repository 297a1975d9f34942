"""The coverage of one faceset, or of one against the faces that a model is to be used on. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.facesets.coverage.grid import ENOUGH, CoveredCell, covered_cells, missing_cells
from engine.facesets.coverage.tallies import Tally, tally_of, upscale_labels
from engine.facesets.coverage.words import cell_degrees, cell_words
from engine.facesets.curation.cells import Light
from engine.facesets.curation.verdicts import Reason
from engine.facesets.features import Features

Subject = Literal["src", "dst", ""]
SHARE_NEEDED = 0.01
"""An expression or a light that fewer of the faces there have is none that a model must know."""


@dataclass(frozen=True)
class Lack:
    """Something that the faces there need and here is not enough of."""

    words: str
    """`looking up, right`, `eyes shut`."""
    degrees: str
    """`yaw 15 to 30, pitch 15 to 30`; empty for what is no pose."""
    here: int
    there: int | None

    @property
    def sentence(self) -> str:
        """Return `looking up, right: dst 75, src 0 (yaw 15 to 30, pitch 15 to 30)`."""
        counts = f"src {self.here}" if self.there is None else f"dst {self.there}, src {self.here}"
        return f"{self.words}: {counts}" + (f" ({self.degrees})" if self.degrees else "")


@dataclass(frozen=True)
class CoverageReport:
    """What a faceset shows, and what it lacks."""

    here_name: str
    there_name: str | None
    cells: tuple[CoveredCell, ...]
    """All of them, row by row; see `covered_cells`."""
    here: Tally
    there: Tally | None
    poses: tuple[Lack, ...]
    """Missing poses, the most needed first; without a set there, the gaps between poses."""
    others: tuple[Lack, ...]
    """Missing expressions and lights."""
    aside: tuple[tuple[Reason, int], ...] = ()
    """Why faces of the set were set aside, with their number, the most frequent first."""

    @property
    def shown_rows(self) -> list[list[CoveredCell]]:
        """The cells row by row, without outermost rows in which neither set has a face."""
        by_pitch: dict[int, list[CoveredCell]] = {}
        for one in self.cells:
            by_pitch.setdefault(one.cell.pitch, []).append(one)
        full = [pitch for pitch, row in by_pitch.items() if any(one.here or one.there for one in row)]
        high, low = max([0, *full]), min([-1, *full])
        return [row for pitch, row in by_pitch.items() if low <= pitch <= high]

    @property
    def figures(self) -> list[tuple[str, str, Subject]]:
        """Number, words, and whose number it is, in the order of their weight."""
        found: list[tuple[str, str, Subject]] = [(counted(self.here.faces), "src faces", "src")]
        covered = sum(one.state == "covered" for one in self.cells)
        if self.there is None:
            found.append((str(covered), "poses covered", ""))
        else:
            found.append((counted(self.there.faces), "dst faces", "dst"))
            needed = covered + sum(one.state == "missing" for one in self.cells)
            found.append((f"{covered} of {needed}", "needed poses are covered", ""))
        if self.here.advised_size_px is not None:
            found.append((f"{self.here.advised_size_px} px", "advised aligned size", ""))
        return found

    @property
    def lacks_title(self) -> str:
        return "Gaps between poses" if self.there is None else "Missing"

    @property
    def nothing_lacks(self) -> str:
        return "No gap between the poses" if self.there is None else "Nothing that dst needs is missing"

    @property
    def expression_rows(self) -> list[tuple[str, int, int | None]]:
        """Words, faces here, faces there."""
        here, there = self.here, self.there
        rows: list[tuple[str, int, int | None]] = [
            ("mouth open", here.open_mouths, None if there is None else there.open_mouths),
            ("eyes shut", here.shut_eyes, None if there is None else there.shut_eyes),
        ]
        lights: tuple[tuple[str, Light], ...] = (
            ("lit from the left", "left"),
            ("lit evenly", "even"),
            ("lit from the right", "right"),
        )
        return rows + [
            (words, here.lights[side], None if there is None else there.lights[side]) for words, side in lights
        ]

    @property
    def upscale_rows(self) -> list[tuple[str, int, int | None]]:
        """Bars of the histogram: label, faces here, faces there."""
        there = self.there
        return [
            (label, count, None if there is None else there.upscales[place])
            for place, (label, count) in enumerate(zip(upscale_labels(), self.here.upscales, strict=True))
        ]


def coverage_of(
    here: Features,
    there: Features | None,
    *,
    here_name: str,
    there_name: str | None = None,
    aside: tuple[tuple[Reason, int], ...] = (),
) -> CoverageReport:
    """Count a faceset, and compare it with another one."""
    cells = covered_cells(here, there)
    here_tally, there_tally = tally_of(here), None if there is None else tally_of(there)
    poses = tuple(
        Lack(cell_words(one.cell), cell_degrees(one.cell), one.here, one.there) for one in missing_cells(cells)
    )
    others = () if there_tally is None else tuple(_other_lacks(here_tally, there_tally))
    return CoverageReport(here_name, there_name, cells, here_tally, there_tally, poses, others, aside)


def _other_lacks(here: Tally, there: Tally) -> Iterator[Lack]:
    pairs = (
        ("eyes shut", here.shut_eyes, there.shut_eyes),
        ("mouth open", here.open_mouths, there.open_mouths),
        ("lit from the left", here.lights["left"], there.lights["left"]),
        ("lit from the right", here.lights["right"], there.lights["right"]),
    )
    for words, count, needed in pairs:
        if count < ENOUGH <= needed and needed >= SHARE_NEEDED * there.faces:
            yield Lack(words, "", count, needed)


def counted(number: int) -> str:
    """Return a number with spaces between thousands: `12 600`."""
    return f"{number:,}".replace(",", " ")
