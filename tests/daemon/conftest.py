"""What many tests of the service begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon_rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return one inbox, alice, and everything that a service needs."""
    return Rig(tmp_path)
