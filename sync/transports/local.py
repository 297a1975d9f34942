"""A machine that is a folder on this computer: the contract's version without a network."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from core.files import put_in_place, rename_over
from core.opening import CHUNK_BYTES, open_regular, read_regular
from dfl.byte_source import ByteSource, FileSource
from sync.errors import (
    CommandError,
    ConnectionLostError,
    RemoteDiskFullError,
    RemoteFileChangedError,
    RemoteFileError,
    RemoteFileMissingError,
)
from sync.transports.transport import PART, OnBytes, clock_of, ignore_bytes
from sync.types import CommandResult, FileStat, Machine

COMMAND_OUTPUT_BYTES = 2**20


class LocalTransport:
    """A machine that is a folder on this computer; see `Transport` for every method."""

    runs_beside_others = True

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def stat(self, path: str) -> FileStat:
        with self._translated(f"examine {path}"):
            found = Path(path).stat()
        return FileStat(Path(path).name, found.st_size, int(found.st_mtime))

    def list_files(self, folder: str) -> list[FileStat]:
        found = []
        with self._translated(f"list {folder}"), os.scandir(folder) as entries:
            for entry in entries:
                try:
                    is_now = entry.stat()
                except OSError as error:
                    if error.errno in (errno.ENOENT, errno.ELOOP):  # gone since, or a link that leads to no file
                        continue
                    raise
                if stat.S_ISREG(is_now.st_mode):
                    found.append(FileStat(entry.name, is_now.st_size, int(is_now.st_mtime)))
        return sorted(found, key=lambda file: file.name)

    def read(self, path: str, *, most_bytes: int) -> bytes:
        with self._translated(f"read {path}"):
            return read_regular(Path(path), within=None, follow_links=True, max_bytes=most_bytes)

    @contextlib.contextmanager
    def open_ranges(self, path: str) -> Iterator[ByteSource]:
        with self._translated(f"open {path}"):
            open_regular(Path(path), within=None, follow_links=True).close()
        with FileSource(Path(path)) as source:
            yield source

    def write(self, path: str, content: bytes) -> None:
        with self._translated(f"write {path}"):
            part = Path(path + PART)
            part.write_bytes(content)
            put_in_place({part: Path(path)})

    def pull(self, path: str, destination: Path, *, on_bytes: OnBytes = ignore_bytes) -> str:
        with self._translated(f"read {path}"):
            return self._copy(Path(path), destination, on_bytes)

    def push(self, source: Path, path: str, *, on_bytes: OnBytes = ignore_bytes) -> str:
        with self._translated(f"write {path}"):
            return self._copy(source, Path(path), on_bytes)

    def _copy(self, source: Path, destination: Path, on_bytes: OnBytes) -> str:
        ends_at = time.monotonic() + self.machine.deadline_s
        sha256 = hashlib.sha256()
        part = destination.with_name(destination.name + PART)
        incoming = open_regular(source, within=None, follow_links=True)
        with incoming, part.open("wb", buffering=0) as outgoing:
            before = os.fstat(incoming.fileno())
            buffer = memoryview(bytearray(CHUNK_BYTES))
            while count := incoming.readinto(buffer):
                sha256.update(buffer[:count])
                written = 0
                while written < count:
                    written += outgoing.write(buffer[written:count])
                on_bytes(count)
                if time.monotonic() > ends_at:
                    raise ConnectionLostError("the deadline passed during a copy", machine=self.machine.name)
            if os.fstat(outgoing.fileno()).st_size != before.st_size:
                raise RemoteFileChangedError(f"{source} changed while it was copied", machine=self.machine.name)
        put_in_place({part: destination})
        return sha256.hexdigest()

    def rename_over(self, old: str, new: str) -> None:
        with self._translated(f"rename {old} to {new}"):
            rename_over(Path(old), Path(new))

    def hard_link(self, old: str, new: str) -> bool:
        try:
            os.link(old, new)
        except FileNotFoundError:
            with self._translated(f"link {old} to {new}"):
                raise
        except OSError:
            return False
        return True

    def remove(self, path: str) -> None:
        with self._translated(f"remove {path}"):
            Path(path).unlink(missing_ok=True)

    def make_folder(self, path: str) -> None:
        with self._translated(f"make the folder {path}"):
            Path(path).mkdir(parents=True, exist_ok=True)

    def remove_folder(self, path: str) -> None:
        with self._translated(f"remove the folder {path}"), contextlib.suppress(FileNotFoundError):
            Path(path).rmdir()

    def free_bytes(self, folder: str) -> int | None:
        with self._translated(f"examine the disk of {folder}"):
            return shutil.disk_usage(folder).free

    def clock_s(self, folder: str) -> int:
        return clock_of(self, folder)

    def run(self, command: str, *, timeout_s: float) -> CommandResult:
        # Output to a file rather than a pipe: a trainer left in the background would hold a pipe open for days.
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                exit_status = process.wait(timeout_s)
            except subprocess.TimeoutExpired as error:
                process.kill()
                process.wait()
                raise CommandError(
                    f"`{command}` did not end within {timeout_s:.0f} s", machine=self.machine.name
                ) from error
            output.seek(0)
            return CommandResult(exit_status, output.read(COMMAND_OUTPUT_BYTES).decode("utf-8", "replace").strip())

    def close(self) -> None:
        """Nothing is held open between calls."""

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RemoteFileMissingError(f"cannot {doing}: it is not there", machine=self.machine.name) from error
        except OSError as error:
            kind = RemoteDiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else RemoteFileError
            raise kind(f"cannot {doing}: {error.strerror}", machine=self.machine.name) from error
