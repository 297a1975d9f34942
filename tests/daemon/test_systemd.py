"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.systemd import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def received(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_each_message_says_what_the_manual_asks(manager: socket.socket) -> None:
    reporter = ServiceManager.from_environment({"NOTIFY_SOCKET": manager.getsockname()})
    assert reporter.ready("2 inboxes\narmed")
    assert received(manager) == ["READY=1", "STATUS=2 inboxes armed"]
    reporter.status("alice: clip.mp4 40 %")
    assert received(manager) == ["STATUS=alice: clip.mp4 40 %"]
    reporter.watchdog()
    assert received(manager) == ["WATCHDOG=1"]
    reporter.stopping("committing")
    assert received(manager) == ["STOPPING=1", "STATUS=committing"]


def test_reloading_carries_its_time_in_the_same_message(manager: socket.socket) -> None:
    ServiceManager(manager.getsockname()).reloading()
    first, second = received(manager)
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert int(second.partition("=")[2]) > 0


def test_abstract_sockets_are_reached() -> None:
    name = f"dfld-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(5)
        assert ServiceManager(f"@{name}").watchdog()
        assert received(listener) == ["WATCHDOG=1"]


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    assert not ServiceManager.from_environment({}).ready("up")
    assert not ServiceManager.from_environment({"NOTIFY_SOCKET": "vsock:1:2"}).ready("up")
    assert not ServiceManager(str(tmp_path / "gone")).watchdog()


def test_the_watchdog_interval_is_ours_only_with_our_pid() -> None:
    usec = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000"}
    assert ServiceManager.from_environment(usec).watchdog_interval_s == 30.0
    assert ServiceManager.from_environment({**usec, "WATCHDOG_PID": str(os.getpid())}).watchdog_interval_s == 30.0
    assert ServiceManager.from_environment({**usec, "WATCHDOG_PID": "1"}).watchdog_interval_s is None
    assert ServiceManager.from_environment({"WATCHDOG_USEC": "soon"}).watchdog_interval_s is None
