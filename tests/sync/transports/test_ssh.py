"""What SSH does when the machine, the network or the key is not as it should be."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import paramiko
import pytest

from sync.errors import (
    ChangedHostKeyError,
    ConnectionLostError,
    LoginError,
    RemoteDiskFullError,
    RemoteFileError,
    RevokedHostKeyError,
    TransportError,
    UnknownHostKeyError,
    UnreachableError,
)
from sync.rounds.rounds import Rounds
from sync.rounds.settings import SyncSettings
from sync.transports import ssh_transport
from sync.transports.sftp import SftpClient
from sync.transports.ssh import connection as ssh
from sync.transports.ssh.connection import SshConnection, fetch_host_key
from sync.transports.ssh.host_keys import known_host_keys
from sync.transports.ssh.known_hosts import trust_host_key
from sync.transports.ssh.openssh import find_ssh, ssh_command
from sync.transports.ssh_transport import RECONNECTS, SshTransport
from sync.types import CommandResult, Machine, ModelName
from tests.sync.odd_server import OddServer
from tests.sync.proxy import FaultyProxy
from tests.sync.sshd import SshMachine, free_port, make_key, make_ssh_machine
from tests.sync.training import until

MIB = 1024 * 1024


@pytest.fixture
def gpu1(ssh_machines: list[SshMachine]) -> SshMachine:
    return ssh_machines[0]


@pytest.fixture
def proxy(gpu1: SshMachine) -> Iterator[FaultyProxy]:
    made = FaultyProxy(gpu1.port)
    yield made
    made.close()


@pytest.fixture(params=["paramiko", "openssh"])
def program(request: pytest.FixtureRequest) -> str | None:
    if request.param == "paramiko":
        return None
    found = find_ssh()
    if found is None:
        pytest.skip("the ssh program is not installed (apt-get install openssh-client)")
    return found


def through(proxy: FaultyProxy, gpu1: SshMachine, folder: Path) -> Machine:
    """The machine as it is reached through the proxy, with its key known under the proxy's port."""
    known = folder / "known_hosts"
    known.write_text(gpu1.known_hosts.read_text(encoding="utf-8").replace(f":{gpu1.port}", f":{proxy.port}"))
    return gpu1.machine(port=proxy.port, known_hosts=known, model_dir=str(gpu1.fresh_folder()))


# Keys.


def test_an_unknown_host_key_is_refused_and_the_message_shows_its_fingerprint(gpu1: SshMachine, tmp_path: Path) -> None:
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(gpu1.host_key) + ".pub"], check=True, capture_output=True, text=True
    ).stdout.split()[1]

    with pytest.raises(UnknownHostKeyError) as error:
        SshConnection(gpu1.machine(known_hosts=tmp_path / "none"), stall_s=5)

    assert shown in error.value.message
    assert "dfld machines trust gpu1" in error.value.hint


def test_a_changed_host_key_is_refused(gpu1: SshMachine, tmp_path: Path) -> None:
    other = Path(str(make_key(tmp_path / "other")) + ".pub").read_text(encoding="utf-8").split()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{gpu1.port} {other[0]} {other[1]}\n", encoding="utf-8")

    with pytest.raises(ChangedHostKeyError, match="nothing was sent"):
        SshConnection(gpu1.machine(known_hosts=known), stall_s=5)


def test_the_openssh_road_refuses_a_changed_host_key_too(gpu1: SshMachine, tmp_path: Path) -> None:
    program = find_ssh()
    if program is None:
        pytest.skip("the ssh program is not installed (apt-get install openssh-client)")
    other = Path(str(make_key(tmp_path / "other")) + ".pub").read_text(encoding="utf-8").split()
    known = tmp_path / "known hosts"
    known.write_text(f"[127.0.0.1]:{gpu1.port} {other[0]} {other[1]}\n", encoding="utf-8")

    done = subprocess.run(
        ssh_command(program, gpu1.machine(known_hosts=known)), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )

    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_a_trusted_key_lets_both_roads_in(gpu1: SshMachine, tmp_path: Path, program: str | None) -> None:
    known = tmp_path / "etc dfld" / "known hosts"
    machine = gpu1.machine(known_hosts=known, model_dir=str(gpu1.fresh_folder()))

    key = fetch_host_key(machine)
    trust_host_key(key, known)

    (Path(machine.model_dir) / "x").write_bytes(b"abc")
    transport = SshTransport(machine, ssh_program=program)
    transport.pull(f"{machine.model_dir}/x", tmp_path / "x")
    transport.close()
    assert key.kind == "ssh-ed25519"
    assert known.read_text(encoding="utf-8") == gpu1.known_hosts.read_text(encoding="utf-8")


def test_trusting_keeps_the_keys_of_other_machines(gpu1: SshMachine, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("gpu9 ssh-ed25519 AAAA", encoding="utf-8")
    trust_host_key(fetch_host_key(gpu1.machine()), known)
    assert known.read_text(encoding="utf-8").splitlines()[0] == "gpu9 ssh-ed25519 AAAA"
    assert len(known.read_text(encoding="utf-8").splitlines()) == 2


def test_a_key_that_the_machine_refuses_is_told_as_such(gpu1: SshMachine, tmp_path: Path) -> None:
    with pytest.raises(LoginError, match="refuses user"):
        SshConnection(gpu1.machine(key=make_key(tmp_path / "stranger")), stall_s=5)


def test_a_key_file_that_is_not_there_is_told_as_such(gpu1: SshMachine, tmp_path: Path) -> None:
    with pytest.raises(LoginError, match=r"gone.* cannot be read"):
        SshConnection(gpu1.machine(key=tmp_path / "gone"), stall_s=5)


def test_a_revoked_host_key_is_refused_by_both_roads_and_is_never_offered_for_trust(
    gpu1: SshMachine, tmp_path: Path
) -> None:
    trusted = gpu1.known_hosts.read_text(encoding="utf-8")
    known = tmp_path / "known_hosts"
    known.write_text(f"{trusted}@revoked {trusted}", encoding="utf-8")
    machine = gpu1.machine(known_hosts=known)

    with pytest.raises(RevokedHostKeyError, match="marks as revoked; nothing was sent"):
        SshConnection(machine, stall_s=5)
    with pytest.raises(RevokedHostKeyError):
        fetch_host_key(machine)
    program = find_ssh()
    if program is not None:
        done = subprocess.run(ssh_command(program, machine), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 255
        assert "revoked" in done.stderr.lower()


def test_bad_lines_of_known_hosts_are_named_where_no_line_fits(gpu1: SshMachine, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_bytes(b"\xe9 ssh-rsa\n" + gpu1.known_hosts.read_bytes().replace(b"AAAA", b"A%AA", 1))
    with pytest.raises(UnknownHostKeyError, match=r"line 1 \(it has no .*line 2 \(its key is not base64\)"):
        SshConnection(gpu1.machine(known_hosts=known), stall_s=5)


def test_a_known_hosts_of_all_sorts_lets_both_roads_in(gpu1: SshMachine, tmp_path: Path, program: str | None) -> None:
    known = tmp_path / "known_hosts"
    good = gpu1.known_hosts.read_bytes()
    other = Path(f"{make_key(tmp_path / 'other')}.pub").read_bytes()
    authority, revoked = b"@cert-authority *.lan " + other, b"@revoked * " + other
    known.write_bytes(b"# mine\n\n\xe9\xff ssh-rsa AAAA\nold.lan\n" + authority + revoked + good)
    machine = gpu1.machine(known_hosts=known, model_dir=str(gpu1.fresh_folder()))
    (Path(machine.model_dir) / "x").write_bytes(b"abc")
    transport = SshTransport(machine, ssh_program=program)
    transport.pull(f"{machine.model_dir}/x", tmp_path / "x")
    transport.close()
    assert list(known_host_keys(machine).values()) == [good.split()[2].decode()]


@pytest.mark.parametrize(
    ("content", "words", "remedy"),
    [
        (b"PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\n", "a key of PuTTY", "puttygen"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBjb me\n", "the public half", "id without .pub|without .pub"),
        (b"", "it is empty", "ssh-keygen -t ed25519"),
        (b" \r\n", "it is empty", "ssh-keygen -t ed25519"),
        (b"my secret diary", "no private key", "ssh-keygen -t ed25519"),
        (bytes(70_000) + b"x", "larger than", "ssh-keygen"),
        (
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
            "cannot be read",
            "ssh-keygen",
        ),
        (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "a passphrase", "ssh-keygen -p"),
    ],
)
def test_a_key_file_of_another_kind_is_named_for_what_it_is(
    gpu1: SshMachine, tmp_path: Path, content: bytes, words: str, remedy: str
) -> None:
    key = tmp_path / "id"
    key.write_bytes(content)
    with pytest.raises(LoginError, match=words) as caught:
        SshConnection(gpu1.machine(key=key), stall_s=5)
    assert re.search(remedy, caught.value.hint)
    assert "cryptography.io" not in caught.value.message


def test_a_key_with_a_passphrase_and_a_folder_are_named_too(gpu1: SshMachine, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True)
    with pytest.raises(LoginError, match="a passphrase"):
        SshConnection(gpu1.machine(key=key), stall_s=5)
    with pytest.raises(LoginError, match="directory"):
        SshConnection(gpu1.machine(key=tmp_path), stall_s=5)


def test_a_key_with_windows_line_ends_works_on_both_roads(
    gpu1: SshMachine, tmp_path: Path, program: str | None
) -> None:
    key = tmp_path / "id"
    key.write_bytes(gpu1.user_key.read_bytes().replace(b"\n", b"\r\n"))
    key.chmod(0o600)
    machine = gpu1.machine(key=key, model_dir=str(gpu1.fresh_folder()))
    (Path(machine.model_dir) / "x").write_bytes(b"abc")
    transport = SshTransport(machine, ssh_program=program)
    transport.pull(f"{machine.model_dir}/x", tmp_path / "x")
    transport.close()


def test_a_machine_that_wants_more_than_the_key_is_a_login_error_that_names_it(tmp_path: Path) -> None:
    strict = make_ssh_machine(
        tmp_path, "gpu1", first_lines="PasswordAuthentication yes\nAuthenticationMethods publickey,password\n"
    )
    try:
        with pytest.raises(LoginError, match="asks for more: password") as caught:
            SshTransport(strict.machine(), ssh_program=None).stat("/")
    finally:
        strict.stop()
    assert "AuthenticationMethods" in caught.value.hint


# Connections.


def test_a_refused_connection_is_told_as_unreachable(gpu1: SshMachine) -> None:
    with pytest.raises(UnreachableError, match=r"cannot connect to [^\[]*: Connection refused"):
        SshConnection(gpu1.machine(port=free_port()), stall_s=5)


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["nothing", "a banner and then nothing"])
def test_a_machine_that_falls_silent_is_given_up_at_the_deadline(gpu1: SshMachine, says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, contextlib.ExitStack() as opened:
        machine = gpu1.machine(port=silent.getsockname()[1])
        silent.settimeout(20)

        def answer() -> None:
            connection = opened.enter_context(silent.accept()[0])
            connection.sendall(says)

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(UnreachableError, match="within 1 s"):
            SshConnection(machine, stall_s=5, connect_deadline_s=1.0)
        answering.join(20)


@pytest.mark.parametrize(("direction", "after_bytes"), [("down", 0), ("down", 60), ("up", 0), ("up", 60)])
def test_a_connection_that_is_closed_before_the_login_is_tried_again(
    gpu1: SshMachine, proxy: FaultyProxy, tmp_path: Path, direction: Literal["down", "up"], after_bytes: int
) -> None:
    machine = through(proxy, gpu1, tmp_path)
    proxy.arm("cut", after_bytes, direction=direction)
    SshConnection(machine, stall_s=5).close()
    assert (proxy.happened, proxy.connections) == (1, 2)


class StoppedInTheWait(threading.Event):
    """A stop that comes while somebody waits for it."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return super().wait(timeout)


def test_a_stop_ends_the_wait_before_the_next_try(
    gpu1: SshMachine, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "CONNECT_WAIT_S", 1000.0)
    machine = through(proxy, gpu1, tmp_path)
    proxy.arm("cut", 0)
    stop = StoppedInTheWait()
    SshConnection(machine, stall_s=5, connect_deadline_s=5000, stop=stop).close()
    assert (stop.is_set(), proxy.connections) == (True, 2)


def test_a_connection_for_what_must_be_seen_out_after_a_stop_is_tried_as_often_as_any(
    gpu1: SshMachine, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "CONNECT_WAIT_S", 0.01)
    machine = through(proxy, gpu1, tmp_path)
    proxy.arm("cut", 0)
    stop = threading.Event()
    stop.set()
    transport = SshTransport(machine, ssh_program=None, stop=stop)
    with contextlib.closing(transport):
        assert transport.run("echo started", timeout_s=20).output == "started"
    assert (proxy.happened, proxy.connections) == (1, 2)


def test_a_machine_that_turns_everybody_away_is_given_up_after_a_few_tries(
    gpu1: SshMachine, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "CONNECT_WAIT_S", 0.01)
    machine = through(proxy, gpu1, tmp_path)
    proxy.every = True
    proxy.arm("cut", 0)
    with pytest.raises(UnreachableError, match=r"\(tried 5 times\)"):
        SshConnection(machine, stall_s=5)
    assert proxy.connections == ssh.CONNECT_TRIES


def test_a_machine_beyond_its_limit_of_logins_lets_dfld_in_when_there_is_room(tmp_path: Path) -> None:
    busy = make_ssh_machine(tmp_path, "gpu1", startups="MaxStartups 1:100:1")
    proxy = FaultyProxy(busy.port)

    def somebody() -> socket.socket | None:
        line = socket.create_connection(("127.0.0.1", busy.port))
        if line.recv(4) == b"SSH-":
            return line
        line.close()
        return None

    try:
        machine = through(proxy, busy, tmp_path)
        with until(somebody, "a place before the login"):
            connecting = ThreadPoolExecutor(1).submit(SshConnection, machine, stall_s=5)
            until(lambda: proxy.connections > 1, "the first refusal")
        connecting.result(30).close()
    finally:
        proxy.close()
        busy.stop()


@pytest.mark.parametrize("after_bytes", [0, 30, 100, 400, 900, 1300, 1500, 1700, 1900, 2100, 2300, 2500])
def test_a_handshake_with_one_flipped_bit_ends_well_or_in_an_error_of_the_machine(
    gpu1: SshMachine, proxy: FaultyProxy, tmp_path: Path, after_bytes: int
) -> None:
    machine = through(proxy, gpu1, tmp_path)
    proxy.every = True
    proxy.arm("flip", after_bytes)
    with contextlib.suppress(TransportError):  # anything else is what this test is about
        SshConnection(machine, stall_s=5, connect_deadline_s=3).close()


@pytest.mark.parametrize("order", ["status first", "output first", "nothing but the status"])
def test_a_command_counts_whatever_comes_first_and_when_the_channel_is_closed_at_once(
    tmp_path: Path, order: str
) -> None:
    printed = b"" if order == "nothing but the status" else b"4711\n"
    go = threading.Event()

    def answer(channel: paramiko.Channel) -> None:
        if order == "status first":
            channel.send_exit_status(3)
            go.wait(20)
        channel.sendall(printed)
        channel.send_exit_status(3)
        channel.shutdown_write()
        channel.close()

    server = OddServer(tmp_path, answer)
    connection = SshConnection(server.machine, stall_s=10)
    try:
        for _ in range(30 if order != "status first" else 1):
            threading.Timer(0.3, go.set).start()
            assert connection.run("cat pid", timeout_s=10) == CommandResult(3, printed.decode().strip())
    finally:
        connection.close()
        server.close()


def test_a_channel_that_is_closed_without_a_status_is_a_lost_connection(tmp_path: Path) -> None:
    server = OddServer(tmp_path, lambda channel: channel.close())
    connection = SshConnection(server.machine, stall_s=10)
    with pytest.raises(ConnectionLostError, match="machine gpu1"):
        connection.run("cat pid", timeout_s=10)
    connection.close()
    server.close()


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("percent", [1, 25, 50, 75, 99])
def test_a_connection_cut_at_any_percent_is_taken_up_again(
    gpu1: SshMachine, proxy: FaultyProxy, program: str | None, tmp_path: Path, percent: int, direction: str
) -> None:
    content = os.urandom(6 * MIB)
    machine = through(proxy, gpu1, tmp_path)
    here, there = tmp_path / "here", Path(machine.model_dir) / "there"
    transport = SshTransport(machine, ssh_program=program, stall_s=10)
    moved: list[int] = []
    if direction == "down":
        there.write_bytes(content)
        transport.stat(str(there))
        proxy.arm("cut", len(content) * percent // 100)
        digest = transport.pull(str(there), here, on_bytes=moved.append)
    else:
        here.write_bytes(content)
        transport.make_folder(machine.model_dir)
        proxy.arm("cut", len(content) * percent // 100, direction="up")
        digest = transport.push(here, str(there), on_bytes=moved.append)
    transport.close()

    assert proxy.happened == 1
    assert here.read_bytes() == there.read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()
    # A pull repeats nothing that was written; a push at most what the machine had not confirmed.
    assert sum(moved) <= len(content) + 8 * MIB
    if direction == "down":
        assert sum(moved) == len(content)


def test_a_flipped_bit_never_reaches_the_file(
    gpu1: SshMachine, proxy: FaultyProxy, program: str | None, tmp_path: Path
) -> None:
    content = os.urandom(2 * MIB)
    machine = through(proxy, gpu1, tmp_path)
    there = Path(machine.model_dir) / "there"
    there.write_bytes(content)
    transport = SshTransport(machine, ssh_program=program, stall_s=10)
    transport.stat(str(there))
    proxy.arm("flip", MIB)

    transport.pull(str(there), tmp_path / "here")
    transport.close()

    assert proxy.happened == 1
    assert (tmp_path / "here").read_bytes() == content


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_connection_that_freezes_is_given_up_after_the_stall_limit(
    gpu1: SshMachine, proxy: FaultyProxy, program: str | None, tmp_path: Path, direction: str
) -> None:
    machine = replace(through(proxy, gpu1, tmp_path), deadline_s=3.0)
    there, here = Path(machine.model_dir) / "there", tmp_path / "here"
    transport = SshTransport(machine, ssh_program=program, stall_s=1)
    proxy.every = True
    if direction == "down":
        there.write_bytes(os.urandom(8 * MIB))
        transport.stat(str(there))
        proxy.arm("freeze", MIB)
        with pytest.raises((ConnectionLostError, UnreachableError)):
            transport.pull(str(there), here)
    else:
        here.write_bytes(os.urandom(40 * MIB))
        there.write_bytes(b"old")
        transport.stat(str(there))
        proxy.arm("freeze", MIB, direction="up")
        with pytest.raises((ConnectionLostError, UnreachableError)):
            transport.push(here, str(there))
        assert there.read_bytes() == b"old"
    transport.close()
    assert not here.exists() or direction == "up"


def test_a_connection_that_drips_is_given_up_at_the_deadline(
    gpu1: SshMachine, proxy: FaultyProxy, program: str | None, tmp_path: Path
) -> None:
    machine = replace(through(proxy, gpu1, tmp_path), deadline_s=2.0)
    there = Path(machine.model_dir) / "there"
    there.write_bytes(os.urandom(4 * MIB))
    transport = SshTransport(machine, ssh_program=program, stall_s=30)
    transport.stat(str(there))
    proxy.every = True
    proxy.arm("drip", MIB)
    with pytest.raises((ConnectionLostError, UnreachableError), match=r"deadline passed|the connection ended"):
        transport.pull(str(there), tmp_path / "here")
    transport.close()
    assert not (tmp_path / "here").exists()


def test_a_server_without_any_extension_but_rename_is_good_enough(tmp_path: Path, program: str | None) -> None:
    plain = make_ssh_machine(tmp_path, "windows", denied="hardlink,fsync,statvfs,limits")
    try:
        folder = str(plain.fresh_folder())
        content = os.urandom(3 * MIB + 5)
        (tmp_path / "here").write_bytes(content)
        transport = SshTransport(plain.machine(model_dir=folder), ssh_program=program)
        transport.push(tmp_path / "here", f"{folder}/there")
        transport.pull(f"{folder}/there", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == content
        assert transport.free_bytes(folder) is None
        assert not transport.hard_link(f"{folder}/there", f"{folder}/link")
        transport.close()
    finally:
        plain.stop()


def test_a_server_that_cannot_replace_in_one_step_is_refused(tmp_path: Path) -> None:
    plain = make_ssh_machine(tmp_path, "odd", denied="posix-rename")
    try:
        folder = str(plain.fresh_folder())
        transport = SshTransport(plain.machine(model_dir=folder), ssh_program=None)
        with pytest.raises(RemoteFileError, match=r"does not offer posix-rename@openssh.com"):
            transport.write(f"{folder}/x", b"x")
        transport.close()
    finally:
        plain.stop()


def test_a_file_replaced_during_a_pull_is_noticed(
    gpu1: SshMachine, proxy: FaultyProxy, program: str | None, tmp_path: Path
) -> None:
    machine = through(proxy, gpu1, tmp_path)
    there = Path(machine.model_dir) / "there"
    there.write_bytes(os.urandom(4 * MIB))
    transport = SshTransport(machine, ssh_program=program, stall_s=10)
    transport.stat(str(there))
    proxy.arm("cut", 2 * MIB)

    def replace_it(_count: int) -> None:
        if there.stat().st_size == 4 * MIB:
            there.unlink()
            there.write_bytes(os.urandom(5 * MIB))

    with pytest.raises(RemoteFileError, match=r"changed while it was pulled|was replaced"):
        transport.pull(str(there), tmp_path / "here", on_bytes=replace_it)
    transport.close()
    assert not (tmp_path / "here").exists()


def test_a_full_disk_leaves_the_old_file_and_says_how_much_is_free(
    gpu1: SshMachine, program: str | None, tmp_path: Path
) -> None:
    small = gpu1.fresh_folder()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        machine = gpu1.machine(model_dir=str(small))
        (small / "live").write_bytes(b"old")
        (tmp_path / "here").write_bytes(os.urandom(8 * MIB))
        transport = SshTransport(machine, ssh_program=program)

        with pytest.raises(RemoteDiskFullError, match="no space for .*live"):
            transport.push(tmp_path / "here", f"{small}/live")

        assert [(path.name, path.read_bytes()) for path in small.iterdir()] == [("live", b"old")]
        assert transport.stat(f"{small}/live").size_bytes == 3, "the session is still in step"
        transport.close()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_poll_over_the_kept_connection_opens_no_other(gpu1: SshMachine, proxy: FaultyProxy, tmp_path: Path) -> None:
    machine = through(proxy, gpu1, tmp_path)
    (Path(machine.model_dir) / "data.dat").write_bytes(b"x")
    transport = SshTransport(machine, ssh_program=find_ssh())
    for _ in range(5):
        transport.stat(f"{machine.model_dir}/data.dat")
    transport.close()
    assert proxy.connections == 1


def test_a_kept_connection_that_died_unseen_is_replaced_at_the_next_poll(
    gpu1: SshMachine, proxy: FaultyProxy, tmp_path: Path
) -> None:
    machine = through(proxy, gpu1, tmp_path)
    (Path(machine.model_dir) / "data.dat").write_bytes(b"x")
    transport = SshTransport(machine, ssh_program=None, stall_s=5)
    transport.stat(f"{machine.model_dir}/data.dat")
    proxy.arm("cut", 0, direction="up")
    assert transport.stat(f"{machine.model_dir}/data.dat").size_bytes == 1
    transport.close()
    assert proxy.happened == 1


@pytest.mark.parametrize(("stopped", "tries"), [(True, 1), (False, RECONNECTS)])
def test_a_stop_ends_the_waits_of_a_transfer_whose_machine_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stopped: bool, tries: int
) -> None:
    stop, asked = threading.Event(), []
    if stopped:
        stop.set()
    monkeypatch.setattr(ssh_transport, "RECONNECT_WAIT_S", 0.0001)
    machine = Machine(name="gpu1", address="127.0.0.1", model_dir="/m", port=free_port(), user="x", transfer="paramiko")
    rounds = Rounds(SyncSettings(ModelName("alice", "SAEHD"), (machine,), tmp_path / "state"), stop=stop)
    transport = rounds.links["gpu1"].transport
    assert isinstance(transport, SshTransport)

    def away() -> SftpClient:
        asked.append(1)
        raise UnreachableError("no route", machine="gpu1")

    monkeypatch.setattr(transport, "_bulk_client", away)
    with pytest.raises(UnreachableError):
        transport.pull("/m/x", tmp_path / "x")
    assert len(asked) == tries
