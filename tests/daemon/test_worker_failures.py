"""What a failure in a worker means for its job."""

from __future__ import annotations

import errno
from typing import get_args

import pytest

from daemon.jobs.kinds.contract import Reason
from daemon.worker.failures import failure_from
from engine.errors import (
    DiskFullError,
    InputError,
    InputUnavailableError,
    ModelError,
    OutputError,
    ReferencePhotoError,
    SettingsError,
)


def caused_by(problem: BaseException, cause: BaseException) -> BaseException:
    problem.__cause__ = cause
    return problem


@pytest.mark.parametrize(
    ("problem", "outlook", "reason"),
    [
        (InputError("no video"), "file", "not_readable"),
        (InputUnavailableError("the share is gone"), "passing", "source_unavailable"),
        (caused_by(InputError("bad"), OSError(errno.EIO, "io")), "passing", "disk_error"),
        (DiskFullError("full"), "passing", "no_space"),
        (OSError(errno.ENOSPC, "full"), "passing", "no_space"),
        (OSError(errno.ESTALE, "stale"), "passing", "disk_error"),
        (OSError(errno.EMFILE, "files"), "passing", "too_many_files"),
        (MemoryError(), "passing", "memory"),
        (caused_by(ModelError("load"), MemoryError()), "passing", "memory"),
        (OutputError("not writable"), "setup", "output"),
        (ReferencePhotoError("no face"), "setup", "reference"),
        (ModelError("missing"), "setup", "model"),
        (SettingsError("odd"), "setup", "settings"),
        (PermissionError(errno.EACCES, "Permission denied", "/workspace/aligned/1.jpg"), "setup", "permission"),
        (PermissionError(errno.EPERM, "Operation not permitted"), "setup", "permission"),
    ],
)
def test_each_failure_has_its_outlook(problem: BaseException, outlook: str, reason: str) -> None:
    failure = failure_from(problem)
    assert failure is not None
    assert (failure.outlook, failure.reason) == (outlook, reason)
    assert failure.reason in get_args(Reason)


def test_what_a_gpu_runtime_raises_at_work_may_pass() -> None:
    error = type("Fail", (Exception,), {"__module__": "onnxruntime.capi.onnxruntime_pybind11_state"})
    failure = failure_from(error("CUDA failure 2: out of memory"))
    assert failure is not None
    assert (failure.outlook, failure.reason) == ("passing", "gpu")


def test_an_error_that_nobody_foresaw_has_no_outlook() -> None:
    assert failure_from(KeyError("bug")) is None
