"""Metrics and health over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from daemon.errors import ServiceError
from daemon.metrics.http import MAX_ANSWERS, MAX_CONNECTIONS, Check, HttpServer, make_application
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


def test_silent_clients_give_way_and_livez_is_always_answered(server: HttpServer) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3 * MAX_CONNECTIONS)]
    try:
        for one in silent[::3]:
            one.sendall(b"GET /metrics HTTP/1.1\r\nHo")  # and no more
        for _ in range(3):
            assert ask(server, "/livez")[0] == 200
        silent[0].settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert silent[0].recv(1) == b""
    finally:
        for connection in silent:
            connection.close()


def test_livez_is_answered_while_all_other_answers_take_their_time(server: HttpServer, health: Health) -> None:
    go, begun = threading.Event(), threading.Semaphore(0)

    class Slow:
        def __iter__(self) -> Iterator[Check]:
            begun.release()
            go.wait(20)
            return iter([Check("slow", True)])

    health.ready = Slow()  # type: ignore[assignment]
    with ThreadPoolExecutor(MAX_ANSWERS) as others:
        asked = [others.submit(ask, server, "/readyz") for _ in range(MAX_ANSWERS)]
        for _ in range(MAX_ANSWERS):
            begun.acquire()
        assert ask(server, "/metrics")[0] == 503
        assert ask(server, "/livez")[0] == 200
        go.set()
        assert {one.result()[0] for one in asked} == {200}


def test_a_request_that_drips_is_cut_off_in_time(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.metrics.http.HEAD_S", 0.3)
    ended = threading.Event()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        for _ in range(2000):
            try:
                client.sendall(b"G")
            except OSError:
                ended.set()
                break
            ended.wait(0.01)
    assert ended.is_set()


def raw(server: HttpServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(10)
        client.sendall(request)
        return client.makefile("rb").readline()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9770", 200),
        ("[::1]:9770", 200),
        ("localhost", 200),
        ("LocalHost:1", 200),
        ("192.168.1.7:9770", 200),  # no name, so nothing that DNS could rebind
        ("gpu-box.lan", 200),
        ("evil.example", 421),
        ("evil.example:9770", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1, evil.example", 421),
        ("[::1", 421),
        ("@localhost", 200),
        ("evil.example@", 421),
    ],
)
def test_only_names_of_this_service_are_answered(health: Health, host: str, status: int) -> None:
    application = make_application(new_registry(), lambda: health.live, lambda: health.ready, hosts=["gpu-box.lan"])
    server = HttpServer("127.0.0.1", 0, application)
    health.live = (Check("secret", False, "detail"),)
    try:
        for path in ("/metrics", "/readyz"):
            line = raw(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert int(line.split()[1]) == status
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(f"GET /livez?verbose HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = client.makefile("rb").read()
        assert answer.split()[1] == b"503"
        assert (b"secret" in answer) == (status == 200)
    finally:
        server.close()


def test_a_probe_without_a_host_is_answered(server: HttpServer) -> None:
    assert b" 200 " in raw(server, b"GET /readyz HTTP/1.0\r\n\r\n")


def test_a_head_without_end_is_refused(server: HttpServer) -> None:
    assert b" 431 " in raw(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (17 << 10) + b"\r\n\r\n")


def test_what_a_check_says_cannot_forge_a_line_or_steer_a_terminal(server: HttpServer, health: Health) -> None:
    health.ready = (Check("inbox", False, "gone\nok\x1b[2J"),)
    assert ask(server, "/readyz?verbose")[1] == "[-] inbox: gone\\x0aok\\x1b[2J\nnot ok\n"


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
