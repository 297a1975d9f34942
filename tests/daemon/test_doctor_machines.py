"""What `dfld doctor` finds on training machines: a real sshd on loopback, with a home of its own."""

from __future__ import annotations

import getpass
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.config.schema import Config
from daemon.config.sync_tables import MachineConfig, SyncConfig, WaitsConfig
from daemon.doctor import machines
from daemon.doctor.diagnosis import Diagnosis
from daemon.doctor.machines import examine_machine, examine_machines, judge_extensions, judge_files, judge_late_stop
from sync.places import RemotePlaces
from sync.trainers.contract import RefusedStates, Trainer, TrainerSettings
from sync.trainers.trainer import trainer_of
from sync.transports.sftp import FSYNC, HARD_LINK, LIMITS, POSIX_RENAME, STATVFS
from sync.transports.transport import Transport
from sync.types import FileStat, Machine
from tests.sync.sshd import SshMachine, free_port, make_ssh_machine

SYNC = SyncConfig(name="alice", machines=("gpu1",))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshMachine]:
    made = make_ssh_machine(tmp_path_factory.mktemp("machine"), "gpu1")
    for name in ("alice_SAEHD_data.dat", "alice_SAEHD_encoder.npy", "alice_SAEHD_decoder.npy"):
        (made.model_dir / name).write_bytes(b"x")
    yield made
    made.stop()


@pytest.fixture
def machine(server: SshMachine) -> MachineConfig:
    return MachineConfig(
        name="gpu1",
        address="127.0.0.1",
        model_dir=str(server.model_dir),
        port=server.port,
        user=getpass.getuser(),
        key=server.user_key,
        known_hosts=server.known_hosts,
        control="command",
        stop="true",
        start="true",
        status="true",
    )


def told(machine: MachineConfig, *syncs: SyncConfig) -> list[Diagnosis]:
    return list(examine_machine(machine, syncs or (SYNC,)))


def only_problem(found: list[Diagnosis]) -> Diagnosis:
    (one,) = [one for one in found if one.verdict == "problem"]
    assert one.remedy
    return one


def test_a_machine_that_works_is_good_in_every_point(machine: MachineConfig) -> None:
    found = told(machine)
    assert {one.verdict for one in found} == {"ok"}
    text = "\n".join(one.sentence for one in found)
    for part in ("host key and login", "SFTP server", "2 weight files", "its trainer runs"):
        assert part in text


def test_a_trainer_that_does_not_run_is_told_and_no_problem(machine: MachineConfig) -> None:
    found = told(replace(machine, status="false"))
    assert "does not run" in found[-1].sentence
    assert {one.verdict for one in found} == {"ok"}


def test_a_status_command_that_does_not_exist_is_a_problem(machine: MachineConfig) -> None:
    assert "cannot be run" in only_problem(told(replace(machine, status="no-such-program-here"))).sentence


def test_an_unknown_host_key_names_the_command_that_trusts_it(machine: MachineConfig, tmp_path: Path) -> None:
    found = only_problem(told(replace(machine, known_hosts=tmp_path / "none")))
    assert "SHA256:" in found.sentence
    assert "dfld machines trust gpu1" in found.remedy


def test_a_key_that_is_open_to_others_is_a_problem(machine: MachineConfig, tmp_path: Path) -> None:
    assert machine.key is not None
    key = tmp_path / "key"
    key.write_bytes(machine.key.read_bytes())
    key.chmod(0o644)
    assert only_problem(told(replace(machine, key=key))).remedy == f"chmod 600 {key}"


def test_a_key_that_is_not_there_is_a_problem(machine: MachineConfig, tmp_path: Path) -> None:
    assert "cannot be read" in only_problem(told(replace(machine, key=tmp_path / "none"))).sentence


def test_a_machine_that_is_off_is_a_problem(machine: MachineConfig) -> None:
    assert "cannot connect" in only_problem(told(replace(machine, port=free_port()))).sentence


def test_a_model_folder_that_is_not_there_is_a_problem_and_the_trainer_is_still_asked(machine: MachineConfig) -> None:
    found = told(replace(machine, model_dir="/no/such/folder"))
    assert "/no/such/folder" in only_problem(found).sentence
    assert "its trainer runs" in found[-1].sentence


def test_a_model_of_another_name_is_a_problem_that_names_those_there(machine: MachineConfig) -> None:
    assert "there are alice_SAEHD" in only_problem(told(machine, SyncConfig("bob", ("gpu1",)))).sentence


def test_a_machine_that_no_sync_names_is_warned_of(machine: MachineConfig) -> None:
    found = list(examine_machine(machine, ()))
    assert [one.sentence for one in found if one.verdict == "warning"] == ["no [[sync]] names it"]


def test_a_machine_that_is_a_folder_here_needs_no_ssh(server: SshMachine) -> None:
    local = MachineConfig(
        name="gpu1", address="here", model_dir=str(server.model_dir), transfer="local", status="false"
    )
    assert {one.verdict for one in told(local)} == {"ok"}


def test_without_control_and_status_the_process_list_speaks_and_status_is_asked_for(machine: MachineConfig) -> None:
    alone = replace(machine, control="none", status="", stop="", start="")
    (asked,) = [one for one in told(alone) if one.verdict == "warning"]
    assert "its process list says that no trainer runs" in asked.sentence
    assert "status" in asked.remedy
    trainer = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", "--model-dir", machine.model_dir]
    with subprocess.Popen(trainer, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        (asked,) = [one for one in told(alone) if one.verdict == "warning"]
        process.kill()
    assert f"a trainer runs (process {process.pid}" in asked.sentence


def test_machines_are_told_in_the_order_of_the_configuration(machine: MachineConfig) -> None:
    off = replace(machine, name="gpu0", port=free_port())
    config = Config(machines=(off, machine), syncs=(SyncConfig("alice", ("gpu0", "gpu1")),))
    subjects = [one.subject for one in examine_machines(config)]
    assert subjects == ["machine gpu0", *["machine gpu1"] * (len(subjects) - 1)]


def test_missing_sftp_extensions_are_warned_of_by_name() -> None:
    assert judge_extensions("m", {POSIX_RENAME, FSYNC, HARD_LINK, LIMITS, STATVFS}).verdict == "ok"
    found = judge_extensions("m", {POSIX_RENAME, FSYNC, LIMITS, STATVFS})
    assert found.verdict == "warning"
    assert HARD_LINK in found.sentence


def test_data_without_weights_is_no_model() -> None:
    assert judge_files("m", "a", "a_SAEHD", "/f", [FileStat("a_SAEHD_data.dat", 1, 1)]).verdict == "problem"


def test_an_optimizer_is_no_weights() -> None:
    data, optimizer = FileStat("a_SAEHD_data.dat", 1, 1), FileStat("a_SAEHD_src_dst_opt.npy", 1, 1)
    assert judge_files("m", "a", "a_SAEHD", "/f", [data, optimizer]).verdict == "problem"
    encoder = FileStat("a_SAEHD_encoder.npy", 1, 1)
    found = judge_files("m", "a", "a_SAEHD", "/f", [data, optimizer, encoder])
    assert found.sentence == "model a: 1 weight files and 1 of optimizer state in /f"


@pytest.mark.parametrize("name", ["a_SAEHD_data.dat", "a_SAEHD_encoder.npy"])
def test_an_empty_file_is_told(name: str) -> None:
    files = [FileStat(one, int(one != name), 1) for one in ("a_SAEHD_data.dat", "a_SAEHD_encoder.npy")]
    found = judge_files("m", "a", "a_SAEHD", "/f", files)
    assert found.verdict == "problem"
    assert f"{name} in /f has 0 bytes" in found.sentence


def test_a_cooperating_trainer_that_has_ended_is_told(tmp_path: Path) -> None:
    notes = tmp_path / ".dfld" / "alice_SAEHD"
    notes.mkdir(parents=True)
    for name in ("data.dat", "encoder.npy"):
        (tmp_path / f"alice_SAEHD_{name}").write_bytes(b"x")
    # What the hook writes, by a process that ends then.
    program = f"import sys; sys.path[0] = {str(Path.cwd())!r}; from sync.trainers.hook_program import process; " + (
        "import json; print(json.dumps({'iteration': 1, 'losses': [], 'process': process()}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (notes / "alive.json").write_text(done.stdout)
    local = MachineConfig(name="gpu1", address="", model_dir=str(tmp_path), transfer="local", control="cooperative")
    (warned,) = [one for one in told(local) if one.verdict == "warning"]
    assert "has ended" in warned.sentence


def test_a_trainer_is_waited_for_as_its_sync_table_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dfld" / "alice_SAEHD").mkdir(parents=True)
    (tmp_path / ".dfld" / "alice_SAEHD" / "alive.json").write_text("{}")
    asked: list[TrainerSettings] = []

    def recorded(
        transport: Transport,
        places: RemotePlaces,
        settings: TrainerSettings,
        stop: threading.Event,
        refused: RefusedStates,
    ) -> Trainer:
        asked.append(settings)
        return trainer_of(transport, places, settings, stop, refused)

    monkeypatch.setattr(machines, "trainer_of", recorded)
    local = MachineConfig(name="gpu1", address="", model_dir=str(tmp_path), transfer="local", control="cooperative")
    told(local, replace(SYNC, waits=WaitsConfig(command_s=7)))
    assert [settings.command_s for settings in asked] == [7]


def test_a_cooperating_trainer_that_never_gave_a_sign_is_warned_of(machine: MachineConfig, server: SshMachine) -> None:
    cooperative = replace(machine, control="cooperative", stop="", start="", status="")
    (warned,) = [one for one in told(cooperative) if one.verdict == "warning"]
    assert "dfld sync hook alice" in warned.remedy
    notes = server.model_dir / ".dfld" / "alice_SAEHD"
    notes.mkdir(parents=True)
    (notes / "alive.json").write_text("{}")
    assert {one.verdict for one in told(cooperative)} == {"ok"}


def test_lines_of_known_hosts_that_do_not_count_are_named(machine: MachineConfig, tmp_path: Path) -> None:
    assert machine.known_hosts
    known = tmp_path / "known_hosts"
    known.write_bytes(b"\xff\xfe ssh-rsa AAAA\n" + machine.known_hosts.read_bytes())
    found = told(replace(machine, known_hosts=known))
    (one,) = [one for one in found if one.verdict == "warning"]
    assert "line 1 (" in one.sentence
    assert "its trainer runs" in found[-1].sentence


def test_an_error_that_nobody_foresaw_is_the_trouble_of_its_machine_alone(
    machine: MachineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_asked: object, **_named: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr("daemon.doctor.machines.judge_extensions", fails)
    one = only_problem(list(examine_machines(Config(machines=(machine,), syncs=(SYNC,)))))
    assert "machine gpu1: an error that nobody foresaw: ValueError: odd" in one.sentence


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"model_dir": "D:\\workspace\\model"}, True),
        ({"model_dir": "/home/alice/model"}, False),
        ({"model_dir": "D:/workspace/model", "control": "cooperative"}, False),
    ],
)
def test_on_windows_it_says_that_a_late_stop_command_is_not_ended(changes: dict[str, Any], warned: bool) -> None:
    plain = Machine(name="gpu1", address="localhost", model_dir="", control="command", status="true", stop="end.cmd")
    found = judge_late_stop("machine gpu1", replace(plain, **changes))
    assert (found is not None) == warned
    if found:
        assert found.verdict == "warning"
        assert "cannot end what `end.cmd` started" in found.sentence
