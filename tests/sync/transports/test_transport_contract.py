"""One suite for every transport: what sync.transports.transport.Transport says in words."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from daemon.config.sync_tables import MachineConfig
from sync.errors import (
    CommandError,
    RemoteFileError,
    RemoteFileMissingError,
)
from sync.transports.local import LocalTransport
from sync.transports.ssh.openssh import find_ssh
from sync.transports.ssh_transport import SshTransport, connect
from sync.transports.transport import Transport
from sync.types import Machine, Transfer
from tests.sync.sshd import SshMachine

MIB = 1024 * 1024


TRANSPORTS = ("local", "paramiko", "openssh")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Transport]:
    if request.param == "local":
        made: Transport = LocalTransport(
            Machine(name="gpu1", address="", model_dir=str(tmp_path / "model dir"), transfer="local", deadline_s=60.0)
        )
        Path(made.machine.model_dir).mkdir()
    else:
        ssh_machines: list[SshMachine] = request.getfixturevalue("ssh_machines")
        if request.param == "openssh" and find_ssh() is None:
            pytest.skip("the ssh program is not installed (apt-get install openssh-client)")
        folder = ssh_machines[0].fresh_folder()
        made = connect(ssh_machines[0].machine(transfer=request.param, model_dir=str(folder)))
        assert isinstance(made, SshTransport)
    yield made
    made.close()


def test_every_way_that_a_machine_may_name_is_held_to_the_contract() -> None:
    assert set(get_args(Transfer)) == {"auto", *TRANSPORTS}  # auto is one of the others
    assert get_args(get_type_hints(MachineConfig)["transfer"]) == get_args(Transfer)


def folder_of(transport: Transport) -> Path:
    """The machine's model folder, seen from behind its back."""
    return Path(transport.machine.model_dir)


def test_stat_tells_size_and_time_of_a_file(transport: Transport) -> None:
    path = folder_of(transport) / "my face_SAEHD_encoder.npy"
    path.write_bytes(b"12345")
    os.utime(path, (1_600_000_000, 1_600_000_000))

    found = transport.stat(str(path))

    assert (found.name, found.size_bytes, found.modified_s) == (path.name, 5, 1_600_000_000)


def test_what_is_not_there_is_reported_as_missing(transport: Transport, tmp_path: Path) -> None:
    gone = f"{transport.machine.model_dir}/gone"
    for ask in (
        lambda: transport.stat(gone),
        lambda: transport.list_files(gone),
        lambda: transport.read(gone, most_bytes=10),
        lambda: transport.pull(gone, tmp_path / "x"),
        lambda: transport.rename_over(gone, gone + "2"),
        lambda: transport.hard_link(gone, gone + "2"),
    ):
        with pytest.raises(RemoteFileMissingError, match=r"machine gpu1: .*gone"):
            ask()


def test_a_listing_holds_files_only(transport: Transport) -> None:
    folder = folder_of(transport)
    (folder / "a folder").mkdir()
    (folder / "a circle").symlink_to("a circle")
    (folder / "a dead link").symlink_to("nowhere")
    os.mkfifo(folder / "a pipe")
    for name in ("b", "a b", "ü[1]*.npy"):
        (folder / name).write_bytes(b"x")

    assert [file.name for file in transport.list_files(str(folder))] == sorted(["a b", "b", "ü[1]*.npy"])


def test_a_small_file_written_reads_the_same_and_leaves_no_part(transport: Transport) -> None:
    path = f"{transport.machine.model_dir}/note"
    transport.write(path, b"first")
    transport.write(path, b"second")

    assert transport.read(path, most_bytes=6) == b"second"
    assert [file.name for file in transport.list_files(transport.machine.model_dir)] == ["note"]


def test_what_is_no_regular_file_is_refused_at_once(transport: Transport, tmp_path: Path) -> None:
    folder = folder_of(transport)
    (folder / "a folder").mkdir()
    os.mkfifo(folder / "a pipe")
    (folder / "a link").symlink_to("a pipe")
    for name in ("a folder", "a pipe", "a link"):
        path = f"{transport.machine.model_dir}/{name}"
        for ask in (
            lambda path=path: transport.read(path, most_bytes=6),
            lambda path=path: transport.open_ranges(path).__enter__(),
            lambda path=path: transport.pull(path, tmp_path / "pulled"),
        ):
            with pytest.raises(RemoteFileError, match=f"machine gpu1: .*{name}.* regular file"):
                ask()


def test_reading_more_than_allowed_is_refused(transport: Transport) -> None:
    (folder_of(transport) / "big").write_bytes(b"1234567")
    with pytest.raises(RemoteFileError, match="6"):
        transport.read(f"{transport.machine.model_dir}/big", most_bytes=6)


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 255 * 1024 + 1, 9 * MIB + 77])
def test_pull_copies_every_byte_and_tells_their_hash(transport: Transport, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    source = folder_of(transport) / "odd 'name' $(x).npy"
    source.write_bytes(content)
    moved: list[int] = []

    digest = transport.pull(str(source), tmp_path / "copy", on_bytes=moved.append)

    assert (tmp_path / "copy").read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()
    assert sum(moved) == size
    assert not (tmp_path / "copy.part").exists()


@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 255 * 1024 + 1, 9 * MIB + 77])
def test_push_replaces_a_file_whole_and_tells_its_hash(transport: Transport, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "source").write_bytes(content)
    target = folder_of(transport) / "odd 'name' $(x).npy"
    target.write_bytes(b"old")
    moved: list[int] = []

    digest = transport.push(tmp_path / "source", str(target), on_bytes=moved.append)

    assert target.read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()
    assert sum(moved) == size
    assert [path.name for path in folder_of(transport).iterdir()] == [target.name]


def test_a_file_read_into_memory_may_be_large(transport: Transport) -> None:
    content = os.urandom(5 * MIB)
    (folder_of(transport) / "data.dat").write_bytes(content)
    assert transport.read(f"{transport.machine.model_dir}/data.dat", most_bytes=6 * MIB) == content


def test_ranges_of_an_open_file_stay_those_of_one_version(transport: Transport) -> None:
    content = os.urandom(3 * MIB)
    path = folder_of(transport) / "data.dat"
    path.write_bytes(content)

    with transport.open_ranges(str(path)) as source:
        path.unlink()
        path.write_bytes(b"the next save")
        assert source.size == len(content)
        assert source.read_at(5, 10) == content[5:15]
        assert source.read_at(MIB, 700_000) == content[MIB : MIB + 700_000]
        assert source.read_at(len(content) - 3, 10) == content[-3:]
        assert source.read_at(len(content), 10) == b""
    with pytest.raises(RemoteFileMissingError), transport.open_ranges(str(path) + "x"):
        pass


def test_rename_replaces_in_one_step(transport: Transport) -> None:
    folder = folder_of(transport)
    (folder / "old").write_bytes(b"new content")
    (folder / "live").write_bytes(b"before")

    transport.rename_over(str(folder / "old"), str(folder / "live"))

    assert (folder / "live").read_bytes() == b"new content"
    assert not (folder / "old").exists()


def test_a_hard_link_keeps_the_bytes_that_a_trainer_replaces(transport: Transport) -> None:
    folder = folder_of(transport)
    live = folder / "encoder.npy"
    live.write_bytes(b"save 1")

    assert transport.hard_link(str(live), str(folder / "kept"))
    live.unlink()
    live.write_bytes(b"save 2")

    assert (folder / "kept").read_bytes() == b"save 1"
    assert not transport.hard_link(str(live), str(folder / "kept")), "a second name that exists is not replaced"


def test_removing_twice_and_making_twice_are_fine(transport: Transport) -> None:
    deep = f"{transport.machine.model_dir}/.dfld/round 1/new"
    for _ in range(2):
        transport.make_folder(deep)
    transport.write(f"{deep}/x", b"x")
    for _ in range(2):
        transport.remove(f"{deep}/x")
    for _ in range(2):
        transport.remove_folder(deep)
    assert not Path(deep).exists()


def test_the_room_left_is_told(transport: Transport) -> None:
    free = transport.free_bytes(transport.machine.model_dir)
    assert free is not None
    assert free > 0


def test_the_machines_own_clock_is_told(transport: Transport) -> None:
    before = int(time.time())
    assert before - 1 <= transport.clock_s(transport.machine.model_dir) <= time.time() + 1


def test_two_that_ask_one_machine_for_its_time_at_once_both_learn_it(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    machine = Machine(name="gpu1", address="", model_dir=str(tmp_path / "m"), transfer="local")

    def ask(_number: int) -> int:
        return LocalTransport(machine).clock_s(machine.model_dir)

    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(ask, range(400)))) == 400


def test_a_command_tells_its_exit_status_and_output(transport: Transport) -> None:
    result = transport.run("echo active; echo odd >&2; exit 3", timeout_s=20)
    assert result.exit_status == 3
    assert "active" in result.output
    assert "odd" in result.output


def test_a_command_that_does_not_end_is_given_up(transport: Transport) -> None:
    with pytest.raises(CommandError, match="did not end within 1 s"):
        transport.run("exec sleep 60", timeout_s=1)
    assert transport.run("true", timeout_s=20).exit_status == 0, "the transport is still usable"


def test_what_a_command_leaves_in_the_background_is_not_waited_for(transport: Transport) -> None:
    result = transport.run("sleep 60 & echo $!", timeout_s=20)
    os.kill(int(result.output.split()[0]), 9)
    assert result.exit_status == 0


def test_after_close_the_next_call_connects_again(transport: Transport) -> None:
    transport.write(f"{transport.machine.model_dir}/x", b"1")
    transport.close()
    assert transport.stat(f"{transport.machine.model_dir}/x").size_bytes == 1


def test_a_push_into_a_folder_that_is_not_there_is_refused_and_the_transport_goes_on(
    transport: Transport, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(os.urandom(2 * MIB))
    with pytest.raises(RemoteFileMissingError):
        transport.push(tmp_path / "source", f"{transport.machine.model_dir}/no folder/x")
    transport.push(tmp_path / "source", f"{transport.machine.model_dir}/x")
