"""Extraction speed: dfld, the plain loop and decoding alone, on the same clips in one run.

usage: python benchmarks/extraction.py [--repeat N] [--shared DIR] [--plain-frames N] [--json]
                                       [--synthetic-pack [FRAMES]]

Each measurement runs in a process of its own (its peak memory is its own), ways take turns so that a busy machine
hurts all alike, and the median of the repetitions counts. Models are loaded before the clock starts. dfld does all
its work: aligned faces, masks, log and preview are written to a temporary folder. The plain loop only detects and
embeds every frame, as insightface's FaceAnalysis.get does at det_size 640; it is timed on at most --plain-frames
frames, for it is slow. Uses ../shared where it is, else the demo's clip with dlib. Measures; never fails.

With --synthetic-pack, models of buffalo_l's shapes and a 1920 x 1080 clip of so many frames are made instead (see
synthetic_pack). On a machine with CUDA insightface runs there, in dfld and in the plain loop, and the GPU's load is
told. The stage with most seconds limits, unless the queue of decoded frames is empty: then decoding does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from gpu_watch import GpuWatch  # noqa: E402
from synthetic_pack import NAME, disc_clip, reference_photo, write_pack  # noqa: E402
from truth import SHARED, Case, labelled_cases, score  # noqa: E402

WAYS = ("decode", "plain", "dfld")
MINI_PACK = "insightface_mini"
NO_FACE_FRAMES = 1500
"""A minute: what a start costs (the first looks of the shot) is in it, spread as thinly as in a short film scene."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--plain-frames", type=int, default=150)
    parser.add_argument("--synthetic-pack", type=int, nargs="?", const=1500, metavar="FRAMES")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(json.loads(options.one))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        rows = [_compare(task, options.repeat, quiet=options.json) for task in _tasks(options, Path(folder))]
    if options.json:
        print(json.dumps({"cpus": os.cpu_count(), "rows": rows}, indent=2))
    return 0


def _tasks(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    common = {"plain_frames": options.plain_frames, "pack_root": str(options.shared / "models"), "pack": MINI_PACK}
    if options.synthetic_pack:
        return [{**common, **_synthetic_task(folder, options.synthetic_pack)}]
    if not options.shared.is_dir():
        from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
        from engine.backends.catalog import open_backend

        photo = group_photo()
        write_clip(folder / "demo.mp4", camera_move(photo, 100))
        write_reference(folder / "person.png", photo, open_backend("dlib"))
        clip, photos = str(folder / "demo.mp4"), [str(folder / "person.png")]
        return [{**common, "clip": clip, "who": "", "references": photos, "backend": "dlib"}]
    tasks = [
        {
            **common,
            "clip": str(case.clip),
            "who": case.who,
            "references": [str(path) for path in case.references],
            "backend": "insightface",
        }
        for case in labelled_cases(options.shared)
        if case.who != "biden"
    ]
    empty = folder / "no_face.mp4"
    _write_empty_clip(empty, options.shared)
    return [
        *tasks,
        {**common, "clip": str(empty), "who": "", "references": tasks[0]["references"], "backend": "insightface"},
    ]


def _synthetic_task(folder: Path, frames: int) -> dict[str, Any]:
    import cv2

    from daemon.commands.demo_clip import write_clip

    write_pack(folder)
    write_clip(folder / "discs.mp4", disc_clip(frames))
    cv2.imwrite(str(folder / "disc.png"), reference_photo())
    return {
        "clip": str(folder / "discs.mp4"),
        "who": "",
        "references": [str(folder / "disc.png")],
        "backend": "insightface",
        "pack_root": str(folder),
        "pack": NAME,
    }


def _write_empty_clip(path: Path, shared: Path) -> None:
    """A camera over a landscape, 1280 x 720: much moves, nobody is there."""
    import cv2
    import numpy as np

    from daemon.commands.demo_clip import write_clip

    picture = cv2.imread(str(shared / "media" / "photos" / "others" / "no_face_landscape.jpg"))
    assert picture is not None
    picture = cv2.resize(picture, (1600, 900), interpolation=cv2.INTER_AREA)
    places = 0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi, NO_FACE_FRAMES))
    write_clip(path, (np.ascontiguousarray(picture[round(180 * t) :, round(320 * t) :][:720, :1280]) for t in places))


def _compare(task: dict[str, Any], repeat: int, *, quiet: bool) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(repeat):
        for way in WAYS:
            done = subprocess.run(
                [sys.executable, __file__, "--one", json.dumps({**task, "way": way})],
                capture_output=True,
                text=True,
                check=True,
            )
            runs[way].append(json.loads(done.stdout.splitlines()[-1]))
    speed = {way: statistics.median(run["frames"] / run["seconds"] for run in runs[way]) for way in WAYS}
    work = {way: statistics.median(run["cpu_seconds"] / run["frames"] * 1000 for run in runs[way]) for way in WAYS}
    row = {
        "clip": f"{Path(task['clip']).stem} {task['who']}".strip(),
        "frames_per_s": {way: round(value, 1) for way, value in speed.items()},
        "cpu_ms_per_frame": {way: round(value, 2) for way, value in work.items()},
        "times_plain": round(speed["dfld"] / speed["plain"], 2),
        "times_plain_by_cpu": round(work["plain"] / work["dfld"], 2),
        "times_decode_time": round(speed["decode"] / speed["dfld"], 2),
        "peak_rss_mib": {way: max(run["peak_rss_mib"] for run in runs[way]) for way in WAYS},
        "recall": runs["dfld"][0].get("recall"),
        "precision": runs["dfld"][0].get("precision"),
        **{key: runs["dfld"][0].get(key) for key in ("stage_seconds", "queue_fill", "faces_kept", "runs")},
        **{key: {way: runs[way][0].get(key) for way in WAYS[1:]} for key in ("gpu_percent", "gpu_memory_mib_peak")},
    }
    if not quiet:
        print(
            f"{row['clip']:<26} frames/s: decode {speed['decode']:.0f}, plain {speed['plain']:.1f}, "
            f"dfld {speed['dfld']:.1f} = {row['times_plain']} x plain ({row['times_plain_by_cpu']} x by CPU time), "
            f"{row['times_decode_time']} x decode's time; recall {row['recall']}, precision {row['precision']}, "
            f"peak RSS {row['peak_rss_mib']['dfld']} MiB",
            flush=True,
        )
        print(f"{'':<26} seconds by stage: {row['stage_seconds']}, queues filled: {row['queue_fill']}", flush=True)
        print(f"{'':<26} {row['faces_kept']} faces kept; {row['runs']}", flush=True)
        if row["gpu_percent"]["dfld"] is not None:
            print(
                f"{'':<26} GPU busy, %: {row['gpu_percent']}; its memory, MiB: {row['gpu_memory_mib_peak']}", flush=True
            )
    return row


def _measure(task: dict[str, Any]) -> dict[str, Any]:
    """Run one way once, in this process."""
    ways: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"decode": _decode, "plain": _plain, "dfld": _dfld}
    result = ways[task["way"]](task)
    # Linux counts in KiB.
    return {**result, "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def _clocked(work: Callable[[], int]) -> dict[str, Any]:
    with GpuWatch() as gpu:
        begin, cpu = time.perf_counter(), time.process_time()
        frames = work()
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    return {"frames": frames, "seconds": seconds, "cpu_seconds": cpu_seconds, **gpu.result()}


def _decode(task: dict[str, Any]) -> dict[str, Any]:
    import av

    def work() -> int:
        with av.open(task["clip"]) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            return sum(1 for _ in container.decode(stream))

    return _clocked(work)


def _plain(task: dict[str, Any]) -> dict[str, Any]:
    import av

    if task["backend"] == "insightface":
        from insightface.app import FaceAnalysis

        from engine.models.accelerators import CUDA_PROVIDER, available_providers, choose_providers

        providers = choose_providers("auto", available_providers())
        app = FaceAnalysis(
            name=str(Path(task["pack_root"]) / task["pack"]),
            allowed_modules=["detection", "recognition"],
            providers=providers,
        )
        app.prepare(ctx_id=0 if CUDA_PROVIDER in providers else -1, det_size=(640, 640))
        look = app.get
    else:
        from engine.backends.catalog import open_backend

        backend = open_backend(task["backend"])

        def look(pixels: Any) -> Any:
            return backend.embed([backend.recognition_crop(pixels, face) for face in backend.detect(pixels)])

    def work() -> int:
        count = 0
        with av.open(task["clip"]) as container:
            for count, frame in enumerate(container.decode(video=0), 1):
                look(frame.to_ndarray(format="bgr24"))
                if count >= task["plain_frames"]:
                    break
        return count

    return _clocked(work)


def _dfld(task: dict[str, Any]) -> dict[str, Any]:
    from engine.backends.catalog import open_backend
    from engine.extract import extract
    from engine.face_record import FaceRecord
    from engine.identity.identity import build_identity
    from engine.types import ExtractReport, ExtractSettings
    from engine.workspace.file_names import output_layout

    backend = (
        open_backend("insightface", model_root=Path(task["pack_root"]), model_pack=task["pack"])
        if task["backend"] == "insightface"
        else open_backend(task["backend"])
    )
    identity, _ = build_identity([Path(path) for path in task["references"]], backend, name=task["who"] or "person")
    records: list[FaceRecord] = []
    reports: list[ExtractReport] = []

    with tempfile.TemporaryDirectory() as out:

        def work() -> int:
            report = extract(
                Path(task["clip"]),
                output_layout(Path(out)),
                identity=identity,
                backend=backend,
                settings=ExtractSettings(),
                stop=threading.Event(),
                on_commit=lambda commit: records.extend(commit.records),
            )
            reports.append(report)
            return report.frames_decoded

        result = _clocked(work)
    result |= {
        "stage_seconds": {stage: round(seconds, 2) for stage, seconds in reports[0].stage_seconds.items()},
        "queue_fill": {queue: round(share, 2) for queue, share in reports[0].queue_fill.items()},
        "faces_kept": reports[0].faces_kept,
        "runs": {"device": backend.info.device}
        | {name: text for name, text in backend.info.versions.items() if name.endswith(" run")},
    }
    if task["who"]:
        case = Case(Path(task["clip"]), task["who"], ())
        faces = [(r.frame, (r.bbox[0] + r.bbox[2]) / 2, (r.bbox[1] + r.bbox[3]) / 2) for r in records if r.kept]
        found = score(case, faces)
        result |= {"recall": round(found.recall, 4), "precision": round(found.precision, 4)}
    return result


if __name__ == "__main__":
    sys.exit(main())
