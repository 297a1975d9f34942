"""How fast model files move, paired with scp in the same run: python -m benchmarks.transfer [--mib 512] [--pairs 5]

One sshd per machine on loopback, everything in memory (/dev/shm), so that ciphers and copying decide and not a disk
or a link. Every measurement stands right beside an scp of the same bytes: only the ratios mean something, since
clients and servers share this computer's CPUs. dfld's side does all it does in a round: sha256 in flight, temporary
name, fsync, rename; over connections that are open already, as the daemon keeps them. scp connects each time, as
scripts do; `--connect` lets dfld connect each time as well.

    pull, push            one machine, a model of four files; OpenSSH's road and paramiko's
    four machines         one file of each of four machines (128 MiB), with connecting: all at once against one after
                          the other, as at the first round after a start
    four, kept            the same with whole models over connections that are open. No bar: where servers and client
                          share two CPUs, one stream keeps both busy, and the last lines say what room is left
    whole round           four machines, pull + average + push, against scp pull and push of the same bytes

CPU seconds are those of all processes, scp's or dfld's and sshd's, on both ends.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dfl.model_files import ModelName
from sync.averaging.average_model import ModelPlan, average_model
from sync.averaging.gates import GateSettings
from sync.machines import link_machines, on_each
from sync.model_files.push import put_in_place, stage
from sync.places import places_of
from sync.trainers.contract import TrainerSettings
from sync.transports.ssh.openssh import find_ssh
from sync.transports.ssh_transport import SshTransport
from tests.sync.sshd import SshMachine, make_ssh_machine

MODEL = ModelName("alice", "SAEHD")
PARTS = ("encoder.npy", "inter.npy", "decoder_src.npy", "decoder_dst.npy")
BARS = {
    "pull, OpenSSH": 1.0,
    "push, OpenSSH": 1.2,
    "pull, paramiko": 0.65,
    "push, paramiko": 0.85,
    "four machines against one": 1.6,
    "four, kept": 0.0,
    "whole round": 1 / 1.10,
}
"""What is wanted: at least so many times scp (four machines: times one stream of dfld's own)."""
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=512, help="size of the model (default 512)")
    parser.add_argument("--connect", action="store_true", help="let dfld connect anew for each measurement")
    parser.add_argument("--pairs", type=int, default=5, help="how often each pair is measured (default 5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        bench = Bench(Path(folder), options.mib, keep=not options.connect)
        try:
            results = bench.run(options.pairs)
        finally:
            bench.close()
    print(f"\n{'':28} {'median':>8} {'lowest':>8} {'highest':>8}   bar")
    good = True
    for name, ratios in results.items():
        middle = statistics.median(ratios)
        good &= middle >= BARS[name]
        verdict = f"{BARS[name]:.2f} {'met' if middle >= BARS[name] else 'MISSED'}" if BARS[name] else "none"
        print(f"{name:28} {middle:8.2f} {min(ratios):8.2f} {max(ratios):8.2f}   {verdict}")
    bench.tell_room()
    return 0 if good else 1


class Bench:
    """Four machines with one model each."""

    def __init__(self, folder: Path, mib: int, *, keep: bool) -> None:
        self.folder = folder
        self.mib = mib
        self.keep = keep
        self.kept: dict[tuple[str, str | None], SshTransport] = {}
        self.cpu: dict[str, list[float]] = {}
        """What was measured → CPU seconds per GiB, each time."""
        self.best_mib_s = 0.0
        self.machines = [make_ssh_machine(folder, f"gpu{number}") for number in range(1, 5)]
        rng = np.random.default_rng(0)
        base = {part: rng.standard_normal((mib // 4, 1024, 256), dtype=np.float32) for part in PARTS}
        for machine in self.machines:
            for part, values in base.items():
                moved = values + 0.01 * rng.standard_normal(1, dtype=np.float32)
                path = machine.model_dir / MODEL.file_name(part)
                path.write_bytes(pickle.dumps({"dense/weight:0": moved}, 4))
        self.here = folder / "here"
        self.here.mkdir()

    def close(self) -> None:
        for transport in self.kept.values():
            transport.close()
        for machine in self.machines:
            machine.stop()

    def run(self, pairs: int) -> dict[str, list[float]]:
        for machine in self.machines:  # pages and connections are warm for both from here on
            self.scp_pull(machine)
            for program in (find_ssh(), None):
                self.pull(machine, program)
        results: dict[str, list[float]] = {name: [] for name in BARS}
        roads: Sequence[tuple[str, str | None]] = (("OpenSSH", find_ssh()), ("paramiko", None))
        for number in range(pairs):
            for road, program in roads:
                for direction, scp, own in (("pull", self.scp_pull, self.pull), ("push", self.scp_push, self.push)):
                    name = f"{direction}, {road}"
                    before = self.seconds(f"scp {direction}", lambda scp=scp: scp(self.machines[0]), self.mib)
                    took = self.seconds(name, lambda own=own, program=program: own(self.machines[0], program), self.mib)
                    results[name].append(before / took)
                    self.tell(number, name, before, took, self.mib)
                    if name == "pull, OpenSSH":
                        self.best_mib_s = max(self.best_mib_s, self.mib / took)
            part = self.mib // 4
            one = self.seconds("one after the other", lambda: [self.pull_first(one) for one in self.machines], 4 * part)
            four = self.seconds("all at once", lambda: with_each(self.machines, self.pull_first), 4 * part)
            results["four machines against one"].append(one / four)
            self.tell(number, "four machines against one", one, four, 4 * part)
            one = self.seconds("kept, one", lambda: [self.pull(one, find_ssh()) for one in self.machines], 4 * self.mib)
            four = self.seconds("kept, four", self.pull_from_all, 4 * self.mib)
            results["four, kept"].append(one / four)
            self.tell(number, "four, kept", one, four, 4 * self.mib)
            before = sum(
                self.seconds("scp", lambda machine=machine, scp=scp: scp(machine), self.mib)
                for machine in self.machines
                for scp in (self.scp_pull, self.scp_push)
            )
            took = self.seconds("round", self.round, 8 * self.mib)
            results["whole round"].append(before / took)
            self.tell(number, "whole round", before, took, 8 * self.mib)
        return results

    def seconds(self, name: str, work: Callable[[], object], mib: int) -> float:
        """Do `work`, which moves `mib`; note its CPU time and return its wall time."""
        cpu, begun = cpu_s_of_all(), time.perf_counter()
        work()
        took = time.perf_counter() - begun
        self.cpu.setdefault(name, []).append((cpu_s_of_all() - cpu) * 1024 / mib)
        return took

    def tell_room(self) -> None:
        """Print what a byte costs, and how much faster than one stream this computer could be at all."""
        costs = {name: statistics.median(values) for name, values in self.cpu.items()}
        print("CPU s per GiB, both ends: " + ", ".join(f"{name} {cost:.1f}" for name, cost in costs.items()))
        cpus = len(os.sched_getaffinity(0))
        ceiling = cpus * 1024 / costs["kept, four"]
        print(
            f"{cpus} CPUs can move {ceiling:.0f} MiB/s at that cost when they do nothing else; the fastest single pull "
            f"had {self.best_mib_s:.0f} MiB/s: kept connections can give {ceiling / self.best_mib_s:.2f} at most"
        )

    def tell(self, number: int, name: str, before: float, took: float, mib: int) -> None:
        print(
            f"{number + 1}: {name:28} {mib / before:5.0f} MiB/s, dfld {mib / took:5.0f} MiB/s: {before / took:.2f}",
            file=sys.stderr,
        )

    # scp, as a script would call it: one command for the whole model.

    def scp_pull(self, machine: SshMachine) -> None:
        target = self.here / "scp"
        target.mkdir(exist_ok=True)
        sources = [f"{user_at(machine)}:{machine.model_dir}/{MODEL.file_name(part)}" for part in PARTS]
        subprocess.run([*scp(machine), *sources, str(target)], check=True)

    def scp_push(self, machine: SshMachine) -> None:
        target = machine.home / "pushed"
        target.mkdir(exist_ok=True)
        sources = [str(self.here / "scp" / MODEL.file_name(part)) for part in PARTS]
        subprocess.run([*scp(machine), *sources, f"{user_at(machine)}:{target}"], check=True)

    # dfld.

    def transport(self, machine: SshMachine, program: str | None) -> SshTransport:
        key = machine.name, program
        if not self.keep or key not in self.kept:
            self.kept[key] = SshTransport(machine.machine(deadline_s=600.0), ssh_program=program)
        return self.kept[key]

    def done_with(self, transport: SshTransport) -> None:
        if not self.keep:
            transport.close()

    def pull(self, machine: SshMachine, program: str | None) -> None:
        target = self.here / machine.name
        target.mkdir(exist_ok=True)
        transport = self.transport(machine, program)
        for part in PARTS:
            name = MODEL.file_name(part)
            transport.pull(f"{machine.model_dir}/{name}", target / name)
        self.done_with(transport)

    def pull_first(self, machine: SshMachine) -> None:
        """Pull one file over a connection of its own."""
        transport = SshTransport(machine.machine(deadline_s=600.0), ssh_program=find_ssh())
        name = MODEL.file_name(PARTS[0])
        (self.here / machine.name).mkdir(exist_ok=True)
        transport.pull(f"{machine.model_dir}/{name}", self.here / machine.name / name)
        transport.close()

    def push(self, machine: SshMachine, program: str | None) -> None:
        transport = self.transport(machine, program)
        places = places_of(str(machine.home / "work space" / "pushed"), MODEL)
        files = {part: self.here / "scp" / MODEL.file_name(part) for part in PARTS}
        staged = stage(transport, places, 1, files)
        put_in_place(transport, places, 1, staged, files)
        self.done_with(transport)

    def pull_from_all(self) -> None:
        with_each(self.machines, lambda machine: self.pull(machine, find_ssh()))

    def round(self) -> None:
        """Pull from all, average, push to all: the moving part of a round, as rounds do it."""
        by_name = {machine.name: machine for machine in self.machines}
        links = link_machines(
            [machine.machine() for machine in self.machines],
            MODEL,
            TrainerSettings(),
            lambda machine: self.transport(by_name[machine.name], find_ssh()),
            threading.Event(),
        )

        def pull_one(link) -> dict[str, Path]:  # type: ignore[no-untyped-def]
            target = self.here / link.name
            target.mkdir(exist_ok=True)
            for part in PARTS:
                link.transport.pull(link.places.live(part), target / MODEL.file_name(part))
            return {part: target / MODEL.file_name(part) for part in PARTS}

        pulled, failed = on_each(links, links, pull_one, bulk=True)
        assert not failed, failed
        averaged = self.here / "averaged"
        averaged.mkdir(exist_ok=True)
        made = average_model(ModelPlan(pulled, averaged, gates=GateSettings(spread_max=10.0)))
        assert made.files, made.verdict.held

        def push_one(link) -> None:  # type: ignore[no-untyped-def]
            files = {part: file.path for part, file in made.files[link.name].items()}
            staged = stage(link.transport, link.places, 1, files)
            put_in_place(link.transport, link.places, 1, staged, files)

        _, failed = on_each(links, links, push_one, bulk=True)
        assert not failed, failed
        for link in links.values():
            self.done_with(link.transport)
        shutil.rmtree(averaged)


def with_each(machines: Sequence[SshMachine], work: Callable[[SshMachine], None]) -> None:
    threads = [threading.Thread(target=work, args=(machine,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def scp(machine: SshMachine) -> list[str]:
    return [
        "scp", "-q", "-P", str(machine.port), "-i", str(machine.user_key), "-o",
        f"UserKnownHostsFile={machine.known_hosts}",
    ]  # fmt: skip


def user_at(machine: SshMachine) -> str:
    return f"{machine.machine().user}@127.0.0.1"


def cpu_s_of_all() -> float:
    """CPU seconds of this process and all its descendants, the ended ones too."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended since the folder was read
                continue
            parents[int(entry.name)], used[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used.get(pid, 0) for pid in ours) / TICKS


if __name__ == "__main__":
    sys.exit(main())
