"""One call of a hook: an HTTP POST, or a command. Each ends within its limit, whatever the other side does."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from daemon.config.values import DEFAULT_CREDENTIALS
from daemon.errors import DaemonError

CREDENTIAL = "credential:"
CREDENTIAL_BYTES_MAX = 4096
OUTPUT_KEPT_BYTES = 500
"""Of what a command says, for the log."""
LOOK_EVERY_S = 0.05
"""Between two looks whether a command has ended or is given up."""
TERM_S = 1.0
"""A command that is given up is asked to end first; after so long it is killed with all it started."""
NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")
"""A hook must not speak to systemd in the service's name, nor find its keys."""


class HookFailedError(DaemonError):
    """A hook could not be called, or its other side said no."""


class HookTimeoutError(DaemonError):
    """A hook did not end within its limit."""


def send_ping(url: str, body: Mapping[str, object], *, limit_s: float) -> None:
    """POST `body` as JSON to `url`, or to the address in the credential that it names.

    Raise HookTimeoutError after `limit_s`, HookFailedError for anything but an answer 2xx. Messages name the host
    alone: the path of such an address is often a secret.
    """
    address = _address(url)
    data = json.dumps(body, ensure_ascii=True).encode()
    kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
    started = time.monotonic()
    try:
        connection = kind(address.hostname or "", address.port, timeout=limit_s)
    except (ValueError, HTTPException) as error:
        raise HookFailedError(f"the address of {address.hostname} cannot be used: {error}") from error
    # The timeout above is for each read; a byte every few seconds would go on for ever.
    cut = threading.Timer(limit_s, _cut, [connection])
    cut.daemon = True
    cut.start()
    try:
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request("POST", target, data, {"Content-Type": "application/json", "User-Agent": "dfld"})
        status = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, TimeoutError) or time.monotonic() - started >= limit_s:
            raise HookTimeoutError(f"{address.hostname} did not answer within {limit_s:g} s") from error
        raise HookFailedError(f"{address.hostname}: {error or type(error).__name__}") from error
    finally:
        cut.cancel()
        connection.close()
    if not 200 <= status < 300:
        raise HookFailedError(f"{address.hostname} answered {status}")


def run_command(
    command: Sequence[str], body: Mapping[str, object], *, limit_s: float, given_up: threading.Event
) -> None:
    """Run `command` with `body` as JSON on its standard input and as DFLD_* in its environment; no shell.

    Raise HookTimeoutError after `limit_s`, or when somebody sets `given_up`: it and what it started (its process group)
    are asked to end, then killed. Raise HookFailedError when it cannot be started or exits with another status than 0.
    """
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment |= {f"DFLD_{name.upper()}": _env_text(value) for name, value in body.items()}
    name = command[0]
    # Output to a file: children that live on would hold a pipe open.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as data:
        data.write(json.dumps(body, ensure_ascii=True).encode())
        data.seek(0)
        try:
            process = subprocess.Popen(
                list(command), stdin=data, stdout=output, stderr=subprocess.STDOUT, env=environment,
                start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise HookFailedError(f"{name} cannot be started: {error}") from error
        ends_at_s = time.monotonic() + limit_s
        while not _has_ended(process):
            if given_up.wait(LOOK_EVERY_S):
                _end_group(process)
                raise HookTimeoutError(f"{name} was ended: the service stops")
            if time.monotonic() >= ends_at_s and not _has_ended(process):
                _end_group(process)
                raise HookTimeoutError(f"{name} did not end within {limit_s:g} s and was killed")
        if status := process.wait():
            raise HookFailedError(f"{name} ended with status {status}: {_end_of(output.fileno())}")


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Say whether it has, without collecting it: until then the kernel gives the number of its group to nobody else."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _wait_for_end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait until it has ended, without collecting it, but no longer than that."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(timeout_s * 1000)
    finally:
        os.close(descriptor)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask a command and what it started to end, kill what is left once it has or TERM_S is over, and collect it."""
    with contextlib.suppress(PermissionError):  # it became somebody else, as sudo does: that one has to end it
        os.killpg(process.pid, signal.SIGTERM)
        _wait_for_end(process, TERM_S)
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(TERM_S)


def _address(url: str) -> SplitResult:
    if url.startswith(CREDENTIAL):
        path = Path(os.environ.get("CREDENTIALS_DIRECTORY", DEFAULT_CREDENTIALS)) / url.removeprefix(CREDENTIAL)
        try:
            with path.open("rb") as file:
                url = file.read(CREDENTIAL_BYTES_MAX).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise HookFailedError(f"the address in {path} cannot be read: {error}") from error
    try:
        address = urlsplit(url)
    except ValueError as error:  # brackets of an IPv6 address that do not close
        raise HookFailedError(f"the address cannot be used: {error}") from error
    if address.scheme not in ("http", "https") or not address.hostname:
        raise HookFailedError("the address is not one of http:// or https://")
    return address


def _cut(connection: HTTPConnection) -> None:
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # ended by itself


def _env_text(value: object) -> str:
    return "" if value is None else str(value).replace("\0", "")


def _end_of(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, OUTPUT_KEPT_BYTES, max(0, size - OUTPUT_KEPT_BYTES)).decode("utf-8", "replace").strip()
