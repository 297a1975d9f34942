"""Which keys belong to which machines: OpenSSH's known_hosts, and adding a line to it when a person agrees.

Not for asking machines for their keys or for checking them: `sync.transports.ssh` does, with paramiko, and OpenSSH
itself.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NEW_FILE_MODE = 0o644
"""As ssh makes it: the keys are public, and the daemon's user must be able to read what root wrote."""


@dataclass(frozen=True)
class HostKey:
    """The public key that a machine shows."""

    address: str
    port: int
    kind: str
    """As `ssh-ed25519`."""
    base64: str
    fingerprint: str
    """`SHA256:...`, as ssh and ssh-keygen show it."""

    @property
    def known_hosts_name(self) -> str:
        return known_hosts_name(self.address, self.port)

    @property
    def known_hosts_line(self) -> str:
        return f"{self.known_hosts_name} {self.kind} {self.base64}\n"


def known_hosts_name(address: str, port: int) -> str:
    """Return how OpenSSH writes this machine in known_hosts."""
    return address if port == 22 else f"[{address}]:{port}"


def trust_host_key(key: HostKey, known_hosts: Path) -> None:
    """Add `key` to `known_hosts`, made with its folder where absent. Call this after a person agreed, only then.

    Two at once wait for each other, and whoever reads meanwhile, or after a crash, finds the whole old file or the
    whole new one. A symbolic link stays one, mode and owner stay what they were. Raise OSError as the disk does.
    """
    known_hosts = known_hosts.resolve()
    known_hosts.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(known_hosts.parent):
        before = known_hosts.read_bytes() if known_hosts.exists() else b""
        line = key.known_hosts_line.encode()
        if line.strip() in (other.strip() for other in before.splitlines()):
            return
        if before and not before.endswith(b"\n"):
            before += b"\n"
        _replace(known_hosts, before + line)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    # The folder itself is locked: a lock file beside known_hosts would stay behind in /etc.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if path.exists():
                now = path.stat()
                os.fchmod(file.fileno(), now.st_mode & 0o7777)
                if (now.st_uid, now.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), now.st_uid, now.st_gid)
            else:
                os.fchmod(file.fileno(), NEW_FILE_MODE)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
