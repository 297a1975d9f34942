"""Averaging 4 machines × 400 MB: dfld's fused pass against the plain np.load + np.mean way, in one run.

usage: python benchmarks/averaging.py [--folder FOLDER] [--megabytes 400] [--machines 4] [--repeat 5]

Both read the same weights: the plain way as dicts written by np.save (it cannot read DeepFaceLab's real files), dfld
as DeepFaceLab writes them. Every measurement is a fresh process that does nothing else; ways alternate, and only
ratios within a turn are compared, since the machine is busy. Rows:

    copy           every input read and one file written in the same pieces, nothing computed: no way can be faster
    plain          np.load each, np.mean of each key, np.save; no check, nothing synced to disk
    average        index, mean in float64 sums, all measures of divergence without a base; output not synced
    with base      the same, with drift and directions from a fifth file, the weights that all were given last
    durable        `with base`, plus fsync, reading back, sha256 and rename: what a round really does
    median, trimmed (from 5 machines on), nesterov: other rules, as `with base`

What plain takes is mostly fresh memory, 2.3 GB of it, and that costs three times as much on one virtual machine as on
another: 6.8 s where the bar of 1/8 was set and a fused pass took 0.8; 2.4 s on two CPUs of an AMD EPYC, where this one
takes 0.42 (1/5.8) and `copy` 0.18. There the float64 sums and the inner products alone take 0.14 s of both CPUs, which
with `copy` is more than the 0.30 s that 1/8 leaves; look at what is left above `copy`.

Prints medians, the ratio to plain, and peak memory beyond the interpreter with its imports. Bars: 1/8 of plain
(`with base`), 64 MB, indexing 20 ms per GB. Measures; fails only when the averages differ.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dfl.weights import index_weights  # noqa: E402
from sync.averaging.average import AverageSettings, uniform_weights  # noqa: E402
from sync.averaging.averaging_pass import CHUNK_ITEMS, THREADS, Output, PassPlan, run_averaging_pass  # noqa: E402
from sync.averaging.tensor_file import TensorFile, TensorWriter  # noqa: E402

TENSORS = 60
MEGABYTE = 10**6
WAYS = ("copy", "plain", "average", "with base", "durable", "median", "nesterov")
BAR_PLAIN, BAR_MEMORY_MB, BAR_INDEX_MS = 1 / 8, 64, 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, help="where the files are made; default: the system's temporary folder")
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--machines", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure_here(options.way, options.folder, options.machines)))
        return 0
    with tempfile.TemporaryDirectory(prefix="dfld-averaging-", dir=options.folder) as folder:
        make_models(Path(folder), options.machines, options.megabytes)
        ways = WAYS + (("trimmed",) if options.machines >= 5 else ())
        turns = [{way: measure(way, Path(folder), options.machines) for way in ways} for _ in range(options.repeat)]
        check_equal(Path(folder))
    print_table(turns, options.machines, options.megabytes)
    return 0


def make_models(folder: Path, machines: int, megabytes: int) -> None:
    """Machine 0…n-1 and `base`, each as DeepFaceLab pickle and as np.save would: same values near one base."""
    generator = np.random.default_rng(0)
    items = megabytes * MEGABYTE // 4 // TENSORS
    shape = (3, 3, 64, items // (9 * 64))
    start = {
        f"decoder/conv{number}/weight:0": generator.standard_normal(shape, np.float32) for number in range(TENSORS)
    }
    for name in ["base", *map(str, range(machines))]:
        moved = start
        if name != "base":
            moved = {
                key: value + np.float32(0.05) * generator.standard_normal(shape, np.float32)
                for key, value in start.items()
            }
            np.save(folder / f"plain {name}.npy", np.array(moved, dtype=object), allow_pickle=True)
        with (folder / f"dfl {name}.npy").open("wb") as file:
            pickle.dump(moved, file, 4)


def measure(way: str, folder: Path, machines: int) -> dict[str, float]:
    """Run one way in a fresh process, without an earlier output to replace and with nothing left to be written."""
    for name in (f"out {way}.npy", "out momentum.npy"):
        (folder / name).unlink(missing_ok=True)
    os.sync()
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--machines", str(machines)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as `dfld` sets it
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    told: dict[str, float] = json.loads(answer.stdout)
    return told


def measure_here(way: str, folder: Path, machines: int) -> dict[str, float]:
    before = peak_memory_mb()
    started, used = time.perf_counter(), time.process_time()
    index_s = 0.0
    if way == "copy":
        copy_only(folder, machines)
    elif way == "plain":
        average_plainly(folder, machines)
    else:
        index_s = average_fused(way, folder, machines)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - used,
        "memory_mb": peak_memory_mb() - before,
        "all_memory_mb": peak_memory_mb(),
        "index_s": index_s,
    }


def peak_memory_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def average_plainly(folder: Path, machines: int) -> None:
    models = [np.load(folder / f"plain {number}.npy", allow_pickle=True).item() for number in range(machines)]
    mean = {key: np.mean([model[key] for model in models], axis=0) for key in models[0]}
    np.save(folder / "out plain.npy", np.array(mean, dtype=object), allow_pickle=True)


def copy_only(folder: Path, machines: int) -> None:
    """Read what the fused pass reads and write what it writes, by its threads and in its pieces."""
    paths = [folder / f"dfl {name}.npy" for name in ["base", *range(machines)]]
    piece = 4 * CHUNK_ITEMS
    size = paths[0].stat().st_size
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb", buffering=0)).fileno() for path in paths]
        out = stack.enter_context((folder / "out copy.npy").open("wb", buffering=0)).fileno()

        def one(turn: int) -> None:
            buffer = memoryview(bytearray(piece))
            for offset in range(turn * piece, size, THREADS * piece):
                counts = [os.preadv(file, [buffer], offset) for file in files]
                os.pwrite(out, buffer[: counts[-1]], offset)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, range(THREADS)))


def average_fused(way: str, folder: Path, machines: int) -> float:
    """Average by the fused pass; return the seconds that indexing all files took."""
    started = time.perf_counter()
    names = [str(number) for number in range(machines)]
    files = {name: tensor_file(folder / f"dfl {name}.npy") for name in names}
    base = None if way == "average" else tensor_file(folder / "dfl base.npy")
    index_s = time.perf_counter() - started
    settings = AverageSettings(
        rule=way if way in ("median", "trimmed") else "mean", outer="nesterov" if way == "nesterov" else "none"
    )
    plan = PassPlan(
        "model",
        files,
        uniform_weights(names),
        settings,
        base=base,
        outputs=[Output(files["0"], folder / f"out {way}.npy")],
        momentum_output=Output(files["0"], folder / "out momentum.npy"),
    )
    if way == "durable":
        run_averaging_pass(plan)
    else:  # the plain way syncs and checks nothing either
        with (
            mock.patch.object(TensorWriter, "verify", return_value=""),
            mock.patch("core.files.os.fsync"),
        ):
            run_averaging_pass(plan)
    return index_s


def tensor_file(path: Path) -> TensorFile:
    return TensorFile(path, index_weights(path))


def check_equal(folder: Path) -> None:
    """The averages must be equal: float32 sums of the plain way differ in the last digits."""
    plain = np.load(folder / "out plain.npy", allow_pickle=True).item()
    fused = pickle.loads((folder / "out durable.npy").read_bytes())  # noqa: S301  our own
    for key, value in plain.items():
        np.testing.assert_allclose(fused[key], value, rtol=1e-5, atol=1e-6)


def print_table(turns: list[dict[str, dict[str, float]]], machines: int, megabytes: int) -> None:
    print(
        f"{machines} machines × {megabytes} MB, {TENSORS} tensors, median of {len(turns)} turns; {os.cpu_count()} CPUs"
    )
    heads = (f"{'way':<12}{'s':>8}{'of plain':>12}", f"{'(range)':>18}", f"{'CPU s':>8}{'of plain':>10}")
    print("".join(heads) + f"{'peak MB':>10}{'beyond imports':>16}")
    for way in turns[0]:
        ratios = [turn["plain"]["seconds"] / turn[way]["seconds"] for turn in turns]
        cpu = median(turn["plain"]["cpu_s"] / turn[way]["cpu_s"] for turn in turns)
        columns = [
            f"{way:<12}{median(turn[way]['seconds'] for turn in turns):>8.2f}{f'1/{median(ratios):.1f}':>12}",
            f"{f'1/{min(ratios):.1f} – 1/{max(ratios):.1f}':>18}",
            f"{median(turn[way]['cpu_s'] for turn in turns):>8.2f}{f'1/{cpu:.1f}':>10}",
            f"{max(turn[way]['all_memory_mb'] for turn in turns):>10.0f}",
            f"{max(turn[way]['memory_mb'] for turn in turns):>16.0f}",
        ]
        print("".join(columns))
    total_gb = (machines + 1) * megabytes / 1000
    index_ms = median(turn["with base"]["index_s"] for turn in turns) * 1000 / total_gb
    ratio = median(turn["with base"]["seconds"] / turn["plain"]["seconds"] for turn in turns)
    memory = max(turn["durable"]["memory_mb"] for turn in turns)
    print(f"index: {index_ms:.1f} ms per GB (bar {BAR_INDEX_MS})")
    for name, met in {
        f"time with all measures ≤ {BAR_PLAIN} of plain": ratio <= BAR_PLAIN,
        f"peak memory ≤ {BAR_MEMORY_MB} MB + interpreter": memory <= BAR_MEMORY_MB,
        f"index ≤ {BAR_INDEX_MS} ms/GB": index_ms <= BAR_INDEX_MS,
    }.items():
        print(f"{'met    ' if met else 'NOT MET'}  {name}")


if __name__ == "__main__":
    raise SystemExit(main())
