"""A pose cell in words and in degrees. Pure.

Left and right are those of the picture: a head that looks left looks towards the picture's left edge.
"""

from __future__ import annotations

from engine.facesets.curation.cells import CELL_DEGREES, PoseCell

_PITCHES = ("slightly {}", "{}", "far {}", "steeply {}")
_YAWS = ("slightly {}", "{}", "half {}", "far {}", "almost {} profile", "{} profile")


def cell_words(cell: PoseCell) -> str:
    """Return `looking up, right`; each cell has words of its own."""
    pitch = _PITCHES[_steps(cell.pitch)].format("up" if cell.pitch >= 0 else "down")
    yaw = _YAWS[_steps(cell.yaw)].format("right" if cell.yaw >= 0 else "left")
    return f"looking {pitch}, {yaw}"


def cell_degrees(cell: PoseCell) -> str:
    """Return `yaw 15 to 30, pitch 15 to 30`, with `about` where a turn can only be guessed."""
    about = "about " if cell.is_about else ""
    return f"yaw {about}{edges_words(cell.yaw)}, pitch {edges_words(cell.pitch)}"


def edges(index: int) -> tuple[int, int]:
    """Return the lower and the upper edge of a cell in yaw or in pitch, degrees."""
    return CELL_DEGREES * index, CELL_DEGREES * (index + 1)


def edges_words(index: int) -> str:
    """Return `15 to 30`."""
    low, high = edges(index)
    return f"{low} to {high}"


def _steps(index: int) -> int:
    """Return how many cells one is away from the innermost on its side."""
    return index if index >= 0 else -index - 1
