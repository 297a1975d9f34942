"""May a run write into this output folder? Not where results lie already, unless the person said so.

Two runs must not mix: a second run with a stricter threshold would leave the faces of the first. What goes and what
stays when they are replaced is the business of engine.results.clearing; here it is decided whether, and said before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import OutputError
from engine.results.manifest_lines import RunNote
from engine.results.manual_changes import LEFT_WHEN_DISCARDED, Survey, survey
from engine.workspace.file_names import Layout

BY_ABSENCE = ("deleted", "mask_deleted")
"""Changes that left no file."""


@dataclass(frozen=True)
class EarlierRun:
    """What an earlier run left for one input."""

    layout: Layout
    found: Survey
    source: str
    """Of the earlier run; "" where no log or manifest says so."""

    def text(self) -> str:
        """Return `out/aligned already holds 149 faces of a.mp4, and 4 manual changes (3 deleted, 1 moved)`."""
        if self._is_unknown:
            return f"{self.layout.aligned} already holds {_pictures(self._count())} that no manifest of dfld names"
        of = f" of {self.source}" if self.source else " that no log of dfld names"
        return f"{self.layout.aligned} already holds {self.goes_text()}{of}{self._and_changes()}"

    def would_go_text(self) -> str:
        """Say what would go, what would stay, and what there is to be given up beside."""
        if self._is_unknown:
            return self._unknown_text()
        stays = self._changes_stay()
        more = "; --discard-hand-work with it gives that up as well" if self._given_up() else ""
        return f"{self.goes_text()} of {self.layout.aligned} would be removed{stays}{more}{self._come_back(more)}"

    def replaced_text(self, *, discard_changes: bool) -> str:
        """Say what goes and what stays when the results are replaced."""
        if self._is_unknown:
            return self._unknown_text()
        goes = f"{self.goes_text()} of {self.layout.aligned} are removed"
        if not discard_changes:
            return goes + self._changes_stay()
        changed = sum(count for kind, count in self._given_up().items() if kind not in BY_ABSENCE)
        if changed:
            goes += f", and {_manual_changes(changed)}"
        goes += self._come_back(goes)
        if stays := self._count(LEFT_WHEN_DISCARDED):
            goes += f"; {stays} that a person added or packed stay{'s' if stays == 1 else ''}"
        return goes

    def goes_text(self) -> str:
        return "1 face" if self.found.faces == 1 else f"{self.found.faces} faces"

    @property
    def _is_unknown(self) -> bool:
        """Whether nothing says who wrote what lies there: no manifest and no log."""
        return not self.found.removable and set(self.found.counts) == {"added"} and self.found.manifest.run is None

    def _unknown_text(self) -> str:
        count = _pictures(self._count())
        return (
            f"no manifest in {self.layout.debug} names the {count} of {self.layout.aligned}, so they are taken for "
            "your own and stay: move them away to have these faces written again"
        )

    def _given_up(self) -> dict[str, int]:
        """Return what --discard-hand-work gives up, by kind."""
        return {kind: count for kind, count in self.found.counts.items() if kind not in LEFT_WHEN_DISCARDED}

    def _come_back(self, before: str) -> str:
        deleted = self.found.counts["deleted"]
        return f"; {deleted} that a person deleted come{'s' if deleted == 1 else ''} back" if before and deleted else ""

    def _count(self, kinds: Sequence[str] = ()) -> int:
        return sum(count for kind, count in self.found.counts.items() if not kinds or kind in kinds)

    def _and_changes(self) -> str:
        count = self._count()
        return f", and {_manual_changes(count)} ({self.found.counts_text()})" if count else ""

    def _changes_stay(self) -> str:
        count = self._count()
        return f"; manual changes stay: {count} ({self.found.counts_text()})" if count else ""


def _manual_changes(count: int) -> str:
    return "1 manual change" if count == 1 else f"{count} manual changes"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def find_earlier_run(layout: Layout) -> EarlierRun | None:
    """Return what lies there of an earlier run; None where there is nothing to lose. Raise OutputError."""
    found = survey(layout)
    if found.is_empty:
        return None
    return EarlierRun(layout, found, found.source)


def require_free(earlier: Sequence[EarlierRun], note_of: Mapping[Layout, RunNote] | None = None) -> None:
    """Raise OutputError, naming everything that would go, where results lie that no run may replace unasked.

    `note_of`: what this run is made from; then results of the same run, cut short, may be made again.
    """
    taken = [one for one in earlier if not _goes_on(one, (note_of or {}).get(one.layout))]
    if taken:
        goes = "; ".join(one.would_go_text() for one in taken)
        raise OutputError(
            f"{'; '.join(one.text() for one in taken)}; nothing was changed",
            hint=f"choose another --out, or --replace: {goes}",
        )


def _goes_on(earlier: EarlierRun, note: RunNote | None) -> bool:
    manifest = earlier.found.manifest
    return note is not None and not manifest.finished and manifest.run == note
