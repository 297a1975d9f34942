"""Whatever is raised while one unit is worked on is that unit's failure, and its traceback is in the log."""

from __future__ import annotations

import errno
import logging

import pytest

from core.errors import DfldError
from sync.errors import ComputerError, ConnectionLostError, SyncError
from sync.failures import failing_alone
from sync.machines import on_each
from sync.rounds.rounds import Rounds
from tests.sync.fleet import Fleet


def nonsense(text: bytes) -> int:
    return int.from_bytes(text[4:8]) // len(text[8:])


def failures_of(error: Exception, *, machine: str = "") -> list[DfldError]:
    found: list[DfldError] = []
    with failing_alone("machine gpu2", found.append, machine=machine):
        raise error
    return found


def test_what_nobody_foresaw_is_logged_with_its_traceback_and_counted_as_a_round(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found: list[DfldError] = []
    with failing_alone("machine gpu2", found.append, machine="gpu2"):
        nonsense(b"12345678")

    assert [type(one) for one in found] == [SyncError]
    assert "ZeroDivisionError" in found[0].message
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.fields["boundary"] == "round"  # type: ignore[attr-defined]
    assert record.exc_info
    assert "nonsense" in caplog.text, "the traceback names the function that raised it"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ConnectionLostError("cut", machine="gpu2"), ConnectionLostError),
        (OSError(errno.ENOSPC, "No space left on device", "/here"), ComputerError),
        (OSError(errno.EMFILE, "Too many open files"), ComputerError),
    ],
)
def test_what_was_foreseen_is_a_failure_without_a_traceback(
    caplog: pytest.LogCaptureFixture, raised: Exception, kind: type[DfldError]
) -> None:
    (failure,) = failures_of(raised)
    assert type(failure) is kind
    assert caplog.records == []


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupts_are_no_failures(interrupt: type[BaseException]) -> None:
    with pytest.raises(interrupt), failing_alone("machine gpu2", lambda _failure: None):
        raise interrupt


def test_one_machine_fails_with_its_traceback_and_the_others_go_on(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    links = Rounds(fleet.settings()).links

    def work(link: object) -> str:
        name = str(getattr(link, "name", ""))
        if name == "gpu2":
            nonsense(b"12345678")
        return name

    done, failed = on_each(links, links, work)

    assert set(done) == set(links) - {"gpu2"}
    assert failed["gpu2"].message.startswith("machine gpu2: an error that nobody foresaw: ZeroDivisionError")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["machine gpu2"]
    assert "nonsense" in caplog.text
