"""SFTP version 3, spoken over any authenticated stream of bytes: the requests about files, one at a time.

Not for moving whole models (`sync.transports.sftp_bulk` pipelines that over the same client) and not for making
connections (`sync.transports.ssh.connection`, `sync.transports.ssh.openssh`). One client speaks over a paramiko channel
and over the pipes of OpenSSH's `ssh -s`, so both roads have the same semantics, the same limits and the same errors.
paramiko's own SFTPClient is not used because its prefetch may read a file twice or fall back to one request at a time,
its channel has no time limit, and fsync, limits and statvfs have no public method there.

The format (draft-ietf-secsh-filexfer-02, and PROTOCOL of OpenSSH for the `@openssh.com` extensions): a packet is
uint32 length, byte type, and but for INIT and VERSION uint32 request id; strings are uint32 length and bytes. A
server may send any length: replies beyond MAX_REPLY_BYTES are refused.
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from typing import Protocol

from sync.errors import ConnectionLostError, RemoteDiskFullError, RemoteFileError, RemoteFileMissingError
from sync.types import FileStat

INIT, VERSION, OPEN, CLOSE, READ, WRITE = 1, 2, 3, 4, 5, 6
FSTAT, OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, STAT = 8, 11, 12, 13, 14, 15, 17
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED, EXTENDED_REPLY = 101, 102, 103, 104, 105, 200, 201

OK, END_OF_FILE, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = 0, 1, 2, 3, 4

OPEN_READ, OPEN_WRITE, OPEN_CREATE, OPEN_TRUNCATE = 1, 2, 8, 16

FSYNC, POSIX_RENAME, HARD_LINK = "fsync@openssh.com", "posix-rename@openssh.com", "hardlink@openssh.com"
LIMITS, STATVFS = "limits@openssh.com", "statvfs@openssh.com"

PLAIN_REQUEST_BYTES = 32 * 1024
"""What every server must take (the draft, section 3); more only where `limits@openssh.com` says so."""
LARGEST_REQUEST_BYTES = 255 * 1024
"""OpenSSH announces 261120; larger requests were not faster and cost memory."""
MAX_REPLY_BYTES = 256 * 1024 + 1024
"""OpenSSH's own packet limit (262144) and room for the header."""
MAX_FOLDER_ENTRIES = 100_000
"""A model folder holds dozens of files; a listing beyond this is not one."""

MAX_NAME_BYTES = 1024
"""No disk allows more than 255 characters; of UTF-8 that is at most 1020 bytes."""
SHOWN_CHARACTERS = 80


class ByteStream(Protocol):
    """Two directions of bytes to an SFTP server, already authenticated.

    Both methods raise ConnectionLostError when the other side is gone, when no byte moved for the stall limit the
    stream was opened with, or when `time.monotonic()` passes `ends_at`. One thread at a time.
    """

    ends_at: float
    """Set before each piece of work; a drip of single bytes must not keep a round open for ever."""

    def send(self, *parts: bytes | memoryview) -> None:
        """Send all bytes of all parts, in order."""

    def receive_into(self, view: memoryview) -> None:
        """Fill the whole view."""

    def close(self) -> None:
        """Give the connection back; never raises."""


@dataclass(frozen=True)
class Reply:
    """One packet from the server, without its length."""

    kind: int
    request: int
    body: bytes


class Fields:
    """Reads the fields of a reply one after the other; raises ConnectionLostError where the bytes run out.

    A server whose replies do not add up is out of step: nothing more of that session can be believed.
    """

    def __init__(self, body: bytes, machine: str) -> None:
        self.body = body
        self.machine = machine
        self.at = 0

    def uint32(self) -> int:
        return int.from_bytes(self._take(4))

    def uint64(self) -> int:
        return int.from_bytes(self._take(8))

    def string(self) -> bytes:
        return self._take(self.uint32())

    def _take(self, length: int) -> bytes:
        piece = self.body[self.at : self.at + length]
        if len(piece) != length:
            raise ConnectionLostError(
                f"its SFTP server sent a malformed reply: it ends after {len(self.body)} bytes, "
                f"{self.at + length} were expected",
                machine=self.machine,
            )
        self.at += length
        return piece


@dataclass(frozen=True)
class Attributes:
    """Size, mode and time of a file, as far as the server says."""

    size_bytes: int
    mode: int
    modified_s: int


class SftpClient:
    """An SFTP session. Every method blocks for one round trip; one thread at a time."""

    def __init__(self, stream: ByteStream, machine: str) -> None:
        """Shake hands; raise ConnectionLostError when the server does not speak SFTP."""
        self.stream = stream
        self.machine = machine
        self._last_request = 0
        self.extensions = self._shake_hands()
        self.request_bytes = self._ask_request_bytes()

    # Files and folders.

    def stat(self, path: str) -> FileStat:
        """Return size and time of a file; RemoteFileMissingError when it is not there."""
        reply = self._ask(STAT, text(path), action=f"examine {path}", expect=ATTRS)
        found = read_attributes(Fields(reply.body, self.machine))
        return FileStat(path.rpartition("/")[2], found.size_bytes, found.modified_s)

    def list_files(self, folder: str) -> list[FileStat]:
        """Return the regular files of a folder, in no order."""
        action = f"list {folder}"
        handle = self._handle(self._ask(OPENDIR, text(folder), action=action, expect=HANDLE))
        found: list[FileStat] = []
        try:
            while True:
                reply = self._send_and_receive(READDIR, string(handle))
                if reply.kind == STATUS and Fields(reply.body, self.machine).uint32() == END_OF_FILE:
                    return found
                found += self._names(self._checked(reply, action, NAME))
                if len(found) > MAX_FOLDER_ENTRIES:
                    raise RemoteFileError(
                        f"{folder} holds more than {MAX_FOLDER_ENTRIES} files; that is no model folder",
                        machine=self.machine,
                    )
        finally:
            self._send_and_receive(CLOSE, string(handle))

    def make_folder(self, path: str) -> None:
        """Make a folder; one that exists already is fine."""
        reply = self._send_and_receive(MKDIR, text(path) + uint32(0))
        if self._status(reply) != OK and not self._is_folder(path):
            self._checked(reply, f"make the folder {path}", STATUS)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder; one that is not there is fine."""
        self._ask_to_remove(RMDIR, path)

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is fine."""
        self._ask_to_remove(REMOVE, path)

    def rename_over(self, old: str, new: str) -> None:
        """Give `old` the name `new` in one step, replacing what had it; RemoteFileError where the server cannot."""
        if POSIX_RENAME not in self.extensions:
            raise RemoteFileError(
                f"its SFTP server does not offer {POSIX_RENAME}, so {new} cannot be replaced in one step",
                machine=self.machine,
                hint="use OpenSSH's sftp-server (also on Windows)",
            )
        body = text(POSIX_RENAME) + text(old) + text(new)
        self._ask(EXTENDED, body, action=f"rename {old} to {new}", expect=STATUS)

    def hard_link(self, old: str, new: str) -> bool:
        """Give the file `old` a second name; False where server or disk cannot."""
        if HARD_LINK not in self.extensions:
            return False
        reply = self._send_and_receive(EXTENDED, text(HARD_LINK) + text(old) + text(new))
        status = self._status(reply)
        if status == NO_SUCH_FILE:
            self._checked(reply, f"link {old} to {new}", STATUS)
        return status == OK

    def free_bytes(self, folder: str) -> int | None:
        """Return the bytes that this user may still write in `folder`; None where the server does not say."""
        if STATVFS not in self.extensions:
            return None
        reply = self._send_and_receive(EXTENDED, text(STATVFS) + text(folder))
        if reply.kind != EXTENDED_REPLY:
            return None
        fields = Fields(reply.body, self.machine)
        fields.uint64()
        fragment_bytes = fields.uint64()
        fields.uint64(), fields.uint64()
        return fragment_bytes * fields.uint64()

    # Open files.

    def open(self, path: str, flags: int) -> bytes:
        """Open a file and return its handle; to read, a regular one: a server waits at a pipe for a writer."""
        if flags == OPEN_READ:
            self._require_regular(path)
        reply = self._ask(OPEN, text(path) + uint32(flags) + uint32(0), action=f"open {path}", expect=HANDLE)
        return self._handle(reply)

    def handle_stat(self, handle: bytes, path: str) -> FileStat:
        """Return size and time of an open file."""
        reply = self._ask(FSTAT, string(handle), action=f"examine {path}", expect=ATTRS)
        found = read_attributes(Fields(reply.body, self.machine))
        return FileStat(path.rpartition("/")[2], found.size_bytes, found.modified_s)

    def sync_to_disk(self, handle: bytes, path: str) -> None:
        """Make an open file's bytes survive a power cut; nothing happens where the server does not offer it."""
        if FSYNC in self.extensions:
            self._ask(EXTENDED, text(FSYNC) + string(handle), action=f"write {path} to disk", expect=STATUS)

    def close_handle(self, handle: bytes, path: str) -> None:
        """Close an open file; an error here (a full quota, a network disk) is an error of the write."""
        self._ask(CLOSE, string(handle), action=f"close {path}", expect=STATUS)

    def close(self) -> None:
        """End the session."""
        self.stream.close()

    # Packets: also used by sync.transports.sftp_bulk, which keeps many requests under way.

    def next_request(self) -> int:
        self._last_request = (self._last_request + 1) & 0xFFFFFFFF
        return self._last_request

    def receive_header(self) -> tuple[int, int, int]:
        """Return kind, request id and the number of body bytes that still wait in the stream."""
        header = bytearray(9)
        self.stream.receive_into(memoryview(header))
        length, kind, request = struct.unpack(">IBI", header)
        if not 5 <= length <= MAX_REPLY_BYTES:
            raise ConnectionLostError(f"its SFTP server sent a packet of {length} bytes", machine=self.machine)
        return kind, request, length - 5

    def receive_body(self, length: int) -> bytes:
        body = bytearray(length)
        self.stream.receive_into(memoryview(body))
        return bytes(body)

    def raise_status(self, body: bytes, action: str) -> None:
        """Raise what a STATUS body other than OK means; `action` says what was tried."""
        fields = Fields(body, self.machine)
        code = fields.uint32()
        if code == OK:
            return
        words = fields.string().decode("utf-8", "replace")[:200] if len(body) > 8 else ""
        if code == NO_SUCH_FILE:
            raise RemoteFileMissingError(f"cannot {action}: it is not there", machine=self.machine)
        if code == PERMISSION_DENIED:
            raise RemoteFileError(
                f"cannot {action}: permission denied",
                machine=self.machine,
                hint="the user of [[machine]] must own the model folder",
            )
        if "no space" in words.lower() or "quota" in words.lower():
            raise RemoteDiskFullError(f"cannot {action}: {words}", machine=self.machine)
        raise RemoteFileError(f"cannot {action}: {words or 'failure'} (status {code})", machine=self.machine)

    # Below: how a request becomes a reply.

    def _shake_hands(self) -> frozenset[str]:
        self.stream.send(struct.pack(">IBI", 5, INIT, 3))
        header = bytearray(5)
        self.stream.receive_into(memoryview(header))
        length, kind = struct.unpack(">IB", header)
        if kind != VERSION or not 5 <= length <= MAX_REPLY_BYTES:
            raise ConnectionLostError(
                "it answered with something other than SFTP",
                machine=self.machine,
                hint="a login script that prints text breaks SFTP; check that `sftp` works by hand",
            )
        fields = Fields(self.receive_body(length - 1), self.machine)
        fields.uint32()
        names = set()
        while fields.at < len(fields.body):
            names.add(fields.string().decode("utf-8", "replace"))
            fields.string()
        return frozenset(names)

    def _ask_request_bytes(self) -> int:
        if LIMITS not in self.extensions:
            return PLAIN_REQUEST_BYTES
        reply = self._send_and_receive(EXTENDED, text(LIMITS))
        if reply.kind != EXTENDED_REPLY:
            return PLAIN_REQUEST_BYTES
        fields = Fields(reply.body, self.machine)
        fields.uint64()
        read, write = fields.uint64(), fields.uint64()
        # Zero means "unknown".
        return min(read or PLAIN_REQUEST_BYTES, write or PLAIN_REQUEST_BYTES, LARGEST_REQUEST_BYTES)

    def _send_and_receive(self, kind: int, body: bytes) -> Reply:
        request = self.next_request()
        self.stream.send(struct.pack(">IBI", len(body) + 5, kind, request) + body)
        answered, answer_to, length = self.receive_header()
        if answer_to != request:
            raise ConnectionLostError(
                f"its SFTP server answered request {answer_to}, {request} was asked", machine=self.machine
            )
        return Reply(answered, request, self.receive_body(length))

    def _ask(self, kind: int, body: bytes, *, action: str, expect: int) -> Reply:
        return self._checked(self._send_and_receive(kind, body), action, expect)

    def _checked(self, reply: Reply, action: str, expect: int) -> Reply:
        if reply.kind == STATUS:
            self.raise_status(reply.body, action)
        if reply.kind != expect:
            raise RemoteFileError(
                f"cannot {action}: its SFTP server answered with packet type {reply.kind}, {expect} was expected",
                machine=self.machine,
            )
        return reply

    def _status(self, reply: Reply) -> int:
        return Fields(reply.body, self.machine).uint32() if reply.kind == STATUS else FAILURE

    def _handle(self, reply: Reply) -> bytes:
        return Fields(reply.body, self.machine).string()

    def _names(self, reply: Reply) -> list[FileStat]:
        fields = Fields(reply.body, self.machine)
        found = []
        for _ in range(min(fields.uint32(), MAX_FOLDER_ENTRIES)):
            name = fields.string().decode("utf-8", "surrogateescape")
            fields.string()
            attributes = read_attributes(fields)
            if stat.S_ISREG(attributes.mode):
                if not is_file_name(name):
                    raise RemoteFileError(
                        f"its SFTP server lists {name[:SHOWN_CHARACTERS]!r}, which no file can be called",
                        machine=self.machine,
                    )
                found.append(FileStat(name, attributes.size_bytes, attributes.modified_s))
        return found

    def _require_regular(self, path: str) -> None:
        """Raise RemoteFileError where the server says that this is something else; not every server says."""
        reply = self._ask(STAT, text(path), action=f"open {path}", expect=ATTRS)
        mode = read_attributes(Fields(reply.body, self.machine)).mode
        if mode and not stat.S_ISREG(mode):
            raise RemoteFileError(f"cannot open {path}: it is no regular file", machine=self.machine)

    def _is_folder(self, path: str) -> bool:
        reply = self._send_and_receive(STAT, text(path))
        return reply.kind == ATTRS and stat.S_ISDIR(read_attributes(Fields(reply.body, self.machine)).mode)

    def _ask_to_remove(self, kind: int, path: str) -> None:
        reply = self._send_and_receive(kind, text(path))
        if self._status(reply) != NO_SUCH_FILE:
            self._checked(reply, f"remove {path}", STATUS)


def is_file_name(name: str) -> bool:
    """Say whether a listing's name can be that of a file: it becomes part of paths on both computers."""
    length = len(name.encode("utf-8", "surrogateescape"))
    return 0 < length <= MAX_NAME_BYTES and not set(name) & {"/", "\0"} and name not in (".", "..")


def read_attributes(fields: Fields) -> Attributes:
    """Read the ATTRS of one file; absent ones are 0."""
    flags = fields.uint32()
    size = fields.uint64() if flags & 1 else 0
    if flags & 2:
        fields.uint64()
    mode = fields.uint32() if flags & 4 else 0
    modified = 0
    if flags & 8:
        fields.uint32()
        modified = fields.uint32()
    if flags & 0x80000000:
        for _ in range(min(fields.uint32(), 64)):
            fields.string(), fields.string()
    return Attributes(size, mode, modified)


def uint32(number: int) -> bytes:
    return number.to_bytes(4)


def string(content: bytes) -> bytes:
    return uint32(len(content)) + content


def text(words: str) -> bytes:
    return string(words.encode("utf-8", "surrogateescape"))
