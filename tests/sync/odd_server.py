"""An SSH server that is not OpenSSH: it answers commands in whatever order and speed a test wants, by paramiko."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import paramiko

from sync.types import Machine
from tests.sync.sshd import make_key


class OddServer(paramiko.ServerInterface):
    """Lets everybody in; `answer(channel)` does what is done for a command, in a thread of its own."""

    def __init__(self, folder: Path, answer: Callable[[paramiko.Channel], None]) -> None:
        self._answer = answer
        self._key = paramiko.Ed25519Key(filename=str(make_key(folder / "odd_host_key")))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._transports: list[paramiko.Transport] = []
        port = self._listener.getsockname()[1]
        known = folder / "odd_known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {self._key.get_name()} {self._key.get_base64()}\n", encoding="utf-8")
        self.machine = Machine(
            name="gpu1", address="127.0.0.1", model_dir="/", port=port, user="train", key=make_key(folder / "odd_key"),
            known_hosts=known, transfer="paramiko",
        )  # fmt: skip
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                transport = paramiko.Transport(line)
                transport.add_server_key(self._key)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(server=self)
                self._transports.append(transport)

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:  # noqa: ARG002
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:  # noqa: ARG002
        threading.Thread(target=self._answer, args=(channel,), daemon=True).start()
        return True
