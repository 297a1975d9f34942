"""/metrics, /livez and /readyz over HTTP, for loopback.

    /livez     200 while the daemon's loops turn, else 503: restart it
    /readyz    200 while it can do its work, else 503: look why (?verbose names each check)
    /metrics   what the registry holds

Own application, since prometheus_client's server answers any path with 200. There is no password, so there is
nothing to change here and no path or file name to read; keep it on loopback. Threads: one that accepts, one for
each of at most MAX_CONNECTIONS whose requests are awaited (a newcomer takes the place of the slowest), and one for each
of at most MAX_ANSWERS that are made; beyond them only /livez is answered.

A page in a browser on this machine could read everything by DNS rebinding: its name resolves to 127.0.0.1, but the
browser goes on sending that name as Host. So a Host that is a name must be one of ours.
"""

from __future__ import annotations

import io
import ipaddress
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from core.boundary import boundary, log_unforeseen
from core.text import escaped
from daemon.errors import ServiceError

MAX_CONNECTIONS = 16
"""Prometheus and a few probes; more than that is a mistake or an attack."""
MAX_ANSWERS = 16
"""So many answers are made at once; /livez is never counted."""
MAX_THREADS = 64
HEAD_S = 5.0
"""For a whole request; a scraper on loopback sends it at once."""
HEAD_BYTES_MAX = 16 << 10
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REQUEST_DEADLINE_S = 15.0
"""For request and answer; Prometheus gives up after 10 s."""
METHODS = ("GET", "HEAD")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at for health."""

    name: str
    ok: bool
    detail: str = ""
    """Why it is not; one line."""


Checks = Callable[[], Sequence[Check]]


def make_application(
    registry: CollectorRegistry, live: Checks, ready: Checks, *, hosts: Collection[str] = ()
) -> WSGIApplication:
    """Given where to ask, return the WSGI application of all three paths. The checks run in a server thread.

    `hosts`: names beside those of this machine by which it may be asked.
    """
    metrics_app: WSGIApplication = make_wsgi_app(registry)
    names = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}
    answers = threading.BoundedSemaphore(MAX_ANSWERS)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD", "")
        if path not in ("/metrics", "/livez", "/readyz"):
            return _answer(environ, start_response, "404 Not Found", "not found: try /metrics, /livez or /readyz\n")
        if method not in METHODS:
            allow = [("Allow", ", ".join(METHODS))]
            return _answer(environ, start_response, "405 Method Not Allowed", "only GET and HEAD\n", allow)
        own = is_own_host(environ.get("HTTP_HOST", ""), names)
        if path == "/livez":  # always; strangers get the one word
            plain = environ if own else {**environ, "QUERY_STRING": ""}
            return guarded(environ, start_response, lambda: _health(plain, start_response, live))
        if not own:
            text = "this name is not one of this service; [http] hosts in its configuration may name more\n"
            return _answer(environ, start_response, "421 Misdirected Request", text)
        if not answers.acquire(blocking=False):
            return _answer(environ, start_response, "503 Service Unavailable", "busy\n", [("Retry-After", "5")])
        try:
            if path == "/readyz":
                return guarded(environ, start_response, lambda: _health(environ, start_response, ready))
            return guarded(environ, start_response, lambda: scrape(environ, start_response))
        finally:
            answers.release()

    def scrape(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = b"".join(metrics_app({**environ, "REQUEST_METHOD": "GET"}, start_response))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def guarded(
        environ: WSGIEnvironment, start_response: StartResponse, answer: Callable[[], Iterable[bytes]]
    ) -> Iterable[bytes]:
        with boundary("request", "an HTTP request", path=environ.get("PATH_INFO")):
            return answer()
        return _answer(environ, start_response, "500 Internal Server Error", "failed; the log says why\n")

    return application


def is_own_host(host: str, names: Collection[str]) -> bool:
    """Say whether a request's Host may be answered: none (HTTP/1.0), an address, or one of `names` (lower case)."""
    if not host:
        return True
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class HttpServer:
    """Serves an application from threads of its own until `close`."""

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        """Listen on `host`:`port` (0 = any free port). Raise ServiceError when that cannot be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server_class = type("_Server", (_ThreadingServer,), {"address_family": family})
        try:
            self._server: _ThreadingServer = server_class((host, port), _Handler)
        except OSError as error:
            raise ServiceError(
                f"cannot listen on {host}:{port} for metrics and health: {error.strerror or error}",
                hint="another dfld may be running; or choose another [http] listen",
            ) from error
        self._server.set_app(application)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it really has."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Take no more requests, cut off those that run, and return once every thread has ended."""
        self._server.shutdown()
        self._thread.join()
        self._server.cut_off_all()
        self._server.server_close()


class _ThreadingServer(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = False  # server_close joins them
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._open: dict[socket.socket, bool] = {}
        """Every connection, oldest first: whether its request is still awaited."""
        self._open_lock = threading.Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: that asks DNS for the host's name, which can hang at start.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket), "TCP"
        with boundary("request", "an HTTP connection", lambda _error: self._broke(request)):
            self._take(request, client_address)

    def _broke(self, request: socket.socket) -> None:
        """Answer a connection for which there is no thread, and end it."""
        with suppress(OSError):
            request.sendall(BROKEN)
        self.shutdown_request(request)

    def _take(self, request: socket.socket, client_address: object) -> None:
        with self._open_lock:
            awaited = [one for one, waits in self._open.items() if waits]
            if len(awaited) >= MAX_CONNECTIONS:
                del self._open[awaited[0]]
                cut_off(awaited[0])
            full = len(self._open) >= MAX_THREADS
            if not full:
                self._open[request] = True
        if full:
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def came_in(self, request: socket.socket) -> None:
        """The request is complete: from now on it is answered, and not cut off for another."""
        with self._open_lock:
            if request in self._open:
                self._open[request] = False

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket), "TCP"
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - socketserver's signature
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            log_unforeseen("request", "an HTTP connection", error)
        else:  # the client went away
            log.debug("an HTTP connection broke", exc_info=True)

    def cut_off_all(self) -> None:
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            cut_off(connection)


class _Handler(WSGIRequestHandler):
    server: _ThreadingServer

    def handle(self) -> None:
        deadline = threading.Timer(REQUEST_DEADLINE_S, cut_off, [self.connection])
        deadline.daemon = True
        deadline.start()
        try:
            head = _read_head(self.connection, time.monotonic() + HEAD_S)
            self.server.came_in(self.connection)
            if len(head) >= HEAD_BYTES_MAX:
                self.connection.sendall(TOO_LONG)
                return
            self.connection.settimeout(REQUEST_DEADLINE_S)
            self.rfile.close()
            self.rfile = io.BytesIO(head)
            super().handle()
        except OSError:  # the client went away or was too slow
            self.close_connection = True
        finally:
            deadline.cancel()

    def log_message(self, format: str, *args: object) -> None:
        log.debug("HTTP request", extra={"fields": {"request": format % args}})


def _read_head(connection: socket.socket, ends_at_s: float) -> bytes:
    """Read a request up to its empty line, or as much as is allowed. Raise OSError when it does not come in time."""
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < HEAD_BYTES_MAX:
        connection.settimeout(max(ends_at_s - time.monotonic(), 0.001))
        part = connection.recv(HEAD_BYTES_MAX)
        if not part:
            raise ConnectionAbortedError("the client ended its request early")
        head += part
    return head


def cut_off(connection: socket.socket) -> None:
    """End a connection whose thread may be waiting for it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already


def _health(environ: WSGIEnvironment, start_response: StartResponse, checks: Checks) -> Iterable[bytes]:
    found = checks()
    ok = all(check.ok for check in found)
    lines = ["ok" if ok else "not ok"]
    if "verbose" in parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True):
        lines = [f"[{'+' if check.ok else '-'}] {check.name}{_behind(check)}" for check in found] + lines
    return _answer(environ, start_response, "200 OK" if ok else "503 Service Unavailable", "\n".join(lines) + "\n")


def _behind(check: Check) -> str:
    """Why a check failed; a good one needs no reason, though it may carry the one that it would have."""
    return f": {escaped(check.detail)}" if check.detail and not check.ok else ""


def _answer(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    status: str,
    text: str,
    headers: Sequence[tuple[str, str]] = (),
) -> Iterable[bytes]:
    body = text.encode()
    kind = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, [*kind, ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), *headers])
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]
