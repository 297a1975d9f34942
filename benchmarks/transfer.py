"""How fast model files move, paired with scp in the same run: python -m benchmarks.transfer [--mib 512] [--pairs 5]

One sshd per machine on loopback, everything in memory (/dev/shm), so that ciphers and copying decide and not a disk
or a link. Every measurement stands right beside an scp of the same bytes: only the ratios mean something, since
clients and servers share this computer's CPUs. dfld's side does all it does in a round: sha256 in flight, temporary
name, fsync, rename; over connections that are open already, as the daemon keeps them. scp connects each time, as
scripts do; `--connect` lets dfld connect each time as well.

    pull, push            one machine, a model of four files; OpenSSH's road and paramiko's
    four machines         four pulls at once against one
    whole round           four machines, pull + average + push, against scp pull and push of the same bytes
"""

from __future__ import annotations

import argparse
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

from sync.average_model import ModelPlan, average_model
from sync.gates import GateSettings
from sync.machines import link_machines, on_each
from sync.places import places_of
from sync.push import put_in_place, stage
from sync.ssh_files import SshTransport
from sync.ssh_openssh import find_ssh
from sync.trainer_contract import TrainerSettings
from sync.types import ModelName
from tests.sync.sshd import SshMachine, make_ssh_machine

MODEL = ModelName("alice", "SAEHD")
PARTS = ("encoder.npy", "inter.npy", "decoder_src.npy", "decoder_dst.npy")
BARS = {
    "pull, OpenSSH": 1.0,
    "push, OpenSSH": 1.2,
    "pull, paramiko": 0.65,
    "push, paramiko": 0.85,
    "four machines against one": 1.6,
    "whole round": 1 / 1.10,
}
"""What is wanted: at least so many times scp (four machines: times one stream of dfld's own)."""


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
        verdict = "met" if middle >= BARS[name] else "MISSED"
        print(f"{name:28} {middle:8.2f} {min(ratios):8.2f} {max(ratios):8.2f}   {BARS[name]:.2f} {verdict}")
    return 0 if good else 1


class Bench:
    """Four machines with one model each."""

    def __init__(self, folder: Path, mib: int, *, keep: bool) -> None:
        self.folder = folder
        self.mib = mib
        self.keep = keep
        self.kept: dict[tuple[str, str | None], SshTransport] = {}
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
                    before = seconds(lambda scp=scp: scp(self.machines[0]))
                    took = seconds(lambda own=own, program=program: own(self.machines[0], program))
                    name = f"{direction}, {road}"
                    results[name].append(before / took)
                    self.tell(number, name, before, took, self.mib)
            one = seconds(lambda: self.pull(self.machines[0], find_ssh()))
            four = seconds(self.pull_from_all)
            results["four machines against one"].append(4 * one / four)
            self.tell(number, "four machines against one", 4 * one, four, 4 * self.mib)
            before = sum(
                seconds(lambda machine=machine, scp=scp: scp(machine))
                for machine in self.machines
                for scp in (self.scp_pull, self.scp_push)
            )
            took = seconds(self.round)
            results["whole round"].append(before / took)
            self.tell(number, "whole round", before, took, 8 * self.mib)
        return results

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


def seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
