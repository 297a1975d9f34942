"""The coverage report as JSON: everything that page and picture show, with names and numbers. Pure.

`format` is raised when a key changes its meaning; keys that are added do not raise it.
"""

from __future__ import annotations

from engine.facesets.coverage.grid import CoveredCell
from engine.facesets.coverage.report import CoverageReport, Lack
from engine.facesets.coverage.tallies import Tally, upscale_labels
from engine.facesets.coverage.words import cell_words, edges
from engine.facesets.curation.verdicts import reason_words

FORMAT = 1


def coverage_document(report: CoverageReport) -> dict[str, object]:
    """Return a report as values that JSON has. Degrees are whole numbers, shares fractions of 1."""
    return {
        "format": FORMAT,
        "src": {"name": report.here_name, **_tally(report.here)},
        "dst": None if report.there is None else {"name": report.there_name, **_tally(report.there)},
        "missing": [_lack(one) for one in report.poses],
        "missing_otherwise": [_lack(one) for one in report.others],
        "cells": [_cell(one) for one in report.cells if one.here or one.there or one.state != "empty"],
        "aside": [{"reason": reason, "words": reason_words(reason), "faces": count} for reason, count in report.aside],
    }


def _lack(lack: Lack) -> dict[str, object]:
    return {
        "sentence": lack.sentence,
        "words": lack.words,
        "degrees": lack.degrees or None,
        "src": lack.here,
        "dst": lack.there,
    }


def _cell(cell: CoveredCell) -> dict[str, object]:
    return {
        "words": cell_words(cell.cell),
        "yaw": list(edges(cell.cell.yaw)),
        "pitch": list(edges(cell.cell.pitch)),
        "about": cell.cell.is_about,
        "src": cell.here,
        "dst": cell.there,
        "state": cell.state,
        "sharpest": cell.sharpest,
    }


def _tally(tally: Tally) -> dict[str, object]:
    whole = max(1, tally.faces)
    return {
        "faces": tally.faces,
        "mouth_open": round(tally.open_mouths / whole, 4),
        "eyes_shut": round(tally.shut_eyes / whole, 4),
        "light": tally.lights,
        "upscale": dict(zip(upscale_labels(), tally.upscales, strict=True)),
        "upscale_median": tally.upscale_median,
        "aligned_sizes_px": list(tally.sizes_px),
        "advised_size_px": tally.advised_size_px,
    }
