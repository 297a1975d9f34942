"""Whatever paramiko raises, as an error of ours: the machine answered nonsense, or the connection ended.

Of any type: paramiko's thread takes bytes of the machine apart and hands on what it met there (ValueError,
struct.error, IndexError, what cryptography raises), beside errors of its own. What an SFTP server sends is taken apart
in `sync.transports.sftp`, what a login shell prints in `sync.transports.remote_command`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from core.errors import DfldError
from sync.errors import TransportError


@contextlib.contextmanager
def foreign(kind: type[TransportError], failed: str, machine: str) -> Iterator[None]:
    """Turn whatever paramiko raises into an error of ours that says what `failed` on which machine."""
    try:
        yield
    except DfldError:
        raise
    except Exception as error:
        raise kind(f"{failed}: {foreign_words(error)}", machine=machine) from error


def foreign_words(error: BaseException) -> str:
    """Return what an error of another library says, without the number of an error of the system in front."""
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return str(error) or type(error).__name__


class NegotiationEndedError(EOFError):
    """The other side ended the key exchange by a message, which paramiko keeps to itself."""


def is_closed_early(error: Exception, *, said_version: bool) -> bool:
    """Say whether the other side closed the connection, in the middle of its banner or of the key exchange.

    `said_version`: whether it had said which SSH it speaks. What keeps paramiko from reading that line, it raises as
    an error of its own, in the context of which the first one stands.
    """
    return isinstance(error, EOFError | ConnectionError) or (not said_version and error.__context__ is not None)
