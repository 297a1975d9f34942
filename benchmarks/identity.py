"""How well the right person is found: clips × backends × thresholds, next to the plain loop.

usage: python benchmarks/identity.py [--backend NAME …] [--threshold T …] [--people FOLDER] [--variants]
                                     [--only TEXT] [--no-plain] [--shared DIR] [--json]

The plain loop asks every frame by itself: detect, embed, compare with the mean of the references, keep from a
threshold on. dfld decides by track. Rows for references of nobody in the clip count false faces: expected are none.

The labelled clips are what margins were chosen on. --people composes other footage, of other people, from a folder
with a sub-folder of photos each (benchmarks/composed.py); --variants compresses, shrinks, darkens, mirrors and turns
the labelled clips (benchmarks/variants.py). --only measures the cases whose name holds TEXT. Works in a temporary
folder. Measures; never fails.
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

from composed import compose  # noqa: E402
from truth import SHARED, Case, Score, labelled_cases, nobody_cases, score  # noqa: E402
from variants import VARIANTS, variant_of  # noqa: E402

from engine.backends.backend import Backend  # noqa: E402
from engine.backends.catalog import open_backend  # noqa: E402
from engine.extract import extract  # noqa: E402
from engine.footage.video import open_frames  # noqa: E402
from engine.identity.identity import build_identity  # noqa: E402
from engine.identity.same_person import similarity_to  # noqa: E402
from engine.reasons import REVIEW_REASONS  # noqa: E402
from engine.types import ExtractSettings, Identity, Metric  # noqa: E402
from engine.workspace.file_names import output_layout  # noqa: E402

PLAIN_THRESHOLDS: dict[Metric, tuple[float, ...]] = {"cosine": (0.40, 0.60), "one_minus_distance": (0.40, 0.50)}
"""InsightFace's own default, and what is often used in its place; dlib's own default (distance 0.6), and stricter."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", nargs="+", default=["insightface"], choices=["insightface", "dlib"])
    parser.add_argument("--threshold", nargs="+", type=float, default=[], help="besides auto")
    parser.add_argument("--people", type=Path, help="compose clips of these people instead")
    parser.add_argument("--variants", action="store_true", help="the labelled clips, each worsened in five ways")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--no-plain", action="store_true", help="leave the plain loop out: it takes most of the time")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.backend:
            backend = _open(name, options.shared)
            for case in _cases(options, Path(folder), backend):
                rows += _measure(name, case, backend, options)
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        _say_totals(rows)
    return 0


def _cases(options: argparse.Namespace, folder: Path, backend: Backend) -> list[Case]:
    labelled = [*labelled_cases(options.shared), *nobody_cases(options.shared)]
    if options.people:
        cases = compose(options.people, folder, backend)
    elif options.variants:
        cases = [variant_of(case, variant, folder) for variant in VARIANTS for case in labelled]
    else:
        cases = labelled
    chosen = [case for case in cases if options.only in case.name]
    for case in chosen:
        case.make()
    return chosen


def _measure(name: str, case: Case, backend: Backend, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one case: the plain loop at its thresholds, dfld at each of its own."""
    rows = []
    identity, _ = build_identity(case.references, backend, name=case.who)
    plain = [] if options.no_plain else list(_plain(case, backend, identity))
    for limit in () if options.no_plain else PLAIN_THRESHOLDS[identity.metric]:
        faces = [(frame, x, y) for frame, x, y, value in plain if value >= limit]
        rows.append(_row(name, case, f"plain loop {limit:.2f}", score(case, faces)))
        _say(rows[-1], options.json)
    for threshold in (None, *options.threshold):
        found, review = _dfld(case, backend, identity, threshold)
        label = f"dfld {'auto' if threshold is None else f'{threshold:.2f}'}"
        rows.append(_row(name, case, label, found) | {"review": review})
        _say(rows[-1], options.json)
    return rows


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
    with tempfile.TemporaryDirectory() as out:
        report = extract(
            case.clip,
            output_layout(Path(out)),
            identity=identity,
            backend=backend,
            settings=ExtractSettings(similarity_threshold=threshold),
            stop=threading.Event(),
        )
        records = json.loads(report.log_path.read_text())["faces"]
    boxes = [(record["frame"], record["bbox"]) for record in records if record["kept"]]
    faces = [(frame, (x1 + x2) / 2, (y1 + y2) / 2) for frame, (x1, y1, x2, y2) in boxes]
    return score(case, faces), sum(record["reason"] in REVIEW_REASONS and bool(record["file"]) for record in records)


def _row(backend: str, case: Case, way: str, found: Score) -> dict[str, Any]:
    return {
        "backend": backend,
        "case": case.name,
        "way": way,
        "true_faces": found.true_faces,
        "found": found.found,
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
    review = f"  in review {row['review']}" if row.get("review") else ""
    print(
        f"{row['backend']:<12}{row['case']:<44}{row['way']:<17}{numbers}  false {row['false_faces']}{review}",
        flush=True,
    )


def _say_totals(rows: list[dict[str, Any]]) -> None:
    """All cases together, per way."""
    print()
    for backend, way in dict.fromkeys((row["backend"], row["way"]) for row in rows):
        these = [row for row in rows if (row["backend"], row["way"]) == (backend, way)]
        true, found, false = (sum(row[key] for row in these) for key in ("true_faces", "found", "false_faces"))
        recall, precision = found / max(1, true), found / max(1, found + false)
        print(
            f"{backend:<12}{f'{len(these)} cases together':<44}{way:<17}recall {recall:.3f}  "
            f"precision {precision:.3f}  false {false}"
        )


if __name__ == "__main__":
    sys.exit(main())
