"""Asking the running service: one request on its control socket, one answer."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from daemon.control.wire import TIMEOUT_S, read_line, short_path
from daemon.errors import ControlError
from daemon.state_folder import SOCKET_NAME

LONG_TIMEOUT_S = 4 * 3600.0
"""What goes through all pictures of a workspace takes as long as its disk needs."""
ANSWER_BYTES_MAX = 64 << 20
NO_DETAILS: Mapping[str, object] = MappingProxyType({})


def ask(
    state_dir: Path, do: str, details: Mapping[str, object] = NO_DETAILS, *, timeout_s: float = TIMEOUT_S
) -> object:
    """Ask the daemon of this state folder; return its answer, as read from JSON. `details` that are None are left out.

    Raise ControlError when none answers or it refuses.
    """
    path = state_dir / SOCKET_NAME
    request = {"do": do, **{key: value for key, value in details.items() if value is not None}}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(TIMEOUT_S)
            with short_path(state_dir) as short:
                connection.connect(short)
            connection.sendall(json.dumps(request).encode() + b"\n")
            reply = json.loads(read_line(connection, ANSWER_BYTES_MAX, time.monotonic() + timeout_s))
    except (OSError, ValueError) as problem:
        raise ControlError(
            f"no daemon answers on {path}: {problem.strerror if isinstance(problem, OSError) else problem}",
            hint="is it running, with this configuration, and may you use its socket? (group of the dfld user)",
        ) from problem
    if not isinstance(reply, dict):
        raise ControlError(f"what listens on {path} is no daemon of dfld: it answered {reply!r:.80}")
    if not reply.get("ok"):
        raise ControlError(str(reply.get("error")), hint=str(reply.get("hint", "")))
    answer: object = reply.get("answer")
    return answer
