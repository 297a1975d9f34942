"""An exception of any type ends at its boundary: logged with its traceback, the failure of one unit, nothing else."""

from __future__ import annotations

import logging
from concurrent.futures import Future

import pytest

from core.boundary import boundary, hand_over
from core.errors import DfldError


def test_what_nobody_foresaw_is_logged_with_its_traceback_and_kind(caplog: pytest.LogCaptureFixture) -> None:
    failed: list[Exception] = []
    with caplog.at_level(logging.ERROR), boundary("round", "model sam", failed.append, machine="gpu1"):
        raise ZeroDivisionError("by nothing")
    assert [type(error) for error in failed] == [ZeroDivisionError]
    (record,) = caplog.records
    assert record.getMessage() == "model sam: an error that nobody foresaw: ZeroDivisionError: by nothing"
    assert record.exc_info is not None
    assert record.exc_info[1] is failed[0]
    assert record.__dict__["fields"] == {"boundary": "round", "machine": "gpu1"}


def test_a_foreseen_error_is_handed_on_without_a_line(caplog: pytest.LogCaptureFixture) -> None:
    failed: list[Exception] = []
    with boundary("job", "job 3", failed.append):
        raise DfldError("the disk is full")
    assert [str(error) for error in failed] == ["the disk is full"]
    assert caplog.records == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes(kind: type[BaseException]) -> None:
    with pytest.raises(kind), boundary("thread", "the watcher"):
        raise kind


def test_an_error_that_is_for_a_caller_passes(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InterruptedError), boundary("thread", "claiming a.mp4", passing=(InterruptedError,)):
        raise InterruptedError
    assert caplog.records == []


def test_what_the_block_did_before_stays_and_what_follows_goes_on() -> None:
    done = []
    with boundary("thread", "the watcher"):
        done.append(1)
        raise ValueError
    done.append(2)
    assert done == [1, 2]


def test_a_waiting_thread_gets_what_the_working_one_raised() -> None:
    good: Future[int] = Future()
    hand_over(lambda: 7, good)
    assert good.result() == 7
    bad: Future[int] = Future()

    def work() -> int:
        raise KeyboardInterrupt

    hand_over(work, bad)
    with pytest.raises(KeyboardInterrupt):
        bad.result()
