"""Two trees of dfld, the same work: do they make the same faces, the same averages and the same round?

usage: python benchmarks/equality.py OTHER_TREE [--shared DIR] [--allow-key KEY …] [--only faces|averages|round]

Both trees run under this interpreter, one after the other, as programs (`python -m daemon`), so nothing of their
insides is assumed. Compared are
  faces     file names, pictures (every byte but the metadata), metadata field by field, masks byte by byte, and the log
            without times and versions, of every labelled clip;
  averages  the files that `dfld average` makes of DeepFaceLab's own weight files, byte by byte;
  round     weights and data.dat of three local machines after an init, a round and a rollback, byte by byte, and the
            steps of each round's journal.
`--allow-key` names a metadata key that only this tree may have. Exit 0: all equal; 1: what differs is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from truth import SHARED, labelled_cases  # noqa: E402

MINI_PACK = "insightface_mini"
APP15 = 0xEF
"""The JPEG segment that holds DeepFaceLab's metadata."""
CHANGING = frozenset(
    {"program", "stage_seconds", "queue_fill", "versions", "workspace", "started", "ended", "seconds", "schema"}
)
"""Keys of the log that may differ between two runs of one program: times, versions and the folder."""
MODEL, MODEL_CLASS = "alice two", "SAEHD"
Values = dict[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, metavar="OTHER_TREE")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--allow-key", action="append", default=[])
    parser.add_argument("--only", choices=("faces", "averages", "round"))
    options = parser.parse_args()
    works: dict[str, Callable[[Path, Path], Values]] = {
        "faces": lambda tree, out: _faces(tree, out, options.shared, frozenset(options.allow_key)),
        "averages": lambda tree, out: _averages(tree, out, options.shared),
        "round": _round,
    }
    different = 0
    for name, work in works.items():
        if options.only in (None, name):
            found = []
            for tree in (options.other.resolve(), ROOT):
                with tempfile.TemporaryDirectory() as folder:
                    found.append(work(tree, Path(folder)))
            different += _compare(name, *found)
    return 1 if different else 0


def _compare(name: str, old: Values, new: Values) -> int:
    differences = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    print(f"{name}: {len(old)} values there, {len(new)} here, {len(differences)} differ")
    for key in differences[:20]:
        print(f"  {key}\n    there: {old.get(key, 'missing')[:200]}\n    here:  {new.get(key, 'missing')[:200]}")
    return len(differences)


def _dfld(tree: Path, *words: str, cwd: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *words], cwd=cwd, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{tree}: dfld {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _faces(tree: Path, out: Path, shared: Path, allowed: frozenset[str]) -> Values:
    values: Values = {}
    for case in labelled_cases(shared):
        folder = out / f"{case.clip.stem}_{case.who}"
        references = [word for path in case.references for word in ("--reference", str(path))]
        _dfld(
            tree, "extract", str(case.clip), *references, "--out", str(folder), "--quiet",
            "--model-root", str(shared / "models"), "--model-pack", MINI_PACK, cwd=out,
        )  # fmt: skip
        for path in sorted(folder.rglob("*")):
            name = f"{folder.name}/{path.relative_to(folder)}"
            if path.suffix == ".jpg" and path.parent.name != "debug":
                picture, metadata = _without_metadata(path.read_bytes())
                values[name] = _digest(picture)
                values |= {f"{name}:{key}": text for key, text in _fields(metadata).items() if key not in allowed}
            elif path.suffix == ".png":
                values[name] = _digest(path.read_bytes())
            elif path.name == "extraction_log.json":
                values |= {f"{name}:{key}": text for key, text in _flat(json.loads(path.read_bytes()))}
    return values


def _without_metadata(data: bytes) -> tuple[bytes, bytes]:
    """Split a JPEG into everything but its APP15 segment, and what that segment holds."""
    kept, metadata, place = data[:2], b"", 2
    while data[place] == 0xFF and data[place + 1] != 0xDA:  # up to the start of the scan
        length = int.from_bytes(data[place + 2 : place + 4], "big") + 2
        if data[place + 1] == APP15:
            metadata += data[place + 4 : place + length]
        else:
            kept += data[place : place + length]
        place += length
    return kept + data[place:], metadata


def _fields(metadata: bytes) -> Values:
    # The two trees wrote these bytes just now: they are ours.
    fields: dict[str, Any] = pickle.loads(metadata) if metadata else {}  # noqa: S301
    return {str(key): repr(value) for key, value in fields.items()}


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in CHANGING:
                yield from _flat(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{place}[{number}]")
    else:
        yield place, json.dumps(value)


def _averages(tree: Path, out: Path, shared: Path) -> Values:
    machines = [str(shared / "golden" / "models" / f"machine_{letter}") for letter in "abc"]
    values: Values = {}
    for rule in ("mean", "median"):
        _dfld(tree, "average", *machines, "--rule", rule, "--out", str(out / rule), cwd=out)
        values |= {f"{rule}/{path.name}": _digest(path.read_bytes()) for path in (out / rule).iterdir()}
    return values


def _round(tree: Path, out: Path) -> Values:
    """Three machines that are folders; their trainers never run, and say so."""
    from tests.sync.fleet import make_fleet

    # Paths stand in the weights' journal: one place for both trees.
    place = Path(tempfile.gettempdir()) / "dfld-equality"
    subprocess.run(["rm", "-rf", str(place)], check=True)
    place.mkdir()
    fleet = make_fleet(place)
    tables = "".join(
        f'[[machine]]\nname = "{one.machine.name}"\naddress = "localhost"\ntransfer = "local"\nstatus = "false"\n'
        f"model_dir = {json.dumps(str(one.folder))}\n"
        for one in fleet.machines
    )
    names = json.dumps([one.machine.name for one in fleet.machines])
    config = place / "config.toml"
    config.write_text(
        f'[service]\nstate_dir = "{place / "state"}"\n{tables}[[sync]]\nname = "{MODEL}"\n'
        f'model_class = "{MODEL_CLASS}"\nmachines = {names}\n',
        encoding="utf-8",
    )
    values: Values = {}
    steps = (
        ("init", ("sync", "init", MODEL, "--from", "gpu1")),
        ("round", ("sync", MODEL, "--once")),
        ("rollback", ("rollback", MODEL, "1")),
    )
    for name, words in steps:
        if name == "round":
            fleet.train_by_hand()
        _dfld(tree, *words, "--config", str(config), cwd=out)
        for one in fleet.machines:
            values |= {
                f"{name}/{one.machine.name}/{path.name}": _digest(path.read_bytes())
                for path in sorted(one.folder.iterdir())
                if path.is_file()
            }
    for journal in sorted((place / "state").rglob("journal.jsonl")):
        lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
        told = [(str(line.get("step")), str(line.get("machine"))) for line in lines]
        # Machines take each step side by side, in any order.
        values[f"journal/{re.sub(r'[^0-9]', '', journal.parent.name)}"] = json.dumps(sorted(told))
    subprocess.run(["rm", "-rf", str(place)], check=True)
    return values


if __name__ == "__main__":
    sys.exit(main())
