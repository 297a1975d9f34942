"""How well the right person is found: clips × backends × thresholds, next to the plain loop.

usage: python benchmarks/identity.py [--backend NAME …] [--threshold T …] [--shared DIR] [--json]

The plain loop asks every frame by itself: detect, embed, compare with the mean of the references, keep from 0.40 (or
--plain-threshold) on. dfld decides by track. Rows for references of nobody in the clip count false faces: expected
are none. Writes aligned faces to a temporary folder. Measures; never fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from truth import SHARED, Case, Score, labelled_cases, nobody_cases, score  # noqa: E402

from engine.backends.backend import Backend  # noqa: E402
from engine.backends.catalog import open_backend  # noqa: E402
from engine.extract import extract  # noqa: E402
from engine.identity import build_identity  # noqa: E402
from engine.match import similarity_to  # noqa: E402
from engine.types import ExtractSettings, FaceRecord, Identity  # noqa: E402
from engine.video import open_frames  # noqa: E402
from engine.workspace import output_layout  # noqa: E402

PLAIN_THRESHOLDS = (0.40, 0.60)
"""InsightFace's own default, and what is often used in its place."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", nargs="+", default=["insightface"], choices=["insightface", "dlib"])
    parser.add_argument("--threshold", nargs="+", type=float, default=[], help="besides auto")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for name in options.backend:
        backend = _open(name, options.shared)
        for case in (*labelled_cases(options.shared), *nobody_cases(options.shared)):
            identity, _ = build_identity(case.references, backend, name=case.who)
            plain = list(_plain(case, backend, identity))
            for limit in PLAIN_THRESHOLDS:
                faces = [(frame, x, y) for frame, x, y, value in plain if value >= limit]
                rows.append(_row(name, case, f"plain loop {limit:.2f}", score(case, faces)))
                _say(rows[-1], options.json)
            for threshold in (None, *options.threshold):
                found, review = _dfld(case, backend, identity, threshold)
                label = f"dfld {'auto' if threshold is None else f'{threshold:.2f}'}"
                rows.append(_row(name, case, label, found) | {"review": review})
                _say(rows[-1], options.json)
    if options.json:
        print(json.dumps(rows, indent=2))
    return 0


def _open(name: str, shared: Path) -> Backend:
    if name == "insightface":
        return open_backend(name, model_root=shared / "models", model_pack="insightface_mini", device="cpu")
    return open_backend(name)


def _plain(case: Case, backend: Backend, identity: Identity) -> Iterator[tuple[int, float, float, float]]:
    """Every face of every frame with its similarity to the mean reference."""
    with open_frames(case.clip) as reader:
        for decoded in reader:
            pixels = decoded.to_frame().pixels
            faces = backend.detect(pixels)
            if not faces:
                continue
            rows = backend.embed([backend.recognition_crop(pixels, face) for face in faces])
            for face, value in zip(faces, similarity_to(rows, identity.mean, identity.metric), strict=True):
                x1, y1, x2, y2 = (float(one) for one in face.bbox)
                yield decoded.index, (x1 + x2) / 2, (y1 + y2) / 2, float(value)


def _dfld(case: Case, backend: Backend, identity: Identity, threshold: float | None) -> tuple[Score, int]:
    records: list[FaceRecord] = []
    with tempfile.TemporaryDirectory() as out:
        extract(
            case.clip,
            output_layout(Path(out)),
            identity=identity,
            backend=backend,
            settings=ExtractSettings(similarity_threshold=threshold),
            stop=threading.Event(),
            on_commit=lambda commit: records.extend(commit.records),
        )
    faces = [(r.frame, (r.bbox[0] + r.bbox[2]) / 2, (r.bbox[1] + r.bbox[3]) / 2) for r in records if r.kept]
    return score(case, faces), sum(record.reason.startswith("review") for record in records)


def _row(backend: str, case: Case, way: str, found: Score) -> dict[str, Any]:
    return {
        "backend": backend,
        "case": case.name,
        "way": way,
        "recall": round(found.recall, 4) if found.true_faces else None,
        "precision": round(found.precision, 4) if found.true_faces else None,
        "false_faces": found.false_faces,
        "duplicates": found.duplicates,
    }


def _say(row: dict[str, Any], quiet: bool) -> None:
    if quiet:
        return
    numbers = (
        f"recall {row['recall']:.3f}  precision {row['precision']:.3f}"
        if row["recall"] is not None
        else "recall   -    precision   -  "
    )
    review = f"  review {row['review']}" if row.get("review") else ""
    print(
        f"{row['backend']:<12}{row['case']:<38}{row['way']:<17}{numbers}  false {row['false_faces']}{review}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
