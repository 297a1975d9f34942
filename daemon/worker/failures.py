"""What a failure in a worker means for its job: may it pass, is it the file, or is it the set-up? Pure."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from core.errors import DfldError
from daemon.errors import SidecarError, WorkspaceInUseError
from daemon.jobs.kinds.contract import Failure, Reason
from engine.errors import FacesetInUseError, InputError, ModelError, OutputError, ReferencePhotoError, SettingsError

PASSING_ERRNOS: Mapping[int, Reason] = {
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EIO: "disk_error",
    errno.ESTALE: "disk_error",
    errno.EROFS: "disk_error",
    errno.ETIMEDOUT: "disk_error",
    errno.ENOMEM: "memory",
    errno.EMFILE: "too_many_files",
    errno.ENFILE: "too_many_files",
}
SETUP_ERRORS: tuple[tuple[type[DfldError], Reason], ...] = (
    (ReferencePhotoError, "reference"),
    (ModelError, "model"),
    (SettingsError, "settings"),
    (OutputError, "output"),
)
PERMISSION_ERRNOS = (errno.EACCES, errno.EPERM)
GPU_MODULES = ("onnxruntime", "torch")
"""Errors that these raise themselves at run time are the device's: out of its memory, lost, reset."""


def failure_from(problem: BaseException) -> Failure | None:
    """Given what came out of an extraction, say what it means; None for an error that nobody foresaw."""
    message, hint = (problem.message, problem.hint) if isinstance(problem, DfldError) else (str(problem), "")
    for link in _chain(problem):
        if isinstance(link, MemoryError):
            return Failure("passing", "memory", message or "out of memory", hint)
        if isinstance(link, OSError) and (passing := PASSING_ERRNOS.get(link.errno or 0)):
            return Failure("passing", passing, message, hint)
    if type(problem).__module__.split(".")[0] in GPU_MODULES:
        return Failure("passing", "gpu", message, hint)
    if isinstance(problem, FacesetInUseError | WorkspaceInUseError):
        return Failure("passing", "held", message, hint)
    if isinstance(problem, DfldError) and problem.retryable:
        reason: Reason = "no_space" if isinstance(problem, OutputError) else "source_unavailable"
        return Failure("passing", reason, message, hint)
    if isinstance(problem, OSError) and problem.errno in PERMISSION_ERRNOS:
        return Failure("setup", "permission", message, "let the account that dfld runs as read and write that")
    if isinstance(problem, InputError):
        return Failure("file", "not_readable", message, hint)
    for kind, setup_reason in SETUP_ERRORS:
        if isinstance(problem, kind):
            return Failure("setup", setup_reason, message, hint)
    if isinstance(problem, SidecarError):
        return Failure("file", "sidecar", message, hint)
    if isinstance(problem, DfldError):
        return Failure("file", "not_readable", message, hint)
    return None


def _chain(problem: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = problem
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__
    return links
