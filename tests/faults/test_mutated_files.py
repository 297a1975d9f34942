"""Mutants of every kind of file that comes with a faceset: weights, pickles, networks, packs, metadata of faces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon_rig import ROOT
from tests.mutated_files import KINDS

MUTANTS = int(os.environ.get("DFLD_FILE_MUTANTS", "24"))
MEMORY_MAX_MIB = 512


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_refused_by_name_or_read_without_crash_hang_or_much_memory(kind: str, quick_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutated_files", kind, str(MUTANTS), "13", str(quick_folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["refused"] > MUTANTS // 3
    assert outcome["peak_mib"] <= MEMORY_MAX_MIB
