"""Whether an original may be deleted says the kind of its job, not who deletes it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from daemon.arrivals.scan import inspect_unit
from daemon.config.inbox_rules import scan_rules
from daemon.jobs.kinds.contract import Written
from daemon.jobs.kinds.extract import ExtractKind
from daemon.jobs.tidying import Tidier
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Connection, Ledger
from tests.daemon_rig import Rig
from tests.ledger_rows import set_row


class OtherKind(ExtractKind):
    """Reads originals, too, and has a report of its own."""

    def why_not_deleted(self, job: Job) -> str:
        return "" if job.report == "all of it" else "kept, not deleted: half of it"

    def written(self, _connection: Connection, _job: Job) -> Written:
        return Written(frames=self.frames)

    def __init__(self, frames: int) -> None:
        self.frames = frames


@pytest.mark.parametrize(
    ("report", "frames", "original"),
    [("all of it", 0, "deleted"), ("half of it", 0, "kept"), ("all of it", 1, "kept")],
)
def test_the_kind_alone_says_whether_an_original_is_deleted(
    tmp_path: Path, report: str, frames: int, original: str
) -> None:
    rig = Rig(tmp_path)
    rig.inboxes["alice"]["on_done"] = "delete"
    (rig.inbox / "clip.mp4").write_bytes(b"footage")
    config = rig.config
    unit = inspect_unit(rig.inbox, "clip.mp4", scan_rules(config.inboxes[0], config.watch), "video")
    assert unit is not None
    arrival = Arrival(
        inbox="alice",
        path=b"clip.mp4",
        kind="extract",
        source_kind="video",
        file_state=unit.fingerprint,
        sha256=hashlib.sha256(b"footage").hexdigest(),
        size_bytes=7,
        arrived_s=1.0,
        workspace=str(rig.workspace),
        role="dst",
        slugs=("clip",),
        priority=5,
    )
    ledger = Ledger(tmp_path / "ledger.db")
    job = ledger.write(lambda writer: claim(writer, arrival, now_s=1.0, on_duplicate="skip", earlier_is_there=True)).job
    set_row(ledger, job.id, state="done", original="to_finish", report=report)
    tidier = Tidier(ledger, lambda _event: None, lambda _inbox, _paths: None, {"extract": OtherKind(frames)})
    tidier.tidy(job.id, config.inboxes[0], config)
    after = ledger.read(lambda reader: table.job_by_id(reader, job.id))
    ledger.close()
    assert after is not None
    assert (after.original, (rig.inbox / "clip.mp4").exists()) == (original, original == "kept")
