"""Every pair of labelled photos, per backend: is each same-person pair above the threshold, each other one below?

usage: python benchmarks/match_pairs.py [PHOTOS] [--model-root ROOT] [--model-pack PACK] [--backend NAME …]

PHOTOS is a folder with one folder per person; photos of a folder `others` with exactly two named people in their
file name (`obama_left_biden_right.jpg`) give one face each. Prints the weakest same-person pairs, the strongest
different pairs, and the margins to the backend's default threshold. Measures; never fails.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from engine.backends.backend import Backend  # noqa: E402
from engine.backends.catalog import BACKENDS, open_backend  # noqa: E402
from engine.errors import EngineError  # noqa: E402
from engine.identity.reference_photos import PhotoReport, list_photos, look_at_photo, read_photo  # noqa: E402
from engine.identity.same_person import similarity_to  # noqa: E402

SHARED = ROOT.parent / "shared"
SHOWN = 4


@dataclass(frozen=True, eq=False)
class LabelledFace:
    who: str
    photo: str
    embedding: NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("photos", nargs="?", type=Path, default=SHARED / "media" / "photos")
    parser.add_argument("--model-root", type=Path, default=SHARED / "models")
    parser.add_argument("--model-pack", default="insightface_mini")
    parser.add_argument("--backend", action="append", choices=BACKENDS)
    options = parser.parse_args()
    for name in options.backend or BACKENDS:
        try:
            backend = open_backend(name, model_root=options.model_root, model_pack=options.model_pack)
        except EngineError as problem:
            print(f"{name}: {problem.message}")
            continue
        print_table(backend, label_faces(options.photos, backend))
    return 0


def label_faces(photos: Path, backend: Backend) -> list[LabelledFace]:
    """Read every labelled photo and embed its faces, saying which are left out."""
    people = sorted(folder.name for folder in photos.iterdir() if folder.is_dir() and folder.name != "others")
    faces = []
    for who in people:
        for path in list_photos([photos / who]):
            outcome = look_at_photo(read_photo(path), path.name, backend)
            if isinstance(outcome, PhotoReport):
                print(f"  {backend.info.name}: {who}/{path.name} left out: {outcome.detail}")
                continue
            crop = backend.recognition_crop(outcome.image, outcome.face)
            faces.append(LabelledFace(who, f"{who}/{path.name}", backend.embed([crop])[0]))
    others = photos / "others"
    for path in list_photos([others]) if others.is_dir() else ():
        named = sorted((path.stem.index(who), who) for who in people if who in path.stem)
        if len(named) == 2:
            faces += label_group(path, [who for _, who in named], backend)
    return faces


def label_group(path: Path, left_to_right: list[str], backend: Backend) -> list[LabelledFace]:
    """Embed the two people of a group photo, named from left to right."""
    image = read_photo(path)
    found = sorted(backend.detect(image)[:2], key=lambda face: float(face.bbox[0]))
    if len(found) != 2:
        print(f"  {backend.info.name}: {path.name} left out: {len(found)} faces found")
        return []
    embeddings = backend.embed([backend.recognition_crop(image, face) for face in found])
    return [LabelledFace(who, f"{path.name}:{who}", row) for who, row in zip(left_to_right, embeddings, strict=True)]


def print_table(backend: Backend, faces: list[LabelledFace]) -> None:
    """Print the pairs that decide, and the margins."""
    info = backend.info
    pairs = [
        (float(similarity_to(a.embedding[None], b.embedding, info.metric)[0]), a, b)
        for a, b in itertools.combinations(faces, 2)
    ]
    same = sorted((pair for pair in pairs if pair[1].who == pair[2].who), key=lambda pair: pair[0])
    different = sorted((pair for pair in pairs if pair[1].who != pair[2].who), key=lambda pair: -pair[0])
    limit = info.default_threshold
    print(f"{info.name}: {info.recognition_model}, {info.metric}, threshold {limit:.2f}, {len(faces)} faces")
    for title, rows in (("weakest same-person", same), ("strongest different", different)):
        for value, a, b in rows[:SHOWN]:
            print(f"  {title}: {value:.3f}  {a.photo} - {b.photo}")
    wrong = sum(pair[0] < limit for pair in same) + sum(pair[0] >= limit for pair in different)
    print(
        f"  {len(same)} same-person pairs: lowest {same[0][0]:.3f} (margin {same[0][0] - limit:+.3f}); "
        f"{len(different)} different: highest {different[0][0]:.3f} (margin {limit - different[0][0]:+.3f}); "
        f"{wrong} pairs on the wrong side"
    )


if __name__ == "__main__":
    sys.exit(main())
