"""Whatever one machine sends or whatever fails on the way to it: that machine fails by name, the others go on."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import DfldError
from dfl.errors import FormatError
from sync.errors import ConnectionLostError, TransportError
from sync.failures import as_failure
from sync.machines import link_machines
from sync.rounds.rounds import Rounds
from sync.schedule.stages import StageTable
from sync.schedule.watch import Watch
from sync.trainers.contract import read_state
from sync.transports import ssh_transport as ssh_files
from sync.transports.local import LocalTransport
from sync.transports.sftp import NAME, SftpClient, is_file_name, string, uint32
from sync.transports.ssh_transport import SshTransport
from sync.types import Machine
from tests.sync.fleet import Fleet, begun, make_fleet

SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
REPLIES = int(os.environ.get("DFLD_MUTATED_REPLIES", "2000"))
FAULTY_CALLS = int(os.environ.get("DFLD_FAULTY_CALLS", "12"))
CALLS_OF_A_ROUND = 96
"""About as many as one machine is asked in the round below."""


# A server that answers mutated replies: OpenSSH's own, whose packets are changed on the way.


class MutatedStream:
    """OpenSSH's sftp-server over pipes; of `countdown` replies the last is mutated, by `random`."""

    def __init__(self, random: random.Random, spoilt: list[int]) -> None:
        self.ends_at = 0.0
        server = next((name for name in SERVERS if Path(name).exists()), None)
        if server is None:
            pytest.skip("OpenSSH's sftp-server is not installed (apt-get install openssh-sftp-server)")
        self.process = subprocess.Popen(
            [server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.random = random
        self.spoilt = spoilt
        self.waiting = b""
        self.asked = 0

    def send(self, *parts: bytes | memoryview) -> None:
        assert self.process.stdin
        self.asked += 1
        self.process.stdin.write(b"".join(bytes(part) for part in parts))
        self.process.stdin.flush()

    def receive_into(self, view: memoryview) -> None:
        assert self.process.stdout
        while len(self.waiting) < len(view):
            if not self.asked:  # a server that owes nothing more sends nothing more
                raise ConnectionLostError("no byte moved", machine="gpu1")
            self.asked -= 1
            head = self.process.stdout.read(4)
            self.waiting += self.maybe_mutated(head + self.process.stdout.read(int.from_bytes(head)))
        view[:] = self.waiting[: len(view)]
        self.waiting = self.waiting[len(view) :]

    def maybe_mutated(self, packet: bytes) -> bytes:
        if not self.spoilt or self.random.random() > 0.25:
            return packet
        self.spoilt.pop()
        return mutated(packet, self.random)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def mutated(packet: bytes, rng: random.Random) -> bytes:
    """Return a reply as a broken or hostile server might send it: `packet` is uint32 length, kind, request, fields."""
    changed = bytearray(packet)
    match rng.randrange(6):
        case 0:  # a byte anywhere
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        case 1:  # a number that is far too large
            at = rng.randrange(0, max(1, len(changed) - 3))
            changed[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\x04\0\0"])
        case 2:  # cut off, with a length that fits
            body = changed[4 : rng.randrange(4, len(changed))]
            changed = bytearray(len(body).to_bytes(4) + body)
        case 3:  # more than belongs there, with a length that fits
            body = changed[4:] + rng.randbytes(rng.randrange(1, 40))
            changed = bytearray(len(body).to_bytes(4) + body)
        case 4:  # another kind of reply
            changed[4:5] = bytes([rng.choice([2, 101, 102, 103, 104, 105, 201])])
        case _:  # noise
            body = rng.randbytes(rng.randrange(0, 60))
            changed = bytearray(len(body).to_bytes(4) + body)
    return bytes(changed)


class MutatedTransport(SshTransport):
    """The transport for real machines, with a server whose replies are mutated in place of a connection."""

    def __init__(self, machine: Machine, rng: random.Random, spoilt: list[int]) -> None:
        super().__init__(machine, ssh_program=None)
        self.rng, self.spoilt = rng, spoilt

    def _request_client(self) -> SftpClient:
        if self._requests is None:
            stream = MutatedStream(self.rng, self.spoilt)
            try:
                self._requests = SftpClient(stream, self.machine.name)
            except BaseException:
                stream.close()
                raise
        return self._requests


def work_through(transport: SshTransport, folder: Path, here: Path) -> Iterator[Callable[[], object]]:
    """Yield everything that is ever asked of a machine's files."""
    there = f"{folder}/encoder.npy"

    def ranges() -> bytes:
        with transport.open_ranges(there) as source:
            return source.read_at(10, 300_000) + source.read_at(source.size - 5, 50)

    yield lambda: transport.stat(there)
    yield lambda: transport.list_files(str(folder))
    yield lambda: transport.read(there, most_bytes=1_000_000)
    yield ranges
    yield lambda: transport.write(f"{folder}/note", b"x" * 50_000)
    yield lambda: transport.pull(there, here / "pulled")
    yield lambda: transport.push(here / "source", f"{folder}/pushed")
    yield lambda: transport.make_folder(f"{folder}/a/b")
    yield lambda: transport.remove_folder(f"{folder}/a/b")
    yield lambda: transport.hard_link(there, f"{folder}/link")
    yield lambda: transport.rename_over(f"{folder}/link", f"{folder}/renamed")
    yield lambda: transport.remove(f"{folder}/renamed")
    yield lambda: transport.free_bytes(str(folder))
    yield lambda: transport.clock_s(str(folder))


def go_through_mutated_replies(base: Path, count: int, seed: int) -> int:
    """Work with a server that mutates `count` of its replies; return how many requests failed, each as it must."""
    rng = random.Random(seed)
    folder, here = base / "there", base / "here"
    folder.mkdir()
    here.mkdir()
    (folder / "encoder.npy").write_bytes(rng.randbytes(400_000))
    (here / "source").write_bytes(rng.randbytes(300_000))
    spoilt = [0] * count
    transport = MutatedTransport(Machine("gpu1", "", str(folder), deadline_s=30.0), rng, spoilt)
    failed = []
    while spoilt:
        for ask in work_through(transport, folder, here):
            try:
                ask()
            except TransportError as error:
                failed.append(error.machine)
    transport.close()
    assert set(failed) == {"gpu1"}
    return len(failed)


def test_a_server_that_answers_mutated_replies_only_ever_fails_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_files, "RECONNECT_WAIT_S", 0.0)
    assert go_through_mutated_replies(tmp_path, REPLIES, seed=1) > REPLIES / 10


class Answering:
    """A server that shakes hands well and gives one and the same answer to each request."""

    ends_at = 0.0

    def __init__(self, kind: int, body: bytes) -> None:
        self.kind, self.body = kind, body
        self.waiting = struct.pack(">IBI", 5, 2, 3)

    def send(self, *parts: bytes | memoryview) -> None:
        sent = b"".join(bytes(part) for part in parts)
        if sent[4] != 1:
            self.waiting += struct.pack(">IB", 5 + len(self.body), self.kind) + sent[5:9] + self.body

    def receive_into(self, view: memoryview) -> None:
        view[:] = self.waiting[: len(view)]
        self.waiting = self.waiting[len(view) :]

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("name", ["../../.bashrc", "a/b", "", ".", "..", "a\0b", "x" * 3000])
def test_a_listing_with_a_name_that_no_file_has_is_refused(name: str) -> None:
    assert not is_file_name(name)
    entry = uint32(1) + string(name.encode()) + string(b"") + uint32(4) + uint32(0o100644)
    client = SftpClient(Answering(NAME, entry), "gpu1")
    client._handle = lambda _reply: b"handle"  # type: ignore[method-assign]
    client._ask = lambda *_asked, **_named: None  # type: ignore[method-assign, assignment]
    with pytest.raises(TransportError, match="which no file can be called"):
        client.list_files("/model")


@pytest.mark.parametrize("name", ["alice_SAEHD_encoder.npy", "ü" * 255, "a\\b", "...", " ", "-rf", "a:b"])
def test_names_that_disks_allow_are_taken(name: str) -> None:
    assert is_file_name(name)


# A transport that raises anything at any call.


class OddError(Exception):
    """Of a library that nobody has heard of."""


RAISES: tuple[Exception, ...] = (
    ValueError("the reply ends after 4 bytes"),
    struct.error("unpack requires a buffer of 9 bytes"),
    KeyError("modified"),
    RecursionError("maximum recursion depth exceeded"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    OSError(5, "Input/output error"),
    MemoryError(),
    OddError("\x1b[2J"),
    AssertionError(),
    ConnectionLostError("cut", machine="gpu2"),
)
METHODS = (
    "stat", "list_files", "read", "open_ranges", "write", "pull", "push", "rename_over", "hard_link", "remove",
    "make_folder", "remove_folder", "free_bytes", "clock_s", "run", "close",
)  # fmt: skip


class Failing(LocalTransport):
    """Raises at its `at`th call, of any method, and ever after where `on` says so."""

    at = -1
    raised: Exception = RAISES[0]
    ever_after = False

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.calls = 0
        self._lock = threading.Lock()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in METHODS or self.machine.name != "gpu2":
            return found

        def called(*given: Any, **named: Any) -> Any:
            self.calls += 1
            now = self.calls - 1
            if Failing.at >= 0 and (now == Failing.at or (Failing.ever_after and now > Failing.at)):
                raise Failing.raised
            return found(*given, **named)

        return called


def runs(fleet: Fleet, name: str) -> bool:
    return (fleet[name].folder.parent / "runs").exists()


def rounds_of(fleet: Fleet) -> Rounds:
    settings = fleet.settings()
    quick = replace(settings.trainer, proof_s=0.05, poll_s=0.01, stop_s=5.0)
    snapshot = replace(settings.snapshot, quiet_s=0.0, tries=3, wait_s=0.01)
    return Rounds(fleet.settings(trainer=quick, snapshot=snapshot), connect=Failing)


@pytest.mark.parametrize("case", range(FAULTY_CALLS))
def test_a_transport_that_raises_anything_at_any_call_fails_alone(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch, case: int
) -> None:
    fleet = make_fleet(quick_folder)
    begun(fleet)  # with trainers that do not run: a common start
    for one, other in zip(fleet.machines, commanded(fleet), strict=True):
        one.machine = other
        (one.folder.parent / "runs").touch()
    at = case % CALLS_OF_A_ROUND if FAULTY_CALLS > CALLS_OF_A_ROUND else case * CALLS_OF_A_ROUND // FAULTY_CALLS
    monkeypatch.setattr(Failing, "at", at)
    monkeypatch.setattr(Failing, "raised", RAISES[case % len(RAISES)])
    monkeypatch.setattr(Failing, "ever_after", case % 3 == 0)
    rounds = rounds_of(fleet)

    done = rounds.average()

    assert runs(fleet, "gpu1")
    assert runs(fleet, "gpu3")
    assert done.outcome in ("averaged", "undone"), done.reason  # trainers that are files prove nothing
    assert set(done.excluded) <= {"gpu2"}
    if Failing.ever_after:
        seen = Watch(rounds, StageTable()).observe()
        assert set(seen.machines) == {"gpu1", "gpu3"}
        assert "gpu2" in seen.failed["gpu2"].message
        assert "\x1b" not in seen.failed["gpu2"].message
    monkeypatch.setattr(Failing, "at", -1)
    rounds.recover()
    assert runs(fleet, "gpu2"), "once it answers again, its trainer is started too"
    assert set(Watch(rounds, StageTable()).observe().machines) == {"gpu1", "gpu2", "gpu3"}


def commanded(fleet: Fleet) -> list[Machine]:
    """The machines with trainers that are a file each: it is there while one runs, and its end is a save."""
    made = []
    for one in fleet.machines:
        runs = one.folder.parent / "runs"
        made.append(
            replace(
                one.machine,
                control="command",
                status=f"test -e '{runs}'",
                start=f"touch '{runs}'",
                stop=f"rm -f '{runs}'; touch '{one.folder}'/*_data.dat",
            )
        )
    return made


@pytest.mark.parametrize("raised", RAISES, ids=lambda error: type(error).__name__)
def test_an_exception_of_any_type_is_a_failure_that_names_the_machine(raised: Exception) -> None:
    failure = as_failure(raised, "gpu2")
    assert isinstance(failure, DfldError)
    assert failure.message.startswith("machine gpu2: ")
    assert failure.message.isprintable()
    assert failure is raised or failure.__cause__ is raised


def test_a_data_dat_that_is_none_is_read_once_by_all_who_ask_for_it(fleet: Fleet) -> None:
    """A hostile one may take long to refuse, and a trainer that loads is looked at every few seconds."""
    read: list[str] = []

    class Counting(LocalTransport):
        def open_ranges(self, path: str) -> Any:
            read.append(path)
            return super().open_ranges(path)

    settings = fleet.settings()
    one = replace(fleet["gpu1"].machine, control="command", status="true")
    link = link_machines([one], settings.model, settings.trainer, Counting, threading.Event())["gpu1"]
    Path(link.places.live("data.dat")).write_bytes(b"\x80\x03cos\nsystem\n")
    for ask in (
        link.trainer.wait_until_stoppable,
        link.trainer.settle,
        lambda: link.trainer.progress(0),
        lambda: read_state(link.transport, link.places, link.refused),
    ):
        with pytest.raises(FormatError, match=r"no usable data\.dat"):
            ask()
    assert read == [link.places.live("data.dat")]
