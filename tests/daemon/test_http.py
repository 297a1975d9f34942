"""Metrics and health over real sockets."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

from daemon.errors import ServiceError
from daemon.metrics.http import MAX_CONNECTIONS, Check, HttpServer, make_application
from daemon.metrics.registry import Metrics, Names, Reading, new_registry


class Health:
    """What the checks say, settable by a test."""

    def __init__(self) -> None:
        self.live: Sequence[Check] = (Check("main loop", True),)
        self.ready: Sequence[Check] = (Check("ledger", True), Check("inbox alice", True))


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def metrics_and_server(health: Health) -> Iterator[tuple[Metrics, HttpServer]]:
    registry = new_registry()
    metrics = Metrics(registry, Names(inboxes=("alice",)))
    server = HttpServer("127.0.0.1", 0, make_application(registry, lambda: health.live, lambda: health.ready))
    yield metrics, server
    server.close()


@pytest.fixture
def server(metrics_and_server: tuple[Metrics, HttpServer]) -> HttpServer:
    return metrics_and_server[1]


def ask(server: HttpServer, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def test_metrics_are_served(server: HttpServer) -> None:
    status, body, headers = ask(server, "/metrics")
    assert status == 200
    assert 'dfld_scans_total{inbox="alice"} 0.0' in body
    assert "process_resident_memory_bytes" in body
    assert headers["Content-Type"].startswith("text/plain")


def test_health_follows_the_checks(server: HttpServer, health: Health) -> None:
    assert ask(server, "/livez")[:2] == (200, "ok\n")
    assert ask(server, "/readyz")[:2] == (200, "ok\n")
    health.ready = (Check("ledger", True, "it cannot be written"), Check("inbox alice", False, "its folder is gone"))
    assert ask(server, "/readyz")[:2] == (503, "not ok\n")
    assert ask(server, "/livez")[0] == 200
    assert ask(server, "/readyz?verbose")[1] == "[+] ledger\n[-] inbox alice: its folder is gone\nnot ok\n"


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics/", "/../etc/passwd", "/metrics%00"])
def test_any_other_path_is_not_found(server: HttpServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz"])
def test_only_reading_is_allowed(server: HttpServer, path: str) -> None:
    status, body, _headers = ask(server, path, "HEAD")
    assert (status, body) == (200, "")
    status, _body, headers = ask(server, path, "POST")
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_one_failing_collector_does_not_break_the_scrape(metrics_and_server: tuple[Metrics, HttpServer]) -> None:
    metrics, server = metrics_and_server

    def broken() -> Reading:
        raise OSError("gone")

    metrics.add_reader("ledger", broken)
    status, body, _headers = ask(server, "/metrics")
    assert status == 200
    assert 'dfld_collector_success{collector="ledger"} 0.0' in body


def test_a_check_that_raises_is_an_answer_too(server: HttpServer, health: Health) -> None:
    health.ready = (None,)  # type: ignore[assignment]
    assert ask(server, "/readyz")[0] == 500
    assert ask(server, "/livez")[0] == 200


def test_silent_clients_do_not_keep_the_others_waiting_for_ever(server: HttpServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(MAX_CONNECTIONS)]
    try:
        one_more = socket.create_connection(("127.0.0.1", server.port))
        one_more.settimeout(10)
        assert one_more.recv(1) == b""  # refused at once, no thread is spent on it
        one_more.close()
        silent.pop().close()
        deadline = threading.Event()
        for _ in range(100):
            try:
                assert ask(server, "/livez")[0] == 200
                break
            except (ConnectionError, http.client.HTTPException):
                deadline.wait(0.05)
        else:
            pytest.fail("a freed place was never given to another client")
    finally:
        for connection in silent:
            connection.close()


def test_closing_cuts_off_silent_clients_and_ends_every_thread(health: Health) -> None:
    before = set(threading.enumerate())
    server = HttpServer("127.0.0.1", 0, make_application(new_registry(), lambda: health.live, lambda: health.ready))
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        ask(server, "/livez")
        server.close()
        silent.settimeout(10)
        assert silent.recv(1) == b""
    assert {thread for thread in threading.enumerate() if thread not in before and not thread.daemon} == set()


def test_a_taken_port_is_told(server: HttpServer) -> None:
    with pytest.raises(ServiceError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        HttpServer("127.0.0.1", server.port, make_application(new_registry(), lambda: (), lambda: ()))


def test_endless_headers_are_refused(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(10)
        client.sendall(b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n")
        assert b" 431 " in client.recv(200)
