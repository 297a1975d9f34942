"""Hands mutants of one kind of file to the command that reads it, one after the other, in one process of its own.

python -m tests.mutated_files KIND COUNT SEED FOLDER

Prints JSON: how many were refused, and the peak of memory. Ends with a traceback where a command lets an error through
that is not dfld's, refuses without naming the file, or leaves a file of the faceset changed or gone; and is ended by a
signal where a native library crashes or a mutant takes longer than LIMIT_S.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.cli import main as dfld
from tests.faceset_rig import contents, face_jpeg, make_faceset
from tests.parser_files import celebamask_model, write_model
from tests.xseg_rig import made_weights
from tests.xseg_rig import write_model as write_xseg

LIMIT_S = 60
"""Much longer than any takes on a busy machine: what reaches it goes on for ever."""
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF)
MASK_CHECK = ("mask", "{ws}", "--check", "--quiet", "--device", "cpu")


@dataclass(frozen=True)
class Kind:
    """One kind of file, and the commands that read it in turn."""

    place: str
    """Of the file, from the folder."""
    commands: Sequence[Sequence[str]]
    make: Callable[[Path], object]
    """Writes the whole file, and what belongs to it, into the folder; the faceset is there."""
    begin: int = 0
    """Bytes before it stay: changed, they make it another kind of file."""


def _packed(folder: Path) -> None:
    assert dfld(["pack", str(folder / "ws" / "data_src")]) == 0


def _saved(folder: Path) -> None:
    assert dfld(["meta", "save", str(folder / "ws" / "data_src")]) == 0


ALIGNED = "ws/data_src/aligned"
KINDS: dict[str, Kind] = {
    ".npy": Kind(
        "xseg/XSeg_256.npy",
        [(*MASK_CHECK, "--source", "xseg", "--xseg-model", "{folder}/xseg")],
        lambda folder: write_xseg(folder / "xseg", made_weights()),
    ),
    ".dat of XSeg": Kind(
        "xseg/XSeg_data.dat",
        [(*MASK_CHECK, "--source", "xseg", "--xseg-model", "{folder}/xseg")],
        lambda folder: write_xseg(folder / "xseg", made_weights()),
    ),
    ".dat of metadata": Kind(f"{ALIGNED}/meta.dat", [("meta", "restore", "{ws}")], _saved),
    ".onnx": Kind(
        "parser.onnx",
        [(*MASK_CHECK, "--source", "parser", "--parser", "{folder}/parser.onnx")],
        lambda folder: write_model(celebamask_model(64), folder / "parser.onnx"),
    ),
    ".pak": Kind(f"{ALIGNED}/faceset.pak", [("unpack", "{ws}", "--keep")], _packed),
    "metadata of a JPEG": Kind(
        f"{ALIGNED}/mutant.jpg",
        [
            (*MASK_CHECK, "--source", "hull"),
            ("curate", "{ws}", "--dry-run"),
            ("coverage", "{ws}"),
            ("sort", "{ws}", "--by", "yaw"),
        ],
        lambda folder: (folder / ALIGNED / "mutant.jpg").write_bytes(face_jpeg(7)),
        begin=2,
    ),
}


def main() -> int:
    name, count, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    kind, chance = KINDS[name], random.Random(seed)
    make_faceset(folder / "ws", {"00000000_0.jpg": face_jpeg(1), "00000001_0.jpg": face_jpeg(2)})
    with _in_silence():
        kind.make(folder)
    path = folder / kind.place
    whole, others = path.read_bytes(), _others(folder, path)
    refused = 0
    for number in range(count):
        command = kind.commands[number % len(kind.commands)]
        path.write_bytes(_mutant(whole, chance, kind.begin))
        refused += _is_refused(name, [one.format(folder=folder, ws=folder / "ws/data_src") for one in command], path)
        _put_back(folder, path, others)
    sys.stdout.write(json.dumps({"refused": refused, "peak_mib": _peak_mib()}) + "\n")
    return 0


def _peak_mib() -> int:
    """Return the most memory that this process ever held: `ru_maxrss` counts what its parent held when it forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def _is_refused(name: str, arguments: Sequence[str], path: Path) -> bool:
    """Run a command on a mutant; say whether it was refused. Whoever is refused is named."""
    with _in_silence() as said:
        signal.alarm(LIMIT_S)
        code = dfld(arguments)
        signal.alarm(0)
    words = said.getvalue()
    is_refused = code != 0 or path.name in words
    if is_refused and (path.name not in words or "Traceback" in words):
        raise AssertionError(f"{name}: dfld {' '.join(arguments)} ended with {code} and said {words!r}")
    return is_refused


def _mutant(whole: bytes, chance: random.Random, begin: int) -> bytes:
    """Return the bytes cut, with a piece left out or repeated, or with some bytes or one number overwritten."""
    at, other = sorted(chance.randrange(begin, len(whole)) for _ in range(2))
    match chance.randrange(6):
        case 0:
            return whole[:at]
        case 1:
            return whole[:at] + whole[at : min(other, at + 4096)] + whole[at:]
        case 2:
            return whole[:at] + whole[at + chance.randint(1, 64) :]
        case 3:
            places, values = range(at, min(at + chance.choice((4, 8)), len(whole))), NUMBERS
        case 4:  # where most files have their lengths
            reach = min(len(whole), begin + 400)
            places, values = [chance.randrange(begin, reach) for _ in range(chance.randint(1, 4))], range(256)
        case _:
            places, values = [chance.randrange(begin, len(whole)) for _ in range(chance.randint(1, 20))], range(256)
    changed = bytearray(whole)
    for place in places:
        changed[place] = chance.choice(values)
    return bytes(changed)


def _others(folder: Path, mutant: Path) -> dict[str, bytes]:
    faceset = folder / "ws" / "data_src"
    kept = {place: data for place, data in contents(faceset).items() if not place.startswith(".dfld")}
    kept.pop(str(mutant.relative_to(faceset)) if mutant.is_relative_to(faceset) else "", None)
    return kept


def _put_back(folder: Path, mutant: Path, others: dict[str, bytes]) -> None:
    """Undo what a mutant that could be read did, and see to it that no other file has other bytes or has gone."""
    faceset = folder / "ws" / "data_src"
    now = _others(folder, mutant)
    lost = [data for data in others.values() if data not in now.values()]
    if lost and mutant.name != "meta.dat":  # a mutant that can be read restores what it holds
        raise AssertionError(f"{len(lost)} files of the faceset have other bytes than before, or have gone")
    for place in now.keys() - others.keys():
        (faceset / place).unlink()
    for place, data in others.items():
        (faceset / place).parent.mkdir(exist_ok=True)
        (faceset / place).write_bytes(data)


@contextlib.contextmanager
def _in_silence() -> Iterator[io.StringIO]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield said


if __name__ == "__main__":
    sys.exit(main())
