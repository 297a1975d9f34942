"""How a process of dfld begins, before anything heavy is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START = """
import os, sys
from daemon.__main__ import start
assert "numpy" not in sys.modules, "too late to tell BLAS anything"
sys.argv = ["dfld", "--version"]
try:
    start()
except SystemExit:
    print(os.environ["OPENBLAS_NUM_THREADS"])
"""


@pytest.mark.parametrize(("given", "taken"), [(None, "1"), ("3", "3")])
def test_blas_has_no_threads_of_its_own_unless_told_so(given: str | None, taken: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment |= {"OPENBLAS_NUM_THREADS": given} if given else {}
    done = subprocess.run(
        [sys.executable, "-c", START], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == taken
