"""Where originals lie by now is read from the ledger, and never stands in the way."""

from __future__ import annotations

from pathlib import Path

from daemon.ledger.claims import Arrival, claim
from daemon.ledger.ledger import Ledger
from daemon.ledger.moved_originals import moved_originals
from tests.ledger_rows import set_row


def arrival(path: bytes, sha256: str) -> Arrival:
    return Arrival(
        inbox="alice",
        path=path,
        kind="extract",
        source_kind="video",
        file_state=path.decode(),
        sha256=sha256,
        size_bytes=5,
        arrived_s=1.0,
        workspace="/ws",
        role="src",
        slugs=(path.decode().removesuffix(".mp4"),),
        priority=5,
    )


def test_an_original_is_named_where_the_service_moved_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    for place, (path, sha256) in enumerate(((b"a.mp4", "a" * 64), (b"b.mp4", "b" * 64)), start=1):
        one = arrival(path, sha256)
        ledger.write(lambda writer, one=one: claim(writer, one, now_s=2.0, on_duplicate="skip", earlier_is_there=True))
        if place == 2:
            set_row(ledger, place, original="moved", original_path=b"/archive/b\xff.mp4")
    assert moved_originals(tmp_path / "ledger.db") == {"b" * 64: Path("/archive/b\udcff.mp4")}
    ledger.close()
    assert moved_originals(tmp_path / "ledger.db") == {"b" * 64: Path("/archive/b\udcff.mp4")}


def test_without_a_ledger_that_can_be_read_nothing_is_known(tmp_path: Path) -> None:
    assert moved_originals(tmp_path / "ledger.db") == {}
    (tmp_path / "ledger.db").write_bytes(b"no database" * 100)
    assert moved_originals(tmp_path / "ledger.db") == {}
    assert moved_originals(tmp_path / "file" / "ledger.db") == {}
