"""OpenSSH's own `ssh` program as the road for bulk data: its ciphers run outside Python and beside it.

Not for commands or single requests: those go over the kept connection of `sync.transports.ssh.connection`. A child `ssh
-s HOST sftp` gives the bytes of the SFTP subsystem; it needs no shell on the machine, so Windows machines work alike.
Same key, same known_hosts, strict host keys, nothing read from ~/.ssh/config, so that both roads trust the same
machines.

Measured: bulk transfers over this road run at scp's speed or above, and several machines in parallel add up;
paramiko threads share one interpreter and get slower together.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sync.errors import ConnectionLostError
from sync.types import Machine

BUFFER_BYTES = 1024 * 1024
"""Four SFTP packets; Linux gives less where net.core.wmem_max is lower (212992 by default), which also works."""
SHORTEST_WAIT_S = 0.001
"""A limit of 0 would mean "wait for ever"."""
CONNECT_TIMEOUT_S = 10
ALIVE_INTERVAL_S = 15
ALIVE_COUNT = 4
END_WAIT_S = 5.0
"""How long a closed `ssh` may take to end before it is killed."""


def find_ssh() -> str | None:
    """Return the path of the `ssh` program, None where it is not installed."""
    return shutil.which("ssh")


def ssh_command(program: str, machine: Machine) -> list[str]:
    """Return the command line that opens the SFTP subsystem of `machine`.

    AES-GCM comes first because it is the fastest cipher on CPUs with AES instructions and OpenSSH prefers ChaCha20
    by default; where this computer has none, OpenSSH's own order stands.
    """
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _quoted(machine.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": _quoted(machine.key),
        "PreferredAuthentications": "publickey",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": str(ALIVE_INTERVAL_S),
        "ServerAliveCountMax": str(ALIVE_COUNT),
        "Compression": "no",
        "LogLevel": "ERROR",
    }
    if has_aes_instructions():
        options["Ciphers"] = "^aes128-gcm@openssh.com"
    command = [program, "-F", "/dev/null", "-T", "-p", str(machine.port)]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    if machine.user:
        command += ["-l", machine.user]
    return [*command, "-s", "--", machine.address, "sftp"]


def has_aes_instructions() -> bool:
    """Say whether this CPU encrypts AES in hardware; an unknown CPU is taken to do so."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return True
    return "aes" in words


def has_windows_line_ends(key: Path | None) -> bool:
    """Say whether `ssh` cannot read this private key because it came from Windows; paramiko can."""
    try:
        return key is not None and b"\r\n" in key.read_bytes()
    except OSError:
        return False


def _quoted(path: Path | None) -> str:
    # ssh splits these values at spaces unless they are quoted, and expands %.
    return '"' + str(path or "/dev/null").replace("%", "%%") + '"'


def timeval(seconds: float) -> bytes:
    """Return a time limit as the kernel takes it (struct timeval of socket(7))."""
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))


class OpenSshStream:
    """The SFTP subsystem of a machine through a child `ssh`. One thread at a time."""

    def __init__(self, program: str, machine: Machine, *, stall_s: float) -> None:
        """Start `ssh`; whether it gets through shows with the first bytes. `stall_s`: longest silence allowed."""
        self.machine = machine.name
        self.stall_s = stall_s
        self.ends_at = math.inf
        self._limits: dict[int, float] = {}
        # A socket pair rather than pipes: it wakes a waiting writer when much room is free instead of at every
        # page, which is worth a third of the upload speed.
        self.socket, inner = socket.socketpair()
        for end in (self.socket, inner):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        with inner:
            self.process = subprocess.Popen(
                ssh_command(program, machine),
                stdin=inner.fileno(),
                stdout=inner.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C at a terminal is for dfld to handle, not for its children
            )

    def send(self, *parts: bytes | memoryview) -> None:
        left = [view for part in parts if (view := memoryview(part))]
        while left:
            sent = self._move(partial(self.socket.sendmsg, left), socket.SO_SNDTIMEO)
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if sent:
                left[0] = left[0][sent:]

    def receive_into(self, view: memoryview) -> None:
        while view:
            # All of it in one call: ssh hands over 32 KiB at a time, and the kernel gathers them for less than Python.
            received = self._move(
                partial(self.socket.recv_into, view, len(view), socket.MSG_WAITALL), socket.SO_RCVTIMEO
            )
            if received == 0:
                raise self._lost()
            view = view[received:]

    def close(self) -> None:
        self.socket.close()
        self._end()
        if self.process.stderr:
            self.process.stderr.close()

    def _move(self, step: Callable[[], int], limit: int) -> int:
        """Do one send or receive, within what is left of the stall limit and the deadline.

        `limit`: the kernel's own time limit for that direction. Python's would make the socket not wait at all, and
        gather a piece from many calls. What has moved when the time is over is returned as progress.
        """
        wait_s = min(self.stall_s, self.ends_at - time.monotonic())
        try:
            self._set_limit(limit, max(wait_s, SHORTEST_WAIT_S))
            return step()
        except BlockingIOError:
            self.process.kill()
            if wait_s < self.stall_s:
                raise ConnectionLostError("the deadline passed during a transfer", machine=self.machine) from None
            raise ConnectionLostError(f"no byte moved for {self.stall_s:.0f} s", machine=self.machine) from None
        except OSError as error:
            raise self._lost() from error

    def _set_limit(self, limit: int, wait_s: float) -> None:
        if self._limits.get(limit) != wait_s:
            self.socket.setsockopt(socket.SOL_SOCKET, limit, timeval(wait_s))
            self._limits[limit] = wait_s

    def _lost(self) -> ConnectionLostError:
        """Say why `ssh` ended, in its own words."""
        self._end()
        words = ""
        if self.process.stderr and not self.process.stderr.closed:
            os.set_blocking(self.process.stderr.fileno(), False)
            words = (self.process.stderr.read() or b"").decode("utf-8", "replace").strip()[-500:]
        return ConnectionLostError(f"the connection ended: {words or 'ssh gave no reason'}", machine=self.machine)

    def _end(self) -> None:
        try:
            self.process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
