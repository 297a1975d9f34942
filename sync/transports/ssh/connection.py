"""Connections to machines with paramiko: host key, login, commands, streams. The only file that imports paramiko.

Not for files: `sync.transports.sftp` speaks about those over the streams opened here. Nothing is trusted on first
use: a machine whose key is not in known_hosts, or is another one, is refused before anything secret is sent. Every
wait has an end: paramiko's own time limits leave out key exchange and writes that the other side does not take, so a
watchdog closes the socket under both.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import DfldError
from sync.errors import (
    CommandError,
    ConnectionLostError,
    LoginError,
    UnreachableError,
)
from sync.pausing import pause
from sync.transports.ssh.channel import RECEIVE_BYTES, ChannelStream
from sync.transports.ssh.foreign_errors import NegotiationEndedError, foreign, foreign_words, is_closed_early
from sync.transports.ssh.host_keys import check_host_key, known_keys, refuse_revoked
from sync.transports.ssh.known_hosts import HostKey
from sync.transports.ssh.openssh import has_aes_instructions
from sync.transports.ssh.private_key import LARGEST_KEY_BYTES, MAKE_ONE, why_no_private_key
from sync.transports.ssh.watchdog import WATCH_INTERVAL_S, Watchdog
from sync.types import CommandResult, Machine

if TYPE_CHECKING:
    import paramiko

CONNECT_DEADLINE_S = 30.0
"""TCP, key exchange and login together: a loaded machine needs 1-2 s, a silent one must not cost more than this."""
CONNECT_TRIES = 5
CONNECT_WAIT_S = 0.3
"""After a connection that was closed before the login; doubled at each try, times 0.5 to 1.5 by chance, so that many
that were turned away at once (MaxStartups) do not come back at once: 5 s in all."""
KEEPALIVE_S = 15
TCP_USER_TIMEOUT_MS = 60_000
"""The kernel gives up on bytes that the other side does not acknowledge for this long (a machine that lost power)."""
MOST_OUTPUT_BYTES = 64 * 1024
"""What is kept of a command's output: its end."""
OUTPUT_POLL_S = 0.1
"""Between checks of whether a command has ended whose output stays open."""
OUTPUT_GRACE_S = 2.0
"""For output that comes after the exit status; servers that send it in that order need milliseconds."""
RSA_KINDS = ("rsa-sha2-512", "rsa-sha2-256")
"""How an `ssh-rsa` key of known_hosts signs today."""
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""One pass for cipher and MAC in hardware. paramiko lists them last. Its window stays at 2 MiB: larger ones make its
receive buffer quadratic (measured: 16 MiB a third of the speed, 128 MiB a thirtieth)."""


def fetch_host_key(machine: Machine, *, deadline_s: float = CONNECT_DEADLINE_S) -> HostKey:
    """Ask the machine for its host key, log in nowhere, trust nothing.

    Raise UnreachableError without an answer, RevokedHostKeyError for a key that must not be trusted.
    """
    with _handshake(machine, deadline_s, threading.Event()) as transport:
        shown = _shown_key(transport, machine)
        refuse_revoked(shown, machine)
        return shown


class SshConnection:
    """One login to one machine, kept open. One thread at a time."""

    def __init__(
        self,
        machine: Machine,
        *,
        stall_s: float,
        connect_deadline_s: float = CONNECT_DEADLINE_S,
        stop: threading.Event | None = None,
    ) -> None:
        """Connect and log in; the host key is checked before the login begins.

        `stop` ends the wait before the next try, not the tries. Raise UnreachableError, a HostKeyError or LoginError.
        """
        self.machine = machine
        self.stall_s = stall_s
        with contextlib.ExitStack() as cleanup:
            self._transport = cleanup.enter_context(_handshake(machine, connect_deadline_s, stop or threading.Event()))
            check_host_key(_shown_key(self._transport, machine), machine)
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
                with self._watchdog.watching():
                    _begin(channel, command, self.machine.name)
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

    def _translated(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return foreign(ConnectionLostError, f"cannot {doing}", self.machine.name)


class _TurnedAwayError(UnreachableError):
    """The connection was closed before the login, as a busy sshd does (MaxStartups); the next may be let in."""


@contextlib.contextmanager
def _handshake(machine: Machine, deadline_s: float, stop: threading.Event) -> Iterator[paramiko.Transport]:
    """Connect and exchange keys, trying again where the machine turns the connection away; yield the transport.

    It is closed with its socket at the end. A stop ends the wait that it comes in, and the machine is tried again at
    once; it does not end the tries, nor their pace: a trainer that was stopped is started again over such a connection.
    """
    # paramiko logs what it raises, with tracebacks; whoever calls gets one sentence.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    ends_at = time.monotonic() + deadline_s
    with contextlib.ExitStack() as opened:
        for tries in itertools.count(1):
            try:
                transport = opened.enter_context(_session(machine, ends_at, deadline_s))
                break
            except _TurnedAwayError as error:
                wait_s = CONNECT_WAIT_S * 2 ** (tries - 1) * random.uniform(0.5, 1.5)
                late = time.monotonic() + wait_s > ends_at
                if tries >= CONNECT_TRIES or late:
                    raise UnreachableError(
                        f"{error.reason} (tried {tries} times)",
                        machine=machine.name,
                        hint="is another program than sshd on that port, or does sshd refuse this computer "
                        "(MaxStartups, PerSourcePenalties)?",
                    ) from error
                pause(stop, wait_s)
        with foreign(UnreachableError, f"no SSH session with {machine.address} port {machine.port}", machine.name):
            yield transport


@contextlib.contextmanager
def _session(machine: Machine, ends_at: float, deadline_s: float) -> Iterator[paramiko.Transport]:
    """Connect once and exchange keys. Raise _TurnedAwayError where the other side ended that, else UnreachableError."""
    import paramiko

    left_s = max(0.1, ends_at - time.monotonic())
    try:
        plain = socket.create_connection((machine.address, machine.port), timeout=left_s)
    except OSError as error:
        kind = _TurnedAwayError if isinstance(error, ConnectionResetError) else UnreachableError
        raise kind(
            f"cannot connect to {machine.address} port {machine.port}: {foreign_words(error)}", machine=machine.name
        ) from error
    with contextlib.ExitStack() as opened:
        opened.enter_context(contextlib.closing(plain))
        failed = f"no SSH session with {machine.address} port {machine.port} within {deadline_s:.0f} s"
        cut_off = threading.Timer(left_s, plain.close)
        cut_off.daemon = True
        cut_off.start()
        transport = None
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = opened.enter_context(contextlib.closing(paramiko.Transport(plain)))
            transport.banner_timeout = left_s
            transport.auth_timeout = deadline_s
            _prefer(transport, machine)
            _exchange_keys(transport, left_s)
        except DfldError:
            raise
        except Exception as error:  # of any type, as in `foreign`
            said_version = bool(transport and transport.remote_version)
            kind = _TurnedAwayError if is_closed_early(error, said_version=said_version) else UnreachableError
            raise kind(f"{failed}: {foreign_words(error)}", machine=machine.name) from error
        finally:
            cut_off.cancel()
        yield transport


def _exchange_keys(transport: paramiko.Transport, limit_s: float) -> None:
    """Do what `start_client(timeout=limit_s)` does, but with an error of its own for a session that was ended."""
    done = threading.Event()
    transport.start_client(event=done)
    ends_at = time.monotonic() + limit_s
    while not done.wait(OUTPUT_POLL_S) and transport.is_active() and time.monotonic() < ends_at:
        pass
    if not transport.is_active():
        raise transport.get_exception() or NegotiationEndedError("Negotiation failed.")
    transport.get_remote_server_key()  # raises where the time is over


def _shown_key(transport: paramiko.Transport, machine: Machine) -> HostKey:
    key = transport.get_remote_server_key()
    return HostKey(machine.address, machine.port, key.get_name(), key.get_base64(), key.fingerprint)


def _prefer(transport: paramiko.Transport, machine: Machine) -> None:
    """Ask for fast ciphers, and for a kind of host key that known_hosts holds."""
    security = transport.get_security_options()
    if has_aes_instructions():
        security.ciphers = _first(FAST_CIPHERS, security.ciphers)
    known = known_keys(machine)
    names = dict.fromkeys(key.kind for key in known.keys or known.without_port)
    kinds = [kind for name in names for kind in (RSA_KINDS if name == "ssh-rsa" else (name,))]
    security.key_types = _first(tuple(kinds), security.key_types)


def _first(wanted: tuple[str, ...], offered: Sequence[str]) -> tuple[str, ...]:
    front = [name for name in wanted if name in offered]
    return (*front, *(name for name in offered if name not in front))


def _log_in(transport: paramiko.Transport, machine: Machine) -> None:
    import paramiko

    hint = f"test by hand: ssh -i {machine.key} -p {machine.port} {machine.user}@{machine.address}"
    if machine.key is None:
        raise LoginError("no key is configured", machine=machine.name, hint="set `key` of its [[machine]]")
    key = _private_key(machine.key, machine.name)
    try:
        wanted = transport.auth_publickey(machine.user, key)
    except paramiko.AuthenticationException as error:
        if not transport.is_active():
            raise UnreachableError("the connection ended during the login", machine=machine.name) from error
        raise LoginError(
            f"it refuses user {machine.user!r} with the key {machine.key}: {foreign_words(error)}",
            machine=machine.name,
            hint=hint,
        ) from error
    if wanted:
        raise LoginError(
            f"it takes the key {machine.key} of user {machine.user!r} and asks for more: {', '.join(wanted)}",
            machine=machine.name,
            hint="nobody is there to answer; let its sshd be content with the key: a `Match User` block with "
            "`AuthenticationMethods publickey`",
        )


def _private_key(path: Path, machine: str) -> paramiko.PKey:
    """Read the private key of a machine. Raise LoginError, with what the file is instead."""
    import paramiko

    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_KEY_BYTES + 1)
    except OSError as error:
        raise LoginError(f"the key {path} cannot be read: {error.strerror}", machine=machine, hint=MAKE_ONE) from error
    trouble = why_no_private_key(content, str(path))
    if trouble:
        raise LoginError(f"the key {path} cannot be used: {trouble.reason}", machine=machine, hint=trouble.hint)
    try:
        return paramiko.PKey.from_path(path)
    except TypeError as error:  # what cryptography raises for it
        raise LoginError(
            f"the key {path} cannot be used: it has a passphrase",
            machine=machine,
            hint=f"take it off with ssh-keygen -p -N '' -f {path}, or: {MAKE_ONE}",
        ) from error
    except Exception as error:  # of any type, as in `foreign`
        raise LoginError(
            f"the key {path} cannot be read: {foreign_words(error)}", machine=machine, hint=MAKE_ONE
        ) from error


def _begin(channel: paramiko.Channel, command: str, machine: str) -> None:
    """Ask for the command, and say that no input comes. A server may have run it and closed the channel by then."""
    try:
        with foreign(ConnectionLostError, "cannot run a command", machine):
            channel.exec_command(command)
            channel.shutdown_write()
    except ConnectionLostError:
        if channel.exit_status < 0:
            raise


def _output_of(channel: paramiko.Channel, ends_at: float) -> bytes | None:
    """Return the end of what a command printed, when it has ended; None when it has not at `ends_at`.

    First what it printed on its output, then its errors: they travel apart, and whatever mixed them by their arrival
    would put the errors of a login shell between the marks of `sync.transports.remote_command`. A trainer that was
    started in the background may keep the output open for days, and print: after the exit status the output counts
    for OUTPUT_GRACE_S at most. It is taken in all the time, or a long one would block the command.
    """
    output, errors = bytearray(), bytearray()
    channel.settimeout(OUTPUT_POLL_S)
    at_end = False
    while not at_end:
        with contextlib.suppress(TimeoutError):
            piece = channel.recv(RECEIVE_BYTES)
            at_end = not piece
            output += piece
            del output[:-MOST_OUTPUT_BYTES]
        if channel.recv_stderr_ready():
            errors += channel.recv_stderr(RECEIVE_BYTES)
            del errors[:-MOST_OUTPUT_BYTES]
        if channel.status_event.is_set():
            ends_at = min(ends_at, time.monotonic() + OUTPUT_GRACE_S)
        if time.monotonic() > ends_at:
            break
    ended = channel.status_event.wait(max(0.0, ends_at - time.monotonic()))
    return bytes(output + errors) if ended else None
