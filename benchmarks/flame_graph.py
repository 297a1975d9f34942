"""Where a real `dfld extract` spends its time, as an HTML page with call stacks and a timeline (pyinstrument).

    make profile CLIP=clip.mp4 [REFERENCE=photo.jpg] [ARGS='--backend dlib']
    python benchmarks/flame_graph.py CLIP [--reference PHOTO] [--page FILE] [options of dfld extract]

The page needs no network and reaches none. What is extracted goes into a temporary folder, and with it.

Without a reference the largest face of the first frame that shows one is the wanted person, so that faces are kept.
Only the main thread is seen: reading ahead in a thread of its own shows as waiting. Models are loaded within.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
PAGE = "profile.html"
INTERVAL_S = 0.001
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:"
"""What a browser may do for the page: show what stands in it."""


def main() -> int:
    from pyinstrument import Profiler
    from pyinstrument.renderers import HTMLRenderer

    from daemon.cli import main as dfld

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--page", type=Path, default=Path(PAGE), help=f"default {PAGE}")
    parser.add_argument("--backend", default="dlib")
    options, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        reference = options.reference or first_face(options.clip, options.backend, Path(folder))
        command = ["extract", str(options.clip), "--reference", str(reference), "--largest-face"]
        command += ["--out", f"{folder}/workspace", "--backend", options.backend, *others]
        profiler, said = Profiler(interval=INTERVAL_S), io.StringIO()
        with contextlib.redirect_stdout(said), profiler:
            code = dfld(command)
    for line in said.getvalue().splitlines():
        if folder not in line:  # what it names is gone
            print(line)
    options.page.write_text(without_network(profiler.output(HTMLRenderer())), encoding="utf-8")
    print(f"wrote {options.page}: open it in a browser")
    return code


def without_network(page: str) -> str:
    """Return a page that asks no other computer for anything, whatever its scripts want: pyinstrument's loads fonts."""
    page = re.sub(r"https://fonts\.googleapis\.com/[^\s\"']*", "data:text/css,", page)
    head, found, rest = page.partition("<head>")
    if not found:
        raise SystemExit("the page of pyinstrument has no <head>: nothing would keep it from the network")
    return f'{head}{found}<meta http-equiv="Content-Security-Policy" content="{POLICY}">{rest}'


def first_face(clip: Path, backend: str, folder: Path) -> Path:
    """Write the first frame that shows a face into `folder`, as a reference photo."""
    import cv2

    from engine.backends.catalog import open_backend

    models, frames = open_backend(backend), cv2.VideoCapture(str(clip))
    while True:
        there, frame = frames.read()
        if not there:
            raise SystemExit(f"{clip}: no frame with a face; name a photo: --reference (REFERENCE=)")
        if models.detect(frame):
            path = folder / "reference.png"
            cv2.imwrite(str(path), frame)
            return path


if __name__ == "__main__":
    raise SystemExit(main())
