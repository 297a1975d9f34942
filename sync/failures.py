"""From an exception of any type to the failure of one unit of work: a machine, or a round.

Bytes of strangers end in errors that nobody foresaw. Where work on one unit must not hold up the others, the block of
the work stands in `failing_alone`, the only way in which sync catches an exception of any type.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.boundary import boundary
from core.errors import DfldError
from sync.errors import ComputerError, SyncError

OWN_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)
"""Errors of a file that can only be this computer's: what a machine says comes as a TransportError."""


@contextmanager
def failing_alone(unit: str, on_failure: Callable[[DfldError], object], *, machine: str = "") -> Iterator[None]:
    """Run the block; whatever it raises, of any type, becomes the failure of this unit, which `on_failure` gets.

    `unit` names for a person what is worked on; `machine` is set where the failure is that of a machine. What nobody
    foresaw is logged with its traceback (`core.boundary`). Interrupts pass.
    """
    with boundary("round", unit, lambda error: on_failure(as_failure(error, machine))), _own_faults():
        yield


@contextmanager
def _own_faults() -> Iterator[None]:
    """Separate errors that are this computer's from those that nobody foresaw."""
    try:
        yield
    except OSError as error:
        if error.errno not in OWN_FAULTS:
            raise
        raise ComputerError(words_of(error), hint="free space on this computer") from error


def as_failure(error: Exception, machine: str = "") -> DfldError:
    """Return an exception of any type as the failure that it is: of this computer, or of what was worked on."""
    if isinstance(error, DfldError):
        return error
    if isinstance(error, OSError) and error.errno in OWN_FAULTS:
        failure: DfldError = ComputerError(words_of(error), hint="free space on this computer")
    else:
        where = f"machine {machine}: an error that nobody foresaw: " if machine else ""
        failure = SyncError(where + words_of(error))
    failure.__cause__ = error
    return failure


def words_of(error: BaseException) -> str:
    """Return an exception as words; one that nobody foresaw as its type, its text, and the line that raised it."""
    if isinstance(error, DfldError):
        return error.message
    if isinstance(error, OSError) and error.errno in OWN_FAULTS:
        where = f" ({error.filename})" if error.filename else ""
        return f"this computer: {error.strerror}{where}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({Path(trace.tb_frame.f_code.co_filename).name} line {trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {error}{place}"
