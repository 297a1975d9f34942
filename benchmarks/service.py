"""What the service costs: commands, idling, a long run of drops, and the series it exposes.

usage: python benchmarks/service.py [--repeats N] [--idle-minutes M] [--soak-minutes M --drops N] [--json]

* commands: CPU and wall time of `dfld --help`, and of `dfld status` and `jobs` against a running daemon.
* idle: CPU and memory of a daemon with five empty inboxes, as configured by default, scraped every 15 s.
* soak: drops spread evenly over the time: eight of ten are real clips of real faces (dlib backend), one repeats an
  earlier content under a new name, one is no video. Memory of the service and of its worker as slopes over the second
  half (least squares), with descriptors, threads and series at both ends. The worker is not recycled meanwhile.
* series: how many a scrape holds.

CPU seconds are those of the processes themselves, so that they mean something on a machine that others use too; wall
times do only on a quiet one. Measures; never fails. Minutes of 0 leave a part out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

DFLD = (sys.executable, "-m", "daemon")
TICKS = os.sysconf("SC_CLK_TCK")
SCRAPE_S = 15.0
FRAMES = 5
MIB = 1 << 20
END_WAIT_S = 600.0
"""After the last drop: how long what is queued may take."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="runs of each command")
    parser.add_argument("--idle-minutes", type=float, default=10)
    parser.add_argument("--soak-minutes", type=float, default=20)
    parser.add_argument("--drops", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "python": platform.python_version(), "cores": os.cpu_count(), "load_1min": os.getloadavg()[0],
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="dfld-service-") as folder:
        base = Path(folder)
        with running(base / "idle", inboxes=5) as daemon:
            result["start_cpu_s"] = round(daemon.cpu_s(), 2)
            result["commands"] = {
                "--help": timed(("--help",), options.repeats),
                "status": timed(("status", *daemon.options), options.repeats),
                "jobs": timed(("jobs", *daemon.options), options.repeats),
            }
            result["series"] = {"inboxes": 5, "series": daemon.series()}
            if options.idle_minutes:
                result["idle"] = idle(daemon, options.idle_minutes * 60)
        if options.soak_minutes and options.drops:
            with running(base / "soak", inboxes=1) as daemon:
                result["soak"] = soak(daemon, options.soak_minutes * 60, options.drops)
    result["load_1min_end"] = os.getloadavg()[0]
    print(json.dumps(result, indent=2) if options.json else told(result))
    return 0


def timed(arguments: tuple[str, ...], repeats: int) -> dict[str, float]:
    """Run a command again and again; return medians in milliseconds."""
    wall, cpu = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        process = subprocess.Popen([*DFLD, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall.append(time.perf_counter() - begin)
        cpu.append(usage.ru_utime + usage.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"dfld {' '.join(arguments)} exited with {process.returncode}")
    return {
        "cpu_ms": round(1e3 * statistics.median(cpu), 1),
        "wall_ms": round(1e3 * statistics.median(wall), 1),
        "wall_ms_best": round(1e3 * min(wall), 1),
    }


@dataclass(frozen=True)
class Sample:
    """A look at the running daemon."""

    at_s: float
    service_mib: float
    worker_mib: float
    threads: int
    descriptors: int
    series: int


class Daemon:
    """A running daemon, seen from outside."""

    def __init__(self, base: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.base = base
        self.pid = process.pid
        self._port = port
        self.options = ("--config", str(base / "config.toml"))

    def cpu_s(self) -> float:
        """Return the CPU seconds of the service itself, not of its workers."""
        found = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(found[11]) + int(found[12])) / TICKS

    def scrape(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=60) as answer:
            return str(answer.read(), "utf-8")

    def series(self) -> int:
        return sum(not line.startswith("#") for line in self.scrape().splitlines())

    def ask(self, do: str) -> Any:
        from daemon.control.client import ask

        return ask(self.base / "state", do)

    def sample(self, at_s: float) -> Sample:
        own = Path(f"/proc/{self.pid}")
        workers = {pid for task in (own / "task").iterdir() for pid in (task / "children").read_text().split()}
        return Sample(
            at_s,
            resident_bytes(own) / MIB,
            sum(resident_bytes(Path(f"/proc/{pid}")) for pid in workers) / MIB,
            len(list((own / "task").iterdir())),
            len(list((own / "fd").iterdir())),
            self.series(),
        )


@contextmanager
def running(base: Path, *, inboxes: int) -> Iterator[Daemon]:
    """Run `dfld run` below `base` with the default configuration; end it as systemd would."""
    from daemon.commands.demo_clip import group_photo, write_reference
    from engine.backends.catalog import open_backend

    base.mkdir()
    write_reference(base / "person.png", group_photo(), open_backend("dlib"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tables = [
        f'[service]\nstate_dir = "state"\n[http]\nlisten = "127.0.0.1:{port}"\n'
        '[disk]\nreserve = "0B"\nreserve_percent = 0\nresume_margin = "0B"\n[limits]\nworker_recycle_videos = 1000000\n'
    ]
    for number in range(1, inboxes + 1):
        (base / f"in{number}").mkdir()
        tables.append(
            f'[[inbox]]\nname = "in{number}"\npath = "in{number}"\nworkspace = "workspace{number}"\n'
            'references = ["person.png"]\nbackend = "dlib"\n'
        )
    (base / "config.toml").write_text("".join(tables))
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(
            [*DFLD, "run", "--config", str(base / "config.toml")], cwd=ROOT, stdout=log, stderr=log
        )
    try:
        daemon = Daemon(base, process, port)
        wait_for(lambda: (base / "state" / "control.sock").exists() and process.poll() is None, "the daemon", 120)
        yield daemon
    finally:
        process.terminate()
        process.wait(120)


def idle(daemon: Daemon, seconds: float) -> dict[str, Any]:
    """Let it stand, scraped as Prometheus would."""
    begin, cpu_s = time.monotonic(), daemon.cpu_s()
    first = daemon.sample(0.0)
    while time.monotonic() - begin < seconds:
        time.sleep(min(SCRAPE_S, seconds))
        last = daemon.sample(time.monotonic() - begin)
    used_s = daemon.cpu_s() - cpu_s
    return {
        "minutes": round(seconds / 60, 1),
        "cpu_s": round(used_s, 2),
        "cpu_percent_of_a_core": round(100 * used_s / (time.monotonic() - begin), 2),
        "first": asdict(first),
        "last": asdict(last),
    }


def soak(daemon: Daemon, seconds: float, drops: int) -> dict[str, Any]:
    """Drop files at an even pace, wait for the last, and see what grew."""
    folder, files = daemon.base / "in1", dropped_files(daemon.base, drops)
    begin, samples, cpu_s = time.monotonic(), [daemon.sample(0.0)], daemon.cpu_s()
    for number, file in enumerate(files):
        pause_s = begin + number * seconds / drops - time.monotonic()
        if pause_s > 0:
            time.sleep(pause_s)
        file.rename(folder / file.name)
        if time.monotonic() - begin - samples[-1].at_s >= SCRAPE_S:
            samples.append(daemon.sample(time.monotonic() - begin))

    def over() -> bool:
        samples.append(daemon.sample(time.monotonic() - begin))
        jobs = daemon.ask("status")["inboxes"][0]
        busy = jobs["settling"] + sum(jobs["jobs"].get(state, 0) for state in ("queued", "running", "waiting"))
        return not busy

    wait_for(over, "the last drop to be done", END_WAIT_S, every_s=5.0)
    jobs = daemon.ask("status")["inboxes"][0]["jobs"]
    half = [one for one in samples if one.at_s >= samples[-1].at_s / 2]
    return {
        "minutes": round(samples[-1].at_s / 60, 1),
        "drops": drops,
        "jobs": {state: count for state, count in jobs.items() if count},
        "service_cpu_s_a_drop": round((daemon.cpu_s() - cpu_s) / drops, 3),
        "service_mib_an_hour": round(slope(half, "service_mib") * 3600, 1),
        "service_kib_a_drop": round(1024 * slope(half, "service_mib") * samples[-1].at_s / drops, 1),
        "worker_mib_an_hour": round(slope(half, "worker_mib") * 3600, 1),
        "samples": [asdict(one) for one in samples[:: max(1, len(samples) // 20)]] + [asdict(samples[-1])],
    }


def dropped_files(base: Path, count: int) -> Iterator[Path]:
    """Make one file after the other beside the inbox: clips that all differ, a repeated one, one that is no video."""
    from daemon.commands.demo_clip import camera_move, group_photo, write_clip

    photo = group_photo()
    clip = b""
    for number in range(count):
        path = base / f"drop{number:05d}.mp4"
        if number % 10 == 8 and clip:
            path.write_bytes(clip)
        elif number % 10 == 9:
            path.write_bytes(b"no video %d " % number * 500)
        else:
            write_clip(path, islice(camera_move(photo, count + FRAMES), number, number + FRAMES))
            clip = path.read_bytes()
        yield path


def slope(samples: list[Sample], field: str) -> float:
    """Return the growth of a field a second, by least squares."""
    times, values = [one.at_s for one in samples], [float(getattr(one, field)) for one in samples]
    return statistics.linear_regression(times, values).slope


def resident_bytes(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # it has just ended
        return 0


def wait_for(condition: Callable[[], bool], what: str, deadline_s: float, *, every_s: float = 0.2) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {deadline_s:.0f} s for {what}")
        time.sleep(every_s)


def told(result: Mapping[str, Any]) -> str:
    """Return the figures for people."""
    lines = [f"Python {result['python']}, {result['cores']} cores, load {result['load_1min']:.1f}"]
    lines += [
        f"dfld {name:<8} {one['cpu_ms']:6.0f} ms of CPU, {one['wall_ms']:6.0f} ms (best {one['wall_ms_best']:.0f})"
        for name, one in result["commands"].items()
    ]
    lines.append(f"start         {result['start_cpu_s']:6.2f} s of CPU; {result['series']['series']} series, 5 inboxes")
    if "idle" in result:
        one = result["idle"]
        lines.append(
            f"idle          {one['cpu_s']:6.2f} s of CPU in {one['minutes']} min ({one['cpu_percent_of_a_core']} % of "
            f"a core), {one['first']['service_mib']:.1f} → {one['last']['service_mib']:.1f} MiB"
        )
    if "soak" in result:
        one, first, last = result["soak"], result["soak"]["samples"][0], result["soak"]["samples"][-1]
        lines.append(f"soak          {one['drops']} drops in {one['minutes']} min: {one['jobs']}")
        for name, unit in (
            ("service_mib", "MiB"),
            ("worker_mib", "MiB"),
            ("threads", ""),
            ("descriptors", ""),
            ("series", ""),
        ):
            lines.append(f"  {name:<12}{first[name]:8.1f} → {last[name]:.1f} {unit}")
        lines.append(
            f"  slope of the second half: service {one['service_mib_an_hour']:+} MiB/h "
            f"({one['service_kib_a_drop']:+} KiB a drop), worker {one['worker_mib_an_hour']:+} MiB/h"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
