"""Messages to systemd about the service: READY, STATUS, WATCHDOG and the rest of sd_notify(3).

Own lines instead of a package: systemd-python needs headers, and a module of that name would be hidden by this
project's systemd/ folder. Without $NOTIFY_SOCKET every call does nothing. When to feed the watchdog is decided by
the caller: from progress, never from a timer.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

SEND_TIMEOUT_S = 1.0
"""A service manager that does not read must not stop the work."""


class ServiceManager:
    """Sends to the service manager; may be used from any thread."""

    def __init__(self, address: str | None, *, watchdog_interval_s: float | None = None) -> None:
        self._address = address
        self.watchdog_interval_s = watchdog_interval_s
        """Within so long the manager expects a watchdog message; None = it expects none."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ServiceManager:
        """Read $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID as systemd sets them for its service."""
        address = environ.get("NOTIFY_SOCKET", "")
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        meant_for_us = not pid or pid == str(os.getpid())
        interval = int(usec) / 1_000_000 if usec.isdecimal() and int(usec) and meant_for_us else None
        return cls(address if address[:1] in ("/", "@") else None, watchdog_interval_s=interval)

    def ready(self, status: str) -> bool:
        """The service works: also ends the state that `reloading` began."""
        return self._send("READY=1", _status(status))

    def status(self, text: str) -> bool:
        """The work in hand, shown by systemctl status."""
        return self._send(_status(text))

    def watchdog(self) -> bool:
        """Work moved on."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """The configuration is being read anew; `ready` ends it. The time is what Type=notify-reload needs."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> bool:
        """The service stops."""
        return self._send("STOPPING=1", _status(status))

    def _send(self, *lines: str) -> bool:
        """Say whether the message went out."""
        if self._address is None:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_TIMEOUT_S)
                sender.sendto("\n".join(lines).encode("utf-8", "backslashreplace"), address)
        except OSError:
            return False
        return True


def _status(text: str) -> str:
    return "STATUS=" + text.replace("\n", " ")
