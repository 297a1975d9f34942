"""Where originals lie that the service moved, read beside a running service or without one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path


def moved_originals(ledger: Path) -> dict[str, Path]:
    """Return where originals are by now, by their SHA-256 in hex; nothing where there is no ledger, or none that can be
    read: who asks then has to be given the file."""
    try:
        if not ledger.exists():
            return {}
        with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as reader:
            rows = reader.execute("SELECT sha256, original_path FROM jobs WHERE original_path IS NOT NULL ORDER BY id")
            return {str(sha256): Path(os.fsdecode(place)) for sha256, place in rows}
    except (OSError, sqlite3.Error):
        return {}
