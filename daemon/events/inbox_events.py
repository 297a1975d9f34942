"""Events of an inbox: its folder, its watch, what arrives in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from daemon.events.event import Event, Level


@dataclass(frozen=True, kw_only=True)
class InboxUp(Event):
    """The folder is watched."""

    kind: ClassVar[str] = "inbox.up"
    after: str | None
    """What was wrong with it before."""


@dataclass(frozen=True, kw_only=True)
class InboxSuspended(Event):
    """The folder cannot be used; nothing of it is taken until it is back."""

    kind: ClassVar[str] = "inbox.suspended"
    level: Level = "warning"
    reason: str


@dataclass(frozen=True, kw_only=True)
class InboxRearmed(Event):
    """The watch was set up anew."""

    kind: ClassVar[str] = "inbox.rearmed"
    level: Level = "warning"
    reason: str


@dataclass(frozen=True, kw_only=True)
class InboxReadOnly(Event):
    """The folder became read-only (a warning), or writable again."""

    kind: ClassVar[str] = "inbox.read_only"


@dataclass(frozen=True, kw_only=True)
class InboxNotWatched(Event):
    """The kernel gives no events for the folder; it is scanned more often instead."""

    kind: ClassVar[str] = "inbox.not_watched"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class InboxOverflow(Event):
    """The kernel dropped events; the folder is scanned instead."""

    kind: ClassVar[str] = "inbox.overflow"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class InboxSlow(Event):
    """The first scan takes long; the service starts without waiting for it."""

    kind: ClassVar[str] = "inbox.slow"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class InboxHinted(Event):
    """Events of the kernel pointed at files."""

    kind: ClassVar[str] = "inbox.hinted"
    is_logged: ClassVar[bool] = False
    level: Level = "debug"
    files: int


@dataclass(frozen=True, kw_only=True)
class InboxScanned(Event):
    """The whole folder was looked through."""

    kind: ClassVar[str] = "inbox.scanned"
    level: Level = "debug"
    trigger: str
    seconds: float
    files: int


@dataclass(frozen=True, kw_only=True)
class FileClaimed(Event):
    """A file that settled was claimed, or turned out to be a known one."""

    kind: ClassVar[str] = "file.claimed"
    outcome: str
    """queued, duplicate, refused …, as the ledger says."""
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FilePassedOver(Event):
    """A link leads out of the inbox."""

    kind: ClassVar[str] = "file.passed_over"
    level: Level = "warning"
    file: str


@dataclass(frozen=True, kw_only=True)
class FileUnreadable(Event):
    """A file cannot be read; it is tried again."""

    kind: ClassVar[str] = "file.unreadable"
    level: Level = "warning"
    file: str
    reason: str = "unreadable"


@dataclass(frozen=True, kw_only=True)
class FolderNotRead(Event):
    """None of a folder's pictures is of a kind that dfld reads."""

    kind: ClassVar[str] = "folder.not_read"
    level: Level = "warning"
    file: str
    reason: str = "pictures_not_read"


@dataclass(frozen=True, kw_only=True)
class OriginalPutBack(Event):
    """A file that a kill left aside has its name again."""

    kind: ClassVar[str] = "original.put_back"
    level: Level = "warning"
