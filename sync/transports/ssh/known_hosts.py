"""Which keys belong to which machines: OpenSSH's known_hosts, read as OpenSSH reads it, and a line added to it.

Not for asking machines for their keys (`sync.transports.ssh.connection`) or for refusing them
(`sync.transports.ssh.host_keys`). The format (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), one entry a line, in bytes, not in
text:

    [@cert-authority|@revoked] PATTERNS KIND BASE64 [comment]

PATTERNS: names with `*`, `?` and `!`, between commas, `[name]:port` where the port is not 22; or one hashed name,
`|1|salt|HMAC-SHA1`. A key that is revoked for a machine counts for it nowhere. Certificates are not used here, so a
line of an authority is no key of the machine. A line that cannot be read is passed over, and named to whoever asks.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.files import replace_file, sync_folder

NEW_FILE_MODE = 0o644
"""As ssh makes it: the keys are public, and the daemon's user must be able to read what root wrote."""

LARGEST_FILE_BYTES = 16 * 2**20
"""A hundred thousand machines."""
KINDS = (
    b"ssh-ed25519",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"ssh-rsa",
    b"sk-ssh-ed25519@openssh.com",
    b"sk-ecdsa-sha2-nistp256@openssh.com",
)
"""Kinds of host key that OpenSSH 10 knows; it passes over others too."""


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
    def blob(self) -> bytes:
        """As it travels: what the base64 stands for."""
        return base64.b64decode(self.base64)

    @property
    def known_hosts_name(self) -> str:
        return known_hosts_name(self.address, self.port)

    @property
    def known_hosts_line(self) -> str:
        return f"{self.known_hosts_name} {self.kind} {self.base64}\n"


@dataclass(frozen=True)
class KnownKey:
    """One key of one line."""

    kind: str
    blob: bytes
    """As it travels: what the base64 stands for."""
    line: int

    @property
    def base64(self) -> str:
        return base64.b64encode(self.blob).decode()

    @property
    def fingerprint(self) -> str:
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


@dataclass(frozen=True)
class PassedOver:
    """A line that does not count."""

    line: int
    reason: str


@dataclass(frozen=True)
class KnownKeys:
    """What a known_hosts says about one machine."""

    keys: tuple[KnownKey, ...] = ()
    """Of this address and port, without those that are revoked."""
    without_port: tuple[KnownKey, ...] = ()
    """Of the address alone: as to OpenSSH, such a key is good at any port that has no line of its own."""
    revoked: frozenset[bytes] = frozenset()
    passed_over: tuple[PassedOver, ...] = ()
    """Lines that cannot be read, of whichever machine; and authorities of certificates for this one."""

    def holds(self, blob: bytes) -> bool:
        """Say whether the machine may show this key."""
        found = self.keys or self.without_port
        return blob not in self.revoked and any(key.blob == blob for key in found)

    def passed_over_text(self) -> str:
        """Return the lines that were passed over as words; nothing where there are none."""
        return ", ".join(f"line {one.line} ({one.reason})" for one in self.passed_over[:SHOWN_LINES])


SHOWN_LINES = 5


def read_known_hosts(path: Path, address: str, port: int) -> KnownKeys:
    """Return what the file says about the machine; nothing where there is no file. Raise OSError as the disk does."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        return KnownKeys()
    if len(content) > LARGEST_FILE_BYTES:
        raise OSError(f"it is larger than {LARGEST_FILE_BYTES} bytes")
    return find_keys(content, address, port)


def find_keys(content: bytes, address: str, port: int) -> KnownKeys:
    """Given the bytes of a known_hosts, return what they say about the machine. Pure; no content raises."""
    names = {"keys": known_hosts_name(address, port), "without_port": address}
    found: dict[str, list[KnownKey]] = {"keys": [], "without_port": []}
    revoked: set[bytes] = set()
    passed_over: list[PassedOver] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        marker = words.pop(0) if words[0].startswith(b"@") else b""
        key = _read_key(words, marker, number)
        if isinstance(key, PassedOver):
            passed_over.append(key)
            continue
        matching = [which for which, name in names.items() if _matches(words[0], name)]
        if marker == b"@revoked" and matching:
            revoked.add(key.blob)
        elif marker == b"@cert-authority" and "keys" in matching:
            passed_over.append(PassedOver(number, "a certificate authority; dfld checks plain host keys only"))
        elif not marker:
            for which in matching:
                found[which].append(key)
    kept = {which: tuple(key for key in keys if key.blob not in revoked) for which, keys in found.items()}
    return KnownKeys(kept["keys"], kept["without_port"], frozenset(revoked), tuple(passed_over))


def _read_key(words: list[bytes], marker: bytes, line: int) -> KnownKey | PassedOver:
    """Return the key of a line's words, which are patterns, kind, base64; or why there is none."""
    if marker not in (b"", b"@revoked", b"@cert-authority"):
        return PassedOver(line, "its marker is none of @revoked and @cert-authority")
    if len(words) < 3:
        return PassedOver(line, "it has no name, kind and key")
    kind, encoded = words[1], words[2]
    if kind not in KINDS:
        return PassedOver(line, "its kind of key is not known")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return PassedOver(line, "its key is not base64")
    if not _is_whole(blob, kind):
        return PassedOver(line, "its key is cut off, or of another kind than it says")
    return KnownKey(kind.decode(), blob, line)


def _is_whole(blob: bytes, kind: bytes) -> bool:
    """Say whether a key's bytes are its kind and then whole fields: each a uint32 length and that many bytes."""
    fields = []
    at = 0
    while at < len(blob):
        length = int.from_bytes(blob[at : at + 4])
        fields.append(blob[at + 4 : at + 4 + length])
        if len(fields[-1]) != length or at + 4 > len(blob):
            return False
        at += 4 + length
    return len(fields) > 1 and fields[0] == kind


def _matches(patterns: bytes, name: str) -> bool:
    """Say whether the first word of a line means the machine: as match_hostname and host_hash of OpenSSH."""
    wanted = name.lower().encode()
    if patterns.startswith(b"|"):
        return _matches_hashed(patterns, wanted)
    matched = False
    for pattern in patterns.lower().decode("latin-1").split(","):
        # OpenSSH knows `*` and `?`; to fnmatch, `[` would begin a set of characters.
        if fnmatch.fnmatchcase(wanted.decode("latin-1"), pattern.removeprefix("!").replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def _matches_hashed(pattern: bytes, wanted: bytes) -> bool:
    parts = pattern.split(b"|")
    if len(parts) != 4 or parts[1] != b"1":
        return False
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
    except binascii.Error:
        return False
    return hmac.compare_digest(hmac.new(salt, wanted, hashlib.sha1).digest(), digest)


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
        replace_file(known_hosts, before + line, check=partial(_take_mode_and_owner, known_hosts))
        sync_folder(known_hosts.parent)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    # The folder itself is locked: a lock file beside known_hosts would stay behind in /etc.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take_mode_and_owner(path: Path, temporary: Path) -> None:
    """Give a file that takes another's place what that one has."""
    if not path.exists():
        temporary.chmod(NEW_FILE_MODE)
        return
    now = path.stat()
    temporary.chmod(now.st_mode & 0o7777)
    if (now.st_uid, now.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(temporary, now.st_uid, now.st_gid)
