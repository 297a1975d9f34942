"""dfld doctor: who runs it, versions, the port of metrics and health, the systemd unit, and the clock."""

from __future__ import annotations

import ctypes
import platform
import socket
import sqlite3
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from daemon.config.schema import HttpConfig
from daemon.doctor.diagnosis import Diagnosis, ok, problem, warning
from daemon.doctor.ledger_file import judge_sqlite

UNIT = "dfld.service"
UNIT_FACTS = ("LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "NRestarts")
ANSWER_LIMIT_S = 5.0
SYSTEMD_RUNS = Path("/run/systemd/system")
SANE_YEARS = range(2025, 2100)
"""dfld is from 2026; a computer whose clock has no battery starts in 1970."""
JUMP_WARNED_S = 1.0
STATUS_PLACE = 40
"""Where `status` stands in struct timex of adjtimex(2) on 64-bit Linux: an int, padding, four longs before it."""
CLOCK_UNSYNCHRONISED = 0x40
"""STA_UNSYNC of linux/timex.h."""


def examine_user(user_id: int) -> Iterator[Diagnosis]:
    """Root may do everything, so that an examination by root says little of the service's permissions."""
    if user_id == 0:
        yield warning(
            "user",
            "dfld doctor runs as root: what it says of permissions holds for root",
            "run it as the service's user: sudo -u dfld dfld doctor",
        )


def examine_versions() -> Iterator[Diagnosis]:
    """Which dfld, Python and SQLite run."""
    try:
        own = version("dfld")
    except PackageNotFoundError:
        own = "(not installed)"
    yield ok("dfld", f"version {own}, Python {platform.python_version()}, {platform.platform()}")
    yield judge_sqlite(sqlite3.sqlite_version_info)


def examine_listening(settings: HttpConfig) -> Iterator[Diagnosis]:
    """Is the port of metrics and health free, or is it dfld that answers there?"""
    if settings.address is None:
        yield ok("metrics port", 'off ([http] listen = "")')
        return
    host, port = settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        answer = ask_health(host, port)
        if answer.startswith(("ok", "not ok")):
            yield ok("metrics port", f"dfld listens on {settings.listen} and says: {answer}")
        else:
            yield problem(
                "metrics port",
                f"{settings.listen} cannot be listened on: {error.strerror}; it is not dfld that holds it",
                f"ss -ltnp 'sport = :{port}' says who; choose another [http] listen",
            )
    else:
        yield ok("metrics port", f"{settings.listen} is free; no dfld listens there")


def ask_health(host: str, port: int) -> str:
    """Return the first line that /livez answers there; "" where nothing answers."""
    connection = HTTPConnection(host, port, timeout=ANSWER_LIMIT_S)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().read(1000).decode("utf-8", "replace").partition("\n")[0]
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()


def examine_unit() -> Iterator[Diagnosis]:
    """How the systemd unit is, where systemd runs."""
    if not SYSTEMD_RUNS.is_dir():
        return
    try:
        done = subprocess.run(
            ["systemctl", "show", UNIT, f"--property={','.join(UNIT_FACTS)}"],
            capture_output=True, text=True, timeout=ANSWER_LIMIT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        yield warning("systemd", f"systemctl does not answer: {error}", "systemctl is-system-running says more")
        return
    yield judge_unit(dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line))


def judge_unit(facts: Mapping[str, str]) -> Diagnosis:
    """Given what systemctl says of the unit, say how it is. Pure."""
    state = f"{facts.get('ActiveState')} ({facts.get('SubState')})"
    if facts.get("LoadState") != "loaded":
        return ok("systemd", f"{UNIT} is not installed; make install-service does it")
    if facts.get("ActiveState") == "failed":
        return problem(
            "systemd",
            f"{UNIT} failed: {facts.get('Result')}",
            "journalctl -u dfld -n 50 says why; then: systemctl reset-failed dfld; systemctl start dfld",
        )
    restarts = int(facts.get("NRestarts") or 0)
    if restarts:
        return warning(
            "systemd", f"{UNIT} is {state}, and was restarted {restarts} times", "journalctl -u dfld says why it ended"
        )
    if facts.get("ActiveState") == "inactive" and facts.get("UnitFileState") == "enabled":
        return warning("systemd", f"{UNIT} is enabled, but does not run", "systemctl start dfld")
    return ok("systemd", f"{UNIT} is {state}, {facts.get('UnitFileState')}")


def examine_clock(started: tuple[float, float]) -> Iterator[Diagnosis]:
    """Is the year possible, does something keep the clock right, and did it jump since `started` (wall, monotonic)?"""
    jump_s = (time.time() - started[0]) - (time.monotonic() - started[1])
    yield judge_clock(datetime.now(UTC), synchronised=clock_is_synchronised(), jump_s=jump_s)


def judge_clock(now: datetime, *, synchronised: bool | None, jump_s: float) -> Diagnosis:
    """Given the time, whether the kernel holds it for right (None = not known) and a jump, say how it is. Pure."""
    if now.year not in SANE_YEARS:
        return problem("clock", f"it shows {now:%Y-%m-%d %H:%M} UTC", "timedatectl set-ntp true")
    if abs(jump_s) > JUMP_WARNED_S:
        return warning("clock", f"it jumped by {jump_s:+.1f} s during this examination", "timedatectl timesync-status")
    if synchronised is False:
        return warning(
            "clock",
            "nothing keeps it right (no NTP): times in ledger, logs and metrics may be off",
            "timedatectl set-ntp true",
        )
    return ok("clock", f"{now:%Y-%m-%d %H:%M} UTC{', kept right by NTP' if synchronised else ''}")


def clock_is_synchronised() -> bool | None:
    """Ask the kernel by adjtimex(2), which changes nothing with mode 0; None where it does not say."""
    if struct.calcsize("P") != 8:
        return None
    timex = ctypes.create_string_buffer(512)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    (status,) = struct.unpack_from("i", timex, STATUS_PLACE)
    return not status & CLOCK_UNSYNCHRONISED
