"""Kinds of jobs: known to service and worker alike, and to nobody by name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from daemon.jobs.kinds.registry import KINDS, OF_ARRIVALS
from daemon.worker.registry import trades

ROOT = Path(__file__).parents[2]


def test_every_kind_that_the_service_knows_a_worker_does() -> None:
    assert set(KINDS) == set(trades())
    assert all(kind.name == name for name, kind in KINDS.items())
    assert OF_ARRIVALS.reads_original


def test_every_kind_has_a_file_of_its_own_with_the_service_and_no_other_file_there() -> None:
    files = {path.stem for path in (ROOT / "daemon" / "jobs" / "kinds").glob("*.py")}
    assert files == {"__init__", "contract", "registry", *KINDS}


@pytest.mark.parametrize("package", ["daemon"])
def test_nothing_asks_what_a_kind_is_called(package: str) -> None:
    found = []
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                parts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
                asks = any(
                    ast.unparse(side).endswith(("kind.name", "job.kind"))
                    for side in ast.walk(node)
                    if isinstance(side, ast.expr)
                )
                if asks or set(KINDS) & {one for one in parts if isinstance(one, str)}:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}")
    assert found == []
