"""Errors of synchronisation: what can go wrong between the weights of several machines.

SyncError
├── TransportError             files or commands on one machine; `machine` names it
│   ├── UnreachableError       refused, no route, no answer before the deadline (retryable)
│   ├── ConnectionLostError    cut or silent in the middle of something (retryable)
│   ├── HostKeyError           not the key in known_hosts
│   │   ├── UnknownHostKeyError    no key is known for the machine
│   │   ├── ChangedHostKeyError    another key than the known one: possibly another machine
│   │   └── RevokedHostKeyError    a key that known_hosts marks as revoked
│   ├── LoginError             the machine refused the user or the key, or wants more than a key
│   ├── RemoteFileError        a file on the machine cannot be read, written or renamed
│   │   ├── RemoteFileMissingError  it is not there (retryable: a trainer replaces files by unlink and rename)
│   │   ├── RemoteFileChangedError  it became another file while it was read (retryable)
│   │   └── RemoteDiskFullError     no space left on the machine (retryable)
│   └── CommandError           a configured command failed or did not end in time
├── SnapshotError              no consistent set of model files could be taken (retryable)
├── DisagreementError          a machine's weights cannot be averaged with the others'
├── ComputerError              this computer cannot do its part: disk full or read-only, no more open files
├── AverageError               the average cannot be computed or written on this computer
├── TrainerError               a trainer does not stop, save, start or take the weights
├── RoundError                 a round cannot start or go on: no quorum, held by a gate, another one is running
└── JournalError               the journal of rounds cannot be read or written
"""

from __future__ import annotations

from core.errors import DfldError
from core.text import escaped


class SyncError(DfldError):
    """Anything that stops a synchronisation. What machines said stands escaped in the message, on one line."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(escaped(message), hint=hint)


class TransportError(SyncError):
    """A failure of files or commands on one machine."""

    def __init__(self, message: str, *, machine: str, hint: str = "") -> None:
        super().__init__(f"machine {machine}: {message}", hint=hint)
        self.machine = machine
        self.reason = message
        """The message without the machine's name."""


class UnreachableError(TransportError):
    """The machine refused the connection, has no route, or did not answer before the deadline."""

    retryable = True


class ConnectionLostError(TransportError):
    """The connection was cut, or no byte moved for longer than allowed."""

    retryable = True


class HostKeyError(TransportError):
    """The machine did not show the host key that known_hosts holds for it. Nothing was sent to it."""


class UnknownHostKeyError(HostKeyError):
    """known_hosts holds no key for the machine."""


class ChangedHostKeyError(HostKeyError):
    """The machine shows another host key than the one in known_hosts."""


class RevokedHostKeyError(HostKeyError):
    """The machine shows a host key that known_hosts marks with @revoked: somebody else may have it."""


class LoginError(TransportError):
    """The machine refused the user or the key, wants more than a key, or the key cannot be read here."""


class RemoteFileError(TransportError):
    """A file or folder on the machine cannot be read, written, renamed or removed."""


class RemoteFileMissingError(RemoteFileError):
    """A file is not there; a trainer in the middle of a save unlinks each file before it renames the new one."""

    retryable = True


class RemoteFileChangedError(RemoteFileError):
    """A file changed, or was replaced, while it was read: what arrived is no file that ever lay there."""

    retryable = True


class RemoteDiskFullError(RemoteFileError):
    """The machine has no space left for a file; what was being written was not put in place."""

    retryable = True


class CommandError(TransportError):
    """A configured command failed on the machine or did not end before its deadline."""


class SnapshotError(SyncError):
    """No consistent set of model files could be taken from a machine: it was saving, or the set is incomplete."""

    retryable = True


class DisagreementError(SyncError):
    """A machine's weights cannot be averaged with the others': other tensors, shapes, options or start."""


class ComputerError(SyncError):
    """This computer, not a machine, cannot do its part: a full or read-only disk, too many open files."""

    retryable = True


class AverageError(SyncError):
    """The average cannot be computed or written on this computer: no space, stopped, or it reads back wrong."""


class TrainerError(SyncError):
    """A trainer does not stop, does not save, does not start, or did not take the weights that it was given."""


class RoundError(SyncError):
    """A round cannot start or go on: too few machines, held by a gate, or another round is running."""


class JournalError(SyncError):
    """The journal of rounds cannot be read or written."""
