"""Errors of the daemon, and the exit codes of the program.

DaemonError
├── UsageError             the command line asks for something that cannot be
├── ConfigError            config.toml cannot be used; carries every problem at once
├── SidecarError           a file's own sidecar asks for what cannot be
├── LedgerError            the ledger cannot be opened, is newer than this program, or does not answer
├── WorkspaceInUseError    a program of DeepFaceLab works on the workspace whose files are to be moved (retryable)
├── WorkerError            the child process that extracts died or hangs (retryable)
├── ControlError           no daemon answers on the control socket, or it refuses the request
├── DemoError              the demonstration went wrong
└── ServiceError           the daemon cannot start or go on: port taken, state folder not usable

The tree starts at core.errors.DfldError. Only the command line turns an error into an exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from core.errors import DfldError
from core.text import escaped


class ExitCode(IntEnum):
    """What the exit status of `dfld` means. The numbers from 64 up are those of sysexits.h."""

    OK = 0
    FAILED = 1
    """The operation failed."""
    USAGE = 2
    """The command line is wrong."""
    PARTLY_FAILED = 3
    """Some of several items failed."""
    NOT_REACHABLE = 4
    """No daemon answers on the control socket."""
    NOT_READY = 5
    """The daemon runs but is not ready."""
    UNAVAILABLE = 69
    """Something that dfld depends on is missing: a model, a GPU, a machine."""
    TEMPORARY = 75
    """It failed now and may succeed later: no space, a lock, a connection."""
    PERMISSION = 77
    """A file or folder may not be read or written."""
    CONFIGURATION = 78
    """The configuration is wrong; systemd does not restart on this one."""
    INTERRUPTED = 130
    """Stopped by SIGINT (128 + 2)."""
    TERMINATED = 143
    """Stopped by SIGTERM (128 + 15)."""


class DaemonError(DfldError):
    """Anything that stops the service or one of its jobs."""

    exit_code = ExitCode.FAILED
    several_lines = False
    """Whether the message has lines of its own; elsewhere a line break came with a file name, and is escaped."""


class UsageError(DaemonError):
    """The command line asks for something that cannot be."""

    exit_code = ExitCode.USAGE


class SidecarError(DaemonError):
    """The sidecar of a video asks for what cannot be; the inbox and its other files are well."""


class LedgerError(DaemonError):
    """The ledger cannot be opened, is newer than this program, or does not answer."""


class WorkspaceInUseError(DaemonError):
    """A program that dfld did not start works on a workspace: no file of it may be moved now."""

    retryable = True


class WorkerError(DaemonError):
    """The child process that owns models and decoders died or makes no progress."""

    retryable = True


class ControlError(DaemonError):
    """No daemon answers on the control socket, or it refuses what was asked."""

    exit_code = ExitCode.NOT_REACHABLE


class ServiceError(DaemonError):
    """The daemon cannot start or cannot go on."""


class DemoError(DaemonError):
    """The demonstration went wrong; the message ends with the log of its daemon."""

    several_lines = True


@dataclass(frozen=True)
class ConfigProblem:
    """One thing that is wrong in a configuration file."""

    file: Path
    line: int
    """1-based; 0 where the file has no such line, as when it cannot be read."""
    key: str
    """Dotted, with the place among tables of one name: `inbox[2].extract.output_size`; empty for the file itself."""
    found: str
    """The offending text, shortened; empty where something is missing."""
    expected: str
    closest: str = ""
    """The valid key that an unknown one looks like."""

    def __str__(self) -> str:
        file = escaped(str(self.file))  # the problems stand on lines of their own: no name may make one
        place = f"{file}:{self.line}" if self.line else file
        text = f"{place}: "
        if self.key:
            text += f"{self.key}: "
        if self.found:
            text += f"found {self.found}, "
        text += f"expected {self.expected}"
        return text + (f'; did you mean "{self.closest}"?' if self.closest else "")


class ConfigError(DaemonError):
    """A configuration that cannot be used, with every problem found in it."""

    exit_code = ExitCode.CONFIGURATION
    several_lines = True

    def __init__(self, problems: Sequence[ConfigProblem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        count = f"{len(problems)} problems" if len(problems) != 1 else "1 problem"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"the configuration has {count}; nothing of it is used\n{lines}", hint=hint)


def exit_code_of(problem: BaseException) -> ExitCode:
    """Map an error to its documented exit code."""
    from engine.errors import ModelError, SettingsError

    own = getattr(problem, "exit_code", None)
    if isinstance(own, ExitCode) and own is not ExitCode.FAILED:
        return own
    if isinstance(problem, SettingsError):
        return ExitCode.USAGE
    if isinstance(problem, ModelError):
        return ExitCode.UNAVAILABLE
    if getattr(problem, "retryable", False):
        return ExitCode.TEMPORARY
    if isinstance(problem, PermissionError) or isinstance(problem.__cause__, PermissionError):
        return ExitCode.PERMISSION
    return ExitCode.FAILED
