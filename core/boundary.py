"""The one place where an exception of any type ends, so that the work beside it goes on.

    with boundary("request", "GET /metrics", on_error=answer_500):
        answer()

What nobody foresaw is logged with its traceback and the boundary's kind; `daemon.log` counts the line. A DfldError was
foreseen: it is handed to `on_error` without a log line. Interrupts and SystemExit pass every boundary.
docs/architecture.md lists who uses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Literal, TypeVar, get_args

from core.errors import DfldError

BoundaryKind = Literal["job", "round", "request", "thread"]
"""job: one job of the service. round: a round, and each of its machines. request: one of HTTP or the control socket.
thread: one turn of a thread that has to go on."""
BOUNDARY_KINDS: tuple[BoundaryKind, ...] = get_args(BoundaryKind)

T = TypeVar("T")

log = logging.getLogger(__name__)


def _nothing(_error: Exception) -> None:
    pass


@contextmanager
def boundary(
    kind: BoundaryKind,
    unit: str,
    on_error: Callable[[Exception], object] = _nothing,
    *,
    passing: tuple[type[Exception], ...] = (),
    **facts: object,
) -> Iterator[None]:
    """Run the block; where it raises, log that and call `on_error`, which makes it the failure of one unit.

    `unit` names for a person what failed; errors of the types `passing` are for a caller, and go on to it; `facts`
    stand on the log line.
    """
    try:
        yield
    except passing:
        raise
    except Exception as error:
        if not isinstance(error, DfldError):
            log_unforeseen(kind, unit, error, **facts)
        on_error(error)


def log_unforeseen(kind: BoundaryKind, unit: str, error: BaseException, **facts: object) -> None:
    """Log an exception that nobody foresaw with its traceback; for who caught it by another name than `boundary`."""
    message = "%s: an error that nobody foresaw: %s: %s"
    extra = {"unit": unit, "fields": {"boundary": kind, **facts}}
    log.error(message, unit, type(error).__name__, error, exc_info=error, extra=extra)


def hand_over(work: Callable[[], T], result: Future[T]) -> None:
    """Do `work`; put what it returns or raises, of any type, into `result`: it is raised in the thread that waits."""
    try:
        result.set_result(work())
    except BaseException as error:
        result.set_exception(error)
