"""Words that docs/glossary.md gave up do not come back: in names, docstrings, comments, messages and pages."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "glossary.md"
PACKAGES = ("core", "dfl", "engine", "sync", "trainer", "daemon")
WRITTEN = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "config.example.toml",
        *(ROOT / "docs").glob("*.md"),
        *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")),
    ]
)
KEPT = re.compile(
    "|".join(
        (
            r"discard[_-]hand[_-]work",  # an option of commands
            r"\.tell\(\)",  # of Python's files
            r"Win32_Share",  # of Windows
        )
    )
)
"""What keeps its name: commands, files on users' disks, and names that are not ours."""


def given_up() -> dict[str, str]:
    """Word -> what stands in its place, as the page says."""
    table = PAGE.read_text().partition("## Words that are not used")[2]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    return {word: row[2].strip() for row in rows for word in re.findall(r"`([^`]+)`", row[1])}


@cache
def texts() -> dict[Path, str]:
    read = {path: KEPT.sub("", path.read_text()) for path in WRITTEN}
    return read | {PAGE: read[PAGE].partition("## Words that are not used")[0]}


def pattern(word: str) -> re.Pattern[str]:
    """Find a word alone, in `snake_case`, and across the end of a line; a capital one only as such."""
    parts = r"(?:[_-]|\s+(?:#:?\s*)?)".join(re.escape(part) for part in word.split())
    return re.compile(rf"(?<![A-Za-z]){parts}(?![A-Za-z])", 0 if word[0].isupper() else re.I)


@pytest.mark.parametrize("word", given_up())
def test_a_word_that_was_given_up_is_nowhere(word: str) -> None:
    found = []
    for path, text in texts().items():
        lines = [text.count("\n", 0, one.start()) + 1 for one in pattern(word).finditer(text)]
        found += [f"{path.relative_to(ROOT)}:{line}" for line in lines]
    assert found == [], f"`{word}`: write {given_up()[word]}"


def test_the_page_names_what_was_given_up() -> None:
    assert len(given_up()) > 30
