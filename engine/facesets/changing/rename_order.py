"""In which order files are renamed, so that none is ever replaced. Pure.

A file whose new name another file still has waits until that one has gone; where they wait for each other in a circle,
one of them goes by a temporary name, in the folder where it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Rename(NamedTuple):
    """One rename: paths relative to the same folder."""

    source: str
    target: str


def in_order(moves: Mapping[str, str], temporary: Mapping[str, str]) -> list[Rename]:
    """Return the renames that bring each file of `moves`, source → target, to its target; done one after another, none
    of them finds its target taken by another of these files.

    `temporary`: by source, the name that nobody else has, for a file that has to make room first. Sources that are
    their own target are left out. Targets are distinct.
    """
    pending = {source: target for source, target in moves.items() if source != target}
    by_target = {target: source for source, target in pending.items()}
    if len(by_target) < len(pending):
        raise ValueError("two files are to get one name")
    done: list[Rename] = []

    def follow(target: str | None) -> None:
        """Rename the file that is to get a name that is free by now, then the one that is to get that file's."""
        while target is not None and (source := by_target.get(target)) is not None and source in pending:
            done.append(Rename(source, pending.pop(source)))
            target = source

    for target in [one for one in pending.values() if one not in pending]:
        follow(target)
    while pending:  # circles alone are left
        first = next(iter(pending))
        target = pending.pop(first)
        done.append(Rename(first, temporary[first]))
        follow(first)
        done.append(Rename(temporary[first], target))
    return done
