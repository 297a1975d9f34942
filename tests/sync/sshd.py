"""Real sshd that stands for a training machine: own config, own host keys, a loopback port, a home of its own."""

from __future__ import annotations

import contextlib
import getpass
import random
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sync.types import Machine

START_DEADLINE_S = 20.0


def free_port() -> int:
    """Find a port that nobody listens on, outside the range from which connections take theirs (32768 and up)."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class SshMachine:
    """One sshd on loopback that stands for a training machine."""

    name: str
    home: Path
    port: int
    host_key: Path
    user_key: Path
    known_hosts: Path
    denied: str = ""
    """SFTP requests that the server does not know, as older ones and those of other makers."""
    drives: bool = False
    """Whether paths begin with a drive, as on Windows: `C:/x` is then `C:/x` below this machine's home."""
    login_shell: str = ""
    """The program that gets every command line, as if it stood in /etc/passwd; such a machine offers no SFTP."""
    first_lines: str = ""
    """Of its sshd_config, where the first line of a kind counts."""
    startups: str = "MaxStartups 100"
    process: subprocess.Popen[bytes] | None = None

    @property
    def model_dir(self) -> Path:
        return self.home / "work space" / "model"

    def machine(self, **changes: object) -> Machine:
        """Return how dfld is told to reach it."""
        plain = Machine(
            name=self.name,
            address="127.0.0.1",
            model_dir=str(self.model_dir),
            port=self.port,
            user=getpass.getuser(),
            key=self.user_key,
            known_hosts=self.known_hosts,
            deadline_s=60.0,
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    def fresh_folder(self) -> Path:
        """Make an empty folder for one test."""
        return Path(tempfile.mkdtemp(prefix="model of a test ", dir=self.home))

    def start(self) -> None:
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        config = self.home / "sshd_config"
        subsystem_options = f" -P {self.denied}" if self.denied else ""
        subsystem_options += f" -d {self.home}" if self.drives else ""
        # What sshd itself starts is the login shell of the user who runs the tests; it hands the line on, unread.
        force = f"""ForceCommand exec {self.login_shell} -c "$SSH_ORIGINAL_COMMAND"\n""" if self.login_shell else ""
        config.write_text(
            f"{self.first_lines}Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.host_key}\n"
            "PidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.home}/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nSubsystem sftp internal-sftp{subsystem_options}\n"
            f"{self.startups}\nPrintMotd no\n"
            # A command sees its own machine's home, as it would on a computer of its own.
            f"SetEnv HOME={self.home}\n{force}",
            encoding="utf-8",
        )
        self.process = subprocess.Popen(
            [sshd, "-D", "-e", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    if probe.recv(4) == b"SSH-":
                        return
            except OSError:
                if self.process.poll() is not None:
                    break
        raise RuntimeError(f"sshd of {self.name} did not start on port {self.port}")

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def make_ssh_machine(
    folder: Path, name: str, *, denied: str = "", drives: bool = False, login_shell: str = "", **changes: str
) -> SshMachine:
    """Lay out one machine below `folder` and start its sshd."""
    if not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()):
        pytest.skip("sshd is not installed (apt-get install openssh-server)")
    home = folder / name
    home.mkdir(parents=True)
    made = SshMachine(
        name=name,
        home=home,
        port=free_port(),
        host_key=make_key(home / "host_key"),
        user_key=make_key(home / "user_key"),
        known_hosts=home / "known_hosts",
        denied=denied,
        drives=drives,
        login_shell=login_shell,
        **changes,
    )
    made.model_dir.mkdir(parents=True)
    (home / "authorized_keys").write_text((home / "user_key.pub").read_text(encoding="utf-8"), encoding="utf-8")
    public = (home / "host_key.pub").read_text(encoding="utf-8").split()
    made.known_hosts.write_text(f"[127.0.0.1]:{made.port} {public[0]} {public[1]}\n", encoding="utf-8")
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd drops privileges there; Debian makes it at boot
    made.start()
    return made
