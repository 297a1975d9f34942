"""Memory over a long video: a generated clip of 100 000 small frames, extracted in a process of its own.

usage: python benchmarks/long_input.py [--frames N] [--shared DIR] [--json]

Half a minute with a face, two without, over and over. Prints the worker's memory and the faces kept at each tenth of
the way: it must not grow with the frames that were done (faces add a record each, about a kilobyte). Uses
insightface_mini of ../shared where it is, else dlib. Measures; never fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from truth import SHARED  # noqa: E402

SIZE = (320, 180)
SCENE_FRAMES, SCENES_A_ROUND = 750, 5
PAGE_BYTES = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_extract(json.loads(options.one))))
        return 0
    from daemon.commands.demo_clip import group_photo, write_clip, write_reference
    from engine.backends.catalog import open_backend

    with tempfile.TemporaryDirectory() as folder:
        clip, person = Path(folder) / "long.mp4", Path(folder) / "person.png"
        photo = group_photo()
        write_reference(person, photo, open_backend("dlib"))
        write_clip(clip, _pictures(photo, options.frames))
        task = {"clip": str(clip), "person": str(person), "out": f"{folder}/out", "shared": str(options.shared)}
        done = subprocess.run(
            [sys.executable, __file__, "--one", json.dumps({**task, "frames": options.frames})],
            capture_output=True,
            text=True,
            check=True,
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if options.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"{result['frames']} frames in {result['seconds']:.0f} s, {result['faces_kept']} faces kept")
    for share, mib, faces in result["rss_mib_and_faces"]:
        print(f"{share:4.0%}  {mib} MiB, {faces} faces")
    return 0


def _pictures(photo: np.ndarray, count: int) -> Iterator[np.ndarray]:
    import cv2

    scale = SIZE[1] / photo.shape[0] * 1.4
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    wall = cv2.resize(np.random.default_rng(1).integers(60, 190, (9, 16, 3), dtype=np.uint8), (400, 225))
    for number in range(count):
        there = number // SCENE_FRAMES % SCENES_A_ROUND == 0
        picture = small if there else wall
        sway = 0.5 + 0.5 * np.sin(number / 40)
        x, y = round(sway * (picture.shape[1] - SIZE[0])), round(sway * (picture.shape[0] - SIZE[1]))
        yield np.ascontiguousarray(picture[y : y + SIZE[1], x : x + SIZE[0]])


def _extract(task: dict[str, Any]) -> dict[str, Any]:
    from engine.backends.catalog import open_backend
    from engine.extract import extract
    from engine.identity.identity import build_identity
    from engine.types import ExtractSettings, Progress
    from engine.workspace.file_names import output_layout

    shared = Path(task["shared"])
    backend = (
        open_backend("insightface", model_root=shared / "models", model_pack="insightface_mini")
        if shared.is_dir()
        else open_backend("dlib")
    )
    identity, _ = build_identity([Path(task["person"])], backend, name="person")
    seen: dict[int, tuple[int, int]] = {}

    def note(progress: Progress) -> None:
        seen[10 * progress.frames_done // task["frames"]] = _rss_bytes() >> 20, progress.faces_kept

    begin = time.perf_counter()
    report = extract(
        Path(task["clip"]),
        output_layout(Path(task["out"])),
        identity=identity,
        backend=backend,
        settings=ExtractSettings(output_size=128),
        stop=threading.Event(),
        on_progress=note,
    )
    return {
        "frames": report.frames_decoded,
        "seconds": round(time.perf_counter() - begin, 1),
        "faces_kept": report.faces_kept,
        "rss_mib_and_faces": [(tenth / 10, mib, faces) for tenth, (mib, faces) in sorted(seen.items())],
    }


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


if __name__ == "__main__":
    sys.exit(main())
