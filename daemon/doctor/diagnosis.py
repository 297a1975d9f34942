"""What `dfld doctor` says of one thing: a verdict, a sentence, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "problem"]
VERDICTS: tuple[Verdict, ...] = ("ok", "warning", "problem")
"""From good to bad; the place of the worst one is doctor's exit code."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at."""

    subject: str
    """What it is about: `configuration`, `inbox alice`, `machine gpu1` …"""
    verdict: Verdict
    sentence: str
    remedy: str = ""
    """What to do; never empty for a warning or a problem."""


def ok(subject: str, sentence: str) -> Diagnosis:
    """Nothing to do."""
    return Diagnosis(subject, "ok", sentence)


def warning(subject: str, sentence: str, remedy: str) -> Diagnosis:
    """It works, and will surprise somebody."""
    return Diagnosis(subject, "warning", sentence, remedy)


def problem(subject: str, sentence: str, remedy: str) -> Diagnosis:
    """Something that is configured does not work."""
    return Diagnosis(subject, "problem", sentence, remedy)


def worst(diagnoses: Iterable[Diagnosis]) -> int:
    """Return 0 when all is well, 1 when something is to be warned of, 2 when something does not work."""
    return max((VERDICTS.index(one.verdict) for one in diagnoses), default=0)
