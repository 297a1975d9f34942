"""`dfld scan --dry-run` judges a file as the service does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.arrivals.roots import Root, inspect_root
from daemon.inboxes import plan
from daemon.inboxes.plan import plan_inbox
from daemon.ledger.ledger import Ledger
from tests.daemon_rig import Rig


@pytest.mark.parametrize(("filesystem", "outcome"), [("ext4", "waits"), ("btrfs", "would_settle")])
def test_a_file_of_few_blocks_is_complete_where_the_filesystem_compresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str, outcome: str
) -> None:
    rig = Rig(tmp_path)
    with (rig.inbox / "clip.mp4").open("wb") as file:
        file.truncate(1 << 20)
    root = inspect_root(rig.inbox)
    assert isinstance(root, Root)
    monkeypatch.setattr(plan, "inspect_root", lambda _path: replace(root, filesystem=filesystem))
    ledger = Ledger(tmp_path / "ledger.db")
    try:
        (found,) = plan_inbox(rig.config.inboxes[0], rig.config, ledger)
    finally:
        ledger.close()
    assert found.outcome == outcome
