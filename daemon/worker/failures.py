"""What a failure in a worker means for its job: may it pass, is it the file, or is it the set-up? Pure."""

from __future__ import annotations

import errno

from core.errors import DfldError
from daemon.errors import SidecarError
from daemon.jobs.kinds.contract import Failure
from engine.errors import InputError, ModelError, OutputError, ReferencePhotoError, SettingsError

PASSING_ERRNOS = {
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
GPU_MODULES = ("onnxruntime", "torch")
"""Errors that these raise themselves at run time are the device's: out of its memory, lost, reset."""

REASONS = (
    "not_readable",
    "incomplete",
    "changed",
    "lost_footage",
    "sidecar",
    "sidecar_skip",
    "duplicate",
    "reference",
    "model",
    "settings",
    "output",
    "workspace_taken",
    "no_space",
    "disk_error",
    "memory",
    "too_many_files",
    "gpu",
    "source_unavailable",
    "worker_died",
    "worker_hung",
    "too_many_attempts",
    "inbox_gone",
    "cancelled",
    "stopped",
    "paused",
    "unforeseen",
    "unfinished",
    "damaged",
)
"""Every reason that a job can carry: the label values of metrics."""


def failure_from(problem: BaseException) -> Failure | None:
    """Given what came out of an extraction, say what it means; None for an error that nobody foresaw."""
    message, hint = (problem.message, problem.hint) if isinstance(problem, DfldError) else (str(problem), "")
    for link in _chain(problem):
        if isinstance(link, MemoryError):
            return Failure("passing", "memory", message or "out of memory", hint)
        if isinstance(link, OSError) and link.errno in PASSING_ERRNOS:
            return Failure("passing", PASSING_ERRNOS[link.errno], message, hint)
    if type(problem).__module__.split(".")[0] in GPU_MODULES:
        return Failure("passing", "gpu", message, hint)
    if isinstance(problem, DfldError) and problem.retryable:
        reason = "no_space" if isinstance(problem, OutputError) else "source_unavailable"
        return Failure("passing", reason, message, hint)
    if isinstance(problem, InputError):
        return Failure("file", "not_readable", message, hint)
    for kind, reason in (
        (ReferencePhotoError, "reference"),
        (ModelError, "model"),
        (SettingsError, "settings"),
        (OutputError, "output"),
    ):
        if isinstance(problem, kind):
            return Failure("setup", reason, message, hint)
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
