"""Connections to machines with paramiko: host key, login, commands, streams. The only file that imports paramiko.

Not for files: `sync.transports.sftp` speaks about those over the streams opened here. Nothing is trusted on first
sight: a machine whose key is not in known_hosts, or is another one, is refused before anything secret is sent. Every
wait has an end: paramiko's own time limits leave out key exchange and writes that the other side does not take, so a
watchdog closes the socket under both.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from sync.errors import (
    ChangedHostKeyError,
    CommandError,
    ConnectionLostError,
    LoginError,
    UnknownHostKeyError,
    UnreachableError,
)
from sync.transports.known_hosts import HostKey, known_hosts_name
from sync.transports.ssh_openssh import has_aes_instructions
from sync.transports.transport import CommandResult
from sync.types import Machine

if TYPE_CHECKING:
    import paramiko

CONNECT_DEADLINE_S = 30.0
"""TCP, key exchange and login together: a loaded machine needs 1-2 s, a silent one must not cost more than this."""
KEEPALIVE_S = 15
TCP_USER_TIMEOUT_MS = 60_000
"""The kernel gives up on bytes that the other side does not acknowledge for this long (a machine that lost power)."""
MOST_OUTPUT_BYTES = 64 * 1024
"""What is kept of a command's output: its end."""
OUTPUT_POLL_S = 0.1
"""Between looks at whether a command has ended whose output stays open."""
OUTPUT_GRACE_S = 2.0
"""For output that comes after the exit status; servers that send it in that order need milliseconds."""
CHANNEL_PIECE_BYTES = 32 * 1024 - 64
"""What paramiko puts into one packet to OpenSSH: 64 bytes less than the packet may hold. Pieces of the whole 32 KiB
would each be followed by a packet of 64 bytes, which costs as much of Python's time as a full one."""
RECEIVE_BYTES = 2 * 1024 * 1024
"""The whole SSH window."""
WATCH_INTERVAL_S = 1.0
RSA_KINDS = ("rsa-sha2-512", "rsa-sha2-256")
"""How an `ssh-rsa` key of known_hosts signs today."""
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""One pass for cipher and MAC in hardware. paramiko lists them last. Its window stays at 2 MiB: larger ones make its
receive buffer quadratic (measured: 16 MiB a third of the speed, 128 MiB a thirtieth)."""


def fetch_host_key(machine: Machine, *, deadline_s: float = CONNECT_DEADLINE_S) -> HostKey:
    """Ask the machine for its host key, log in nowhere, trust nothing. Raise UnreachableError without an answer."""
    with _handshake(machine, deadline_s) as transport:
        key = transport.get_remote_server_key()
        return HostKey(machine.address, machine.port, key.get_name(), key.get_base64(), key.fingerprint)


def known_host_keys(machine: Machine) -> dict[str, str]:
    """Return what known_hosts holds for the machine: kind of key → key in base64."""
    return {kind: key.get_base64() for kind, key in _known_keys(machine).items()}


class SshConnection:
    """One login to one machine, kept open. One thread at a time."""

    def __init__(self, machine: Machine, *, stall_s: float, connect_deadline_s: float = CONNECT_DEADLINE_S) -> None:
        """Connect and log in.

        Raise UnreachableError, UnknownHostKeyError, ChangedHostKeyError or LoginError; the host key is checked
        before the login begins.
        """
        self.machine = machine
        self.stall_s = stall_s
        with contextlib.ExitStack() as cleanup:
            self._transport = cleanup.enter_context(_handshake(machine, connect_deadline_s))
            _check_host_key(self._transport, machine)
            _log_in(self._transport, machine)
            self._transport.set_keepalive(KEEPALIVE_S)
            self._watchdog = Watchdog(stall_s + WATCH_INTERVAL_S, self._transport.close)
            cleanup.callback(self._watchdog.end)
            self._open = cleanup.pop_all()

    @property
    def alive(self) -> bool:
        return self._transport.is_active()

    def open_sftp(self) -> ChannelStream:
        """Open a stream to the machine's SFTP subsystem."""
        # paramiko waits for the reply to the request without an end of its own.
        with self._translated("open SFTP"), self._watchdog.watching():
            channel = self._transport.open_session(timeout=self.stall_s)
            channel.invoke_subsystem("sftp")
        return ChannelStream(channel, self.machine.name, self._watchdog, stall_s=self.stall_s)

    def run(self, command: str, *, timeout_s: float) -> CommandResult:
        """Hand a line to the user's login shell and wait for its end, not for its children's.

        The exit status may come before the output (RFC 4254, section 6.10), and the channel may be closed before the
        request is confirmed: both count. Raise CommandError when it has not ended after `timeout_s`; its exit status
        is the caller's to judge.
        """
        ends_at = time.monotonic() + timeout_s
        with self._translated("run a command"):
            channel = self._transport.open_session(timeout=min(timeout_s, self.stall_s))
            try:
                channel.set_combine_stderr(True)
                with self._watchdog.watching():
                    _begin(channel, command)
                output = _output_of(channel, ends_at)
                if output is None:
                    raise CommandError(f"the command did not end within {timeout_s:.0f} s", machine=self.machine.name)
                if channel.exit_status < 0:
                    raise ConnectionLostError("lost during a command", machine=self.machine.name)
                return CommandResult(channel.exit_status, output.decode("utf-8", "replace").strip())
            finally:
                channel.close()

    def close(self) -> None:
        """End the connection; safe to call twice and from another thread."""
        self._open.close()

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        import paramiko

        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ConnectionLostError(f"cannot {doing}: {_words(error)}", machine=self.machine.name) from error


class ChannelStream:
    """A paramiko channel as a plain stream of bytes; see `sync.transports.sftp.ByteStream`."""

    def __init__(self, channel: paramiko.Channel, machine: str, watchdog: Watchdog, *, stall_s: float) -> None:
        self.channel = channel
        self.stall_s = stall_s
        self.machine = machine
        self.ends_at = math.inf
        self._watchdog = watchdog
        self._received = memoryview(b"")

    def send(self, *parts: bytes | memoryview) -> None:
        with self._bounded():
            for piece in cut(parts, CHANNEL_PIECE_BYTES):
                self._limit()
                self.channel.sendall(piece)
                self._watchdog.moved()

    def receive_into(self, view: memoryview) -> None:
        with self._bounded():
            while view:
                if not self._received:
                    self._limit()
                    # All that is there: paramiko deletes the head of an array at each call.
                    self._received = memoryview(self.channel.recv(RECEIVE_BYTES))
                    self._watchdog.moved()
                    if not self._received:
                        raise EOFError("it closed the SFTP session")
                piece = self._received[: len(view)]
                view[: len(piece)] = piece
                view, self._received = view[len(piece) :], self._received[len(piece) :]

    def close(self) -> None:
        import paramiko

        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            self.channel.close()

    def _limit(self) -> None:
        """Let the next wait end at the stall limit or at the deadline, whichever is first."""
        left = min(self.stall_s, self.ends_at - time.monotonic())
        if left <= 0:
            raise ConnectionLostError("the deadline passed during a transfer", machine=self.machine)
        self.channel.settimeout(left)

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        import paramiko

        try:
            with self._watchdog.watching():
                yield
        except TimeoutError as error:
            passed = time.monotonic() >= self.ends_at
            told = "the deadline passed during a transfer" if passed else f"no byte moved for {self.stall_s:.0f} s"
            raise ConnectionLostError(told, machine=self.machine) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ConnectionLostError(f"the connection ended: {_words(error)}", machine=self.machine) from error


def cut(parts: Iterable[bytes | memoryview], size: int) -> Iterator[bytes]:
    """Yield the bytes of all parts in order, `size` at a time; the last piece may be shorter."""
    begun = b""
    for part in parts:
        rest = memoryview(part)
        while len(begun) + len(rest) >= size:
            taken = size - len(begun)
            yield b"".join((begun, rest[:taken]))
            begun, rest = b"", rest[taken:]
        begun = b"".join((begun, rest))
    if begun:
        yield begun


class Watchdog:
    """Cuts a connection on which somebody waits while no byte moves.

    paramiko's channel timeout covers reads; a write can wait inside the shared socket for ever while the other side
    acknowledges TCP but reads nothing. Fields are written by the working thread and read by the watching one.
    """

    def __init__(self, limit_s: float, cut: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._cut = cut
        self._waiting_since: float | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="ssh-watchdog", daemon=True).start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def moved(self) -> None:
        self._waiting_since = time.monotonic()

    def end(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_INTERVAL_S):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self._limit_s:
                self._cut()
                return


@contextlib.contextmanager
def _handshake(machine: Machine, deadline_s: float) -> Iterator[paramiko.Transport]:
    """Connect and exchange keys; yield the transport, close it with its socket at the end."""
    import paramiko

    # paramiko logs what it raises, with tracebacks; whoever calls is told once, in one sentence.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    ends_at = time.monotonic() + deadline_s
    try:
        plain = socket.create_connection((machine.address, machine.port), timeout=deadline_s)
    except OSError as error:
        raise UnreachableError(
            f"cannot connect to {machine.address} port {machine.port}: {_words(error)}", machine=machine.name
        ) from error
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    cut_off = threading.Timer(deadline_s, plain.close)
    cut_off.daemon = True
    with contextlib.closing(plain):
        cut_off.start()
        try:
            transport = paramiko.Transport(plain)
            with contextlib.closing(transport):
                transport.banner_timeout = deadline_s
                transport.auth_timeout = deadline_s
                _prefer(transport, machine)
                transport.start_client(timeout=max(0.1, ends_at - time.monotonic()))
                cut_off.cancel()
                yield transport
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                f"no SSH session with {machine.address} port {machine.port} within {deadline_s:.0f} s: {_words(error)}",
                machine=machine.name,
            ) from error
        finally:
            cut_off.cancel()


def _prefer(transport: paramiko.Transport, machine: Machine) -> None:
    """Ask for fast ciphers, and for a kind of host key that known_hosts holds."""
    security = transport.get_security_options()
    if has_aes_instructions():
        security.ciphers = _first(FAST_CIPHERS, security.ciphers)
    known = _known_keys(machine)
    kinds = [kind for name in known for kind in (RSA_KINDS if name == "ssh-rsa" else (name,))]
    security.key_types = _first(tuple(kinds), security.key_types)


def _first(wanted: tuple[str, ...], offered: Sequence[str]) -> tuple[str, ...]:
    front = [name for name in wanted if name in offered]
    return (*front, *(name for name in offered if name not in front))


def _known_keys(machine: Machine) -> dict[str, paramiko.PKey]:
    """Return what known_hosts holds for the machine, by kind of key."""
    import paramiko

    if machine.known_hosts is None or not machine.known_hosts.exists():
        return {}
    try:
        hosts = paramiko.HostKeys(str(machine.known_hosts))
    except (OSError, paramiko.SSHException, ValueError) as error:
        raise UnknownHostKeyError(
            f"cannot read {machine.known_hosts}: {_words(error)}", machine=machine.name
        ) from error
    found = hosts.lookup(known_hosts_name(machine.address, machine.port))
    return {} if found is None else dict(found.items())


def _check_host_key(transport: paramiko.Transport, machine: Machine) -> None:
    shown = transport.get_remote_server_key()
    known = _known_keys(machine)
    told = f"{machine.address} port {machine.port} shows the {shown.get_name()} key {shown.fingerprint}"
    if not known:
        raise UnknownHostKeyError(
            f"{told}, and {machine.known_hosts} holds no key for it; nothing was sent",
            machine=machine.name,
            hint=f"compare the fingerprint with the machine's own, then: dfld machines trust {machine.name}",
        )
    kept = known.get(shown.get_name())
    if kept is None or kept.asbytes() != shown.asbytes():
        have = ", ".join(f"{name} {key.fingerprint}" for name, key in known.items())
        raise ChangedHostKeyError(
            f"{told}, but {machine.known_hosts} holds {have}; nothing was sent",
            machine=machine.name,
            hint="if the machine was reinstalled, remove its line "
            f"(ssh-keygen -R '{known_hosts_name(machine.address, machine.port)}' -f {machine.known_hosts}) and run: "
            f"dfld machines trust {machine.name}; if not, somebody stands between",
        )


def _log_in(transport: paramiko.Transport, machine: Machine) -> None:
    import paramiko

    hint = f"test by hand: ssh -i {machine.key} -p {machine.port} {machine.user}@{machine.address}"
    if machine.key is None:
        raise LoginError("no key is configured", machine=machine.name, hint="set `key` of its [[machine]]")
    try:
        key = paramiko.PKey.from_path(machine.key)
    except (OSError, paramiko.SSHException, ValueError, TypeError) as error:
        raise LoginError(
            f"the key {machine.key} cannot be read: {_words(error)}",
            machine=machine.name,
            hint="dfld needs a key without a passphrase: ssh-keygen -t ed25519 -N '' -f KEY",
        ) from error
    try:
        transport.auth_publickey(machine.user, key)
    except paramiko.AuthenticationException as error:
        raise LoginError(
            f"it refuses user {machine.user!r} with the key {machine.key}: {_words(error)}",
            machine=machine.name,
            hint=hint,
        ) from error


def _begin(channel: paramiko.Channel, command: str) -> None:
    """Ask for the command, and say that no input comes. A server may have run it and closed the channel by then."""
    import paramiko

    try:
        channel.exec_command(command)
        channel.shutdown_write()
    except (paramiko.SSHException, EOFError, OSError):
        if channel.exit_status < 0:
            raise


def _output_of(channel: paramiko.Channel, ends_at: float) -> bytes | None:
    """Return the end of what a command printed, when it has ended; None when it has not at `ends_at`.

    A trainer that was started in the background may keep the output open for days, and print: after the exit status
    the output counts for OUTPUT_GRACE_S at most. It is taken in all the time, or a long one would block the command.
    """
    kept = bytearray()
    channel.settimeout(OUTPUT_POLL_S)
    while True:
        with contextlib.suppress(TimeoutError):
            piece = channel.recv(RECEIVE_BYTES)
            if not piece:
                break
            kept += piece
            del kept[:-MOST_OUTPUT_BYTES]
        if channel.status_event.is_set():
            ends_at = min(ends_at, time.monotonic() + OUTPUT_GRACE_S)
        if time.monotonic() > ends_at:
            break
    ended = channel.status_event.wait(max(0.0, ends_at - time.monotonic()))
    return bytes(kept) if ended else None


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
