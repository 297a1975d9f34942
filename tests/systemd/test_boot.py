"""The service under a real systemd: a Debian is booted in a container, dfld is installed there and put to work.

Needs root, debootstrap, systemd-nspawn and the network, takes about two minutes, and keeps the Debian it made in
$DFLD_BOOT_ROOT for the next time. Without that variable it is skipped; CI sets it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from daemon.config.values import format_duration
from daemon.errors import ExitCode

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,make,procps,ca-certificates"
BOOT_DEADLINE_S = 60.0
WORK_DEADLINE_S = 300.0
WATCHDOG_S = 10.0
MADE_FOR_SHELLS = (
    "usr/local/share/man/man1/dfld.1",
    "usr/local/share/bash-completion/completions/dfld",
    "usr/local/share/zsh/site-functions/_dfld",
    "usr/local/share/fish/vendor_completions.d/dfld.fish",
)
NEEDED = ("debootstrap", "systemd-nspawn", "nsenter")

DONE = 'dfld_jobs_total{inbox="alice",result="done"}'
PORT = 19770
"""The container shares the network of its host, where a dfld may have the usual port."""
CONFIG = f"""
[http]
listen = "127.0.0.1:{PORT}"
[watch]
stable_for = "1s"
rescan_every = "2s"
[disk]
reserve = "0B"
reserve_percent = 0
resume_margin = "0B"
[[inbox]]
name = "alice"
path = "/srv/dfld/inbox/alice"
workspace = "/srv/dfld/workspaces/alice"
references = ["/srv/dfld/references/alice.png"]
backend = "dlib"
"""


class Debian:
    """A booted container."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self.leader = leader

    def run(self, *command: str, check: bool = True, timeout_s: float = 60.0) -> str:
        """Run a command inside; return what it printed."""
        inside = ["nsenter", "--target", str(self.leader), "--all", "--", "/usr/bin/env", "-i", "HOME=/root"]
        inside += ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}\n{self.journal()}"
        return done.stdout.strip()

    def journal(self) -> str:
        return "" if not self.leader else self.run("journalctl", "-u", "dfld", "-o", "cat", "-n", "60", check=False)

    def state(self, *names: str) -> dict[str, str]:
        """Return properties of the service."""
        shown = self.run("systemctl", "show", "dfld", *(f"--property={name}" for name in names))
        return dict(line.split("=", 1) for line in shown.splitlines())

    def wait_until(self, condition: Callable[[], bool], what: str, deadline_s: float = WORK_DEADLINE_S) -> None:
        end, pause = time.monotonic() + deadline_s, threading.Event()
        while not condition():
            assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}\n{self.journal()}"
            pause.wait(0.2)

    def write(self, path: str, text: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def metric(self, series: str) -> float:
        """Return one number of the service's metrics; -1 while it does not answer or has none of that name."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as answer:
                page = str(answer.read(), "utf-8")
        except OSError:
            return -1.0
        values = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(series)]
        return float(values[0]) if values else -1.0


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A Debian that has just booted, with dfld installed and not yet started."""
    kept = os.environ.get("DFLD_BOOT_ROOT")
    if not kept:
        pytest.skip("boots a Debian only where DFLD_BOOT_ROOT names a folder to keep it in")
    if os.geteuid() != 0:
        pytest.skip("booting a container needs root")
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    base = Path(kept) / SUITE
    if not (base / "etc/debian_version").is_file():
        made = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(base)]
        subprocess.run(made, check=True, capture_output=True, timeout=900)
    root = tmp_path_factory.mktemp("boot") / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root)], check=True, timeout=300)
    for path in (root / "etc/machine-id", root / "var/lib/dbus/machine-id"):
        path.unlink(missing_ok=True)
    copy_source(root / "usr/src/dfld")
    with (root.parent / "console").open("wb") as console:
        container = subprocess.Popen(nspawn(root), stdout=console, stderr=console, stdin=subprocess.DEVNULL)
    try:
        booted = Debian(root, leader_of(container))
        booted.wait_until(lambda: is_running(booted), "Debian to boot", BOOT_DEADLINE_S)
        booted.run("make", "-C", "/usr/src/dfld", "install-service", timeout_s=900)
        prepare(booted)
        yield booted
    finally:
        for init in children_of(container.pid):
            os.kill(init, signal.SIGKILL)  # with its first process the whole container ends
        container.wait(timeout=60)
        shutil.rmtree(root, ignore_errors=True)


def nspawn(root: Path) -> list[str]:
    cache = Path.home() / ".cache/pip"
    cache.mkdir(parents=True, exist_ok=True)
    command = ["systemd-nspawn", "--quiet", f"--directory={root}", "--boot", "--register=no", "--keep-unit"]
    command += [
        "--kill-signal=SIGRTMIN+3",
        "--resolv-conf=copy-host",
        "--console=pipe",
        f"--bind={cache}:/root/.cache/pip",
    ]
    command += ["--bind-ro=/etc/ssl/certs"] if Path("/etc/ssl/certs").is_dir() else []
    return command


def copy_source(target: Path) -> None:
    """Copy what git tracks or would track: a checkout as a user has it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.splitlines()):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def leader_of(container: subprocess.Popen[bytes]) -> int:
    """Return the process id of the container's init: the one child of systemd-nspawn."""
    end = time.monotonic() + BOOT_DEADLINE_S
    pause = threading.Event()
    while time.monotonic() < end and container.poll() is None:
        for child in children_of(container.pid):
            return child
        pause.wait(0.1)
    pytest.skip("systemd-nspawn cannot start a container here")


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def is_running(debian: Debian) -> bool:
    return debian.run("systemctl", "is-system-running", check=False) in ("running", "degraded")


def prepare(debian: Debian) -> None:
    """Put configuration, reference photo and a clip where the service finds them."""
    from engine.backends.catalog import open_backend

    photo = group_photo()
    write_reference(debian.root / "srv/dfld/references/alice.png", photo, open_backend("dlib"))
    write_clip(debian.root / "root/clip.mp4", camera_move(photo))
    debian.run("install", "-d", "-m", "2770", "-o", "dfld", "-g", "dfld", "/srv/dfld/inbox/alice")
    debian.run("chown", "-R", "dfld:dfld", "/srv/dfld/references")
    debian.write("/etc/dfld/config.toml", CONFIG)


def test_the_service_starts_and_says_so(debian: Debian) -> None:
    debian.run("systemctl", "start", "dfld")
    state = debian.state("ActiveState", "StatusText", "User", "NRestarts")
    assert state["ActiveState"] == "active"
    assert state["StatusText"]
    assert state["NRestarts"] == "0"
    assert "dfld" in debian.run("dfld", "--help")
    for place in MADE_FOR_SHELLS:
        assert (debian.root / place).stat().st_size > 500


def test_a_dropped_clip_becomes_a_workspace(debian: Debian) -> None:
    debian.run("install", "-o", "dfld", "-g", "dfld", "/root/clip.mp4", "/srv/dfld/inbox/alice/clip.mp4")
    debian.wait_until(lambda: debian.metric(DONE) == 1.0, "the job to be done")
    aligned = list((debian.root / "srv/dfld/workspaces/alice/data_src/aligned").glob("*.jpg"))
    assert aligned
    assert all(face.stat().st_mode & 0o777 == 0o640 for face in aligned)


def test_a_reload_keeps_the_process_and_takes_the_change(debian: Debian) -> None:
    before = debian.state("MainPID")
    debian.write("/etc/dfld/config.toml", CONFIG.replace('backend = "dlib"', 'backend = "dlib"\npriority = 9'))
    debian.run("systemctl", "reload", "dfld")
    debian.wait_until(lambda: debian.metric('dfld_config_reloads_total{result="applied"}') == 1.0, "the reload")
    assert debian.state("MainPID", "ActiveState") == {**before, "ActiveState": "active"}


def test_a_restart_forgets_nothing(debian: Debian) -> None:
    before = debian.state("MainPID")["MainPID"]
    debian.run("systemctl", "restart", "dfld")
    assert debian.state("MainPID")["MainPID"] != before
    assert debian.metric(DONE) == 1.0


def test_the_watchdog_restarts_a_service_that_stands_still(debian: Debian) -> None:
    drop_in = f"[Service]\nWatchdogSec={format_duration(WATCHDOG_S)}\nTimeoutAbortSec=2s\nRestartSec=100ms\n"
    debian.write("/etc/systemd/system/dfld.service.d/faster.conf", drop_in)
    debian.run("systemctl", "daemon-reload")
    debian.run("systemctl", "restart", "dfld")
    debian.run("kill", "-STOP", debian.state("MainPID")["MainPID"])
    debian.wait_until(lambda: debian.state("NRestarts")["NRestarts"] == "1", "the watchdog", 10 * WATCHDOG_S)
    debian.wait_until(lambda: debian.state("ActiveState")["ActiveState"] == "active", "the service to be back")
    assert "watchdog" in debian.run("journalctl", "-u", "dfld", "-o", "cat", "--no-pager").lower()
    (debian.root / "etc/systemd/system/dfld.service.d/faster.conf").unlink()
    debian.run("systemctl", "daemon-reload")
    debian.run("systemctl", "restart", "dfld")


def test_a_wrong_configuration_ends_with_78_and_is_not_tried_again(debian: Debian) -> None:
    debian.write("/etc/dfld/config.toml", CONFIG.replace("stable_for", "stable_four"))
    debian.run("systemctl", "restart", "dfld", check=False)
    debian.wait_until(lambda: debian.state("ActiveState")["ActiveState"] == "failed", "the service to give up")
    state = debian.state("ExecMainStatus", "NRestarts", "SubState")
    assert state == {"ExecMainStatus": str(int(ExitCode.CONFIGURATION)), "NRestarts": "0", "SubState": "failed"}
    assert 'did you mean "stable_for"' in debian.journal()
    debian.write("/etc/dfld/config.toml", CONFIG)
    debian.run("systemctl", "reset-failed", "dfld")
    debian.run("systemctl", "start", "dfld")


def test_an_upgrade_keeps_configuration_and_state_and_restarts(debian: Debian) -> None:
    before = debian.state("MainPID")["MainPID"]
    debian.run("make", "-C", "/usr/src/dfld", "install-service", timeout_s=900)
    assert debian.state("MainPID")["MainPID"] != before
    assert (debian.root / "etc/dfld/config.toml").read_text(encoding="utf-8") == CONFIG
    debian.wait_until(lambda: debian.metric(DONE) == 1.0, "the old count")


def test_uninstalling_leaves_what_is_yours(debian: Debian) -> None:
    debian.run("make", "-C", "/usr/src/dfld", "uninstall-service")
    assert not (debian.root / "opt/dfld").exists()
    assert not [place for place in MADE_FOR_SHELLS if (debian.root / place).exists()]
    assert (debian.root / "etc/dfld/config.toml").is_file()
    assert (debian.root / "var/lib/dfld").is_dir()
    assert list((debian.root / "srv/dfld/workspaces/alice/data_src/aligned").glob("*.jpg"))
