"""The unit files: complete, explained, and as closed as promised."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon.config.schema import ServiceConfig
from daemon.errors import ExitCode

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
EXPOSURE_LIMIT = 1.3
EXPOSURE_LIMIT_GPU = 1.5
SETTINGS_A_REASON = 2
"""Two settings that do one thing, as PrivateIPC= and RemoveIPC=, may share a comment."""

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings_of(name: str) -> list[tuple[str, str]]:
    text = (SYSTEMD / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [(key, value) for key, value in re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE)]


def exposure(folder: Path) -> float:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "dfld.service"]
    environment = {
        "SYSTEMD_UNIT_PATH": f"{folder}:",
        "PATH": "/usr/bin:/bin",
        "SYSTEMD_COLORS": "0",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    found = re.search(r"exposure level for dfld.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


@analyze
def test_the_service_is_as_closed_as_promised(tmp_path: Path) -> None:
    shutil.copy(SYSTEMD / "dfld.service", tmp_path)
    assert exposure(tmp_path) <= EXPOSURE_LIMIT


@analyze
@pytest.mark.parametrize("drop_in", ["gpu.conf"])
def test_with_gpus_it_is_hardly_less_so(tmp_path: Path, drop_in: str) -> None:
    shutil.copy(SYSTEMD / "dfld.service", tmp_path)
    closed = exposure(tmp_path)
    (tmp_path / "dfld.service.d").mkdir()
    shutil.copy(SYSTEMD / drop_in, tmp_path / "dfld.service.d")
    assert closed < exposure(tmp_path) <= EXPOSURE_LIMIT_GPU


@analyze
def test_on_the_local_network_alone_it_is_closed_further(tmp_path: Path) -> None:
    shutil.copy(SYSTEMD / "dfld.service", tmp_path)
    closed = exposure(tmp_path)
    (tmp_path / "dfld.service.d").mkdir()
    shutil.copy(SYSTEMD / "lan-only.conf", tmp_path / "dfld.service.d")
    assert exposure(tmp_path) < closed


@analyze
@pytest.mark.parametrize("unit", ["dfld.service", "dfl-train@.service"])
def test_systemd_understands_every_line(tmp_path: Path, unit: str) -> None:
    text = (SYSTEMD / unit).read_text(encoding="utf-8")
    text = text.replace("/opt/dfld/bin/dfld", "/bin/true")  # verify asks whether the program is there
    path = tmp_path / unit.replace("@", "@alice")
    path.write_text(re.sub(r"^Documentation=.*$", "", text, flags=re.MULTILINE), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if path.name in line]
    assert ours == []


@pytest.mark.parametrize(
    ("name", "start"),
    [("dfld.service", "# --- Hardening"), ("gpu.conf", "[Service]"), ("lan-only.conf", "[Service]")],
)
def test_every_setting_that_hardens_stands_below_its_reason(name: str, start: str) -> None:
    text = (SYSTEMD / name).read_text(encoding="utf-8").partition(start)[2].partition("[Install]")[0]
    told = 0
    for line in text.splitlines()[1:]:
        if line.startswith("#"):
            told = SETTINGS_A_REASON
        elif line:
            assert told, f"{name}: no reason above {line}"
            told -= 1


def test_a_wrong_configuration_is_not_tried_again() -> None:
    settings = settings_of("dfld.service")
    assert ("RestartPreventExitStatus", str(int(ExitCode.CONFIGURATION))) in settings
    assert ("SuccessExitStatus", str(int(ExitCode.TERMINATED))) in settings


def test_a_stop_waits_longer_than_the_drain() -> None:
    settings = dict(settings_of("dfld.service"))
    assert float(settings["TimeoutStopSec"].removesuffix("s")) >= ServiceConfig().drain_timeout_s + 10


def test_what_the_service_writes_is_opened_for_it() -> None:
    settings = settings_of("dfld.service")
    assert ("StateDirectory", "dfld") in settings
    assert str(ServiceConfig().state_dir) == "/var/lib/dfld"
    writable = [value for key, value in settings if key == "ReadWritePaths"]
    example = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    for folder in re.findall(r'^(?:path|workspace) = "(.*)"$', example, flags=re.MULTILINE):
        assert any(folder.startswith(f"{path}/") for path in writable)


def test_a_trainer_is_stopped_by_one_sigint_and_given_time() -> None:
    settings = dict(settings_of("dfl-train@.service"))
    assert settings["KillSignal"] == "SIGINT"
    assert settings["KillMode"] == "mixed"  # the main process alone gets it
    assert settings["StandardInput"] == "null"
    assert settings["TimeoutStopSec"] == "15min"
    names = set(re.findall(r"\$\{?([A-Z_]+)\}?", settings["ExecStart"]))
    declared = re.findall(r"^([A-Z_]+)=", (SYSTEMD / "dfl-train.env").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert names == set(declared)


def test_installing_below_another_root_places_every_file(tmp_path: Path) -> None:
    script = str(SYSTEMD / "install.sh")
    environment = {"DESTDIR": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    for _ in range(2):  # an upgrade is the same again
        subprocess.run([script, "install"], env=environment, check=True, capture_output=True, timeout=60)
    config = tmp_path / "etc/dfld/config.toml"
    assert config.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "etc/systemd/system/dfld.service").read_bytes() == (SYSTEMD / "dfld.service").read_bytes()
    config.write_text("# mine\n", encoding="utf-8")
    subprocess.run([script, "install"], env=environment, check=True, capture_output=True, timeout=60)
    assert config.read_text(encoding="utf-8") == "# mine\n"
    subprocess.run([script, "uninstall"], env=environment, check=True, capture_output=True, timeout=60)
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["etc/dfld/config.toml"]


def test_the_json_of_the_exposure_names_what_is_left_open() -> None:
    """What stays open is what the service cannot do without; anything new here needs a reason."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", str(SYSTEMD / "dfld.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    open_items = {item["name"] for item in json.loads(done.stdout) if item["exposure"]}
    assert open_items <= {
        "SystemCallFilter=~@resources",
        "RootDirectory=/RootImage=",
        "RestrictAddressFamilies=~AF_UNIX",
        "RestrictAddressFamilies=~AF_(INET|INET6)",
        "ProcSubset=",
        "PrivateNetwork=",
        "DeviceAllow=",
        "IPAddressDeny=",
        "UMask=",
    }
