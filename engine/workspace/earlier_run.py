"""May a run write into this output folder? Not where results lie already, unless the person said so.

Two runs must not mix: a second run with a stricter threshold would leave the faces of the first. What goes and what
stays when they are replaced is the business of engine.workspace.hand_work; here it is decided whether, and told before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import OutputError
from engine.workspace.hand_work import Survey, survey
from engine.workspace.manifest import RunNote
from engine.workspace.workspace import Layout


@dataclass(frozen=True)
class EarlierRun:
    """What an earlier run left for one input."""

    layout: Layout
    found: Survey
    source: str
    """Of the earlier run; "" where no log or manifest tells."""

    def text(self) -> str:
        """Return `out/aligned already holds 149 faces of a.mp4, and 4 that a hand changed (3 deleted, 1 moved)`."""
        of = f" of {self.source}" if self.source else " that no log of dfld names"
        return f"{self.layout.aligned} already holds {self.goes_text()}{of}{self._changes(', and')}"

    def replaced_text(self, *, discard_hand_work: bool) -> str:
        """Say what goes and what stays when the results are replaced."""
        if discard_hand_work:
            return f"{self.goes_text()} of {self.layout.aligned} go{self._changes(', and')}"
        stays = self._changes("; what a hand decided stays so:") or "; a hand changed nothing"
        return f"{self.goes_text()} of {self.layout.aligned} go{stays}"

    def goes_text(self) -> str:
        return "1 face" if self.found.faces == 1 else f"{self.found.faces} faces"

    def _changes(self, before: str) -> str:
        count = sum(self.found.changes.values())
        return f"{before} {count} changed by hand ({self.found.changes_text()})" if count else ""


def find_earlier_run(layout: Layout) -> EarlierRun | None:
    """Return what lies there of an earlier run; None where there is nothing to lose. Raise OutputError."""
    found = survey(layout)
    if found.is_empty:
        return None
    return EarlierRun(layout, found, found.source)


def require_free(earlier: Sequence[EarlierRun], note_of: dict[Layout, RunNote] | None = None) -> None:
    """Raise OutputError, naming everything that would go, where results lie that no run may replace unasked.

    `note_of`: what this run is made from; then results of the same run, cut short, may be made again.
    """
    taken = [one for one in earlier if not _goes_on(one, (note_of or {}).get(one.layout))]
    if taken:
        goes = "; ".join(one.replaced_text(discard_hand_work=False) for one in taken)
        raise OutputError(
            f"{'; '.join(one.text() for one in taken)}; nothing was changed",
            hint=f"choose another --out, or --replace: {goes} (--discard-hand-work with it gives that up as well)",
        )


def _goes_on(earlier: EarlierRun, note: RunNote | None) -> bool:
    manifest = earlier.found.manifest
    return note is not None and not manifest.finished and manifest.run == note
