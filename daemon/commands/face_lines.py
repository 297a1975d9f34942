"""What commands print of faces: how many, and the first few of those of which something is to be said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daemon.commands.output import shown

SHOWN_MAX = 24
"""Faces that are named one by one; more would hide what stands above them."""


def counted_faces(count: int) -> str:
    """Return `1 face`, `12 faces`."""
    return f"{count} {'face' if count == 1 else 'faces'}"


def first_lines(lines: Sequence[str]) -> Iterator[str]:
    """Yield the first lines, each about one face and safe to print, and how many more there are."""
    yield from (f"  {shown(line)}" for line in lines[:SHOWN_MAX])
    if len(lines) > SHOWN_MAX:
        yield f"  and {len(lines) - SHOWN_MAX} more; --json has them all"
