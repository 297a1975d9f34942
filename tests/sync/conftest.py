"""What the tests of synchronisation may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sync.fleet import Fleet, make_fleet


@pytest.fixture
def fleet(quick_folder: Path) -> Iterator[Fleet]:
    made = make_fleet(quick_folder)
    yield made
    for one in made.machines:
        one.kill()
