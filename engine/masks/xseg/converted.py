"""XSeg's weight file → the ONNX file that runs it, made once and kept as long as the weights are the same.

    FOLDER/<sha256 of the weights>-<converter version>.onnx    private, as weights are a likeness
    FOLDER/<the same>.json    its own SHA-256, without which it is not used, and how well it passed the self-check
    FOLDER/weight-files.json    hash, size, time and inode of each weight file, so that it is not hashed again and again

Before an ONNX file is kept, a picture goes through it and through the plain network, and the answers are compared.
Files of weights that have gone or changed go with the next conversion.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.files import FILE_MODE, make_folder, replace_file, sync_folder
from core.opening import read_regular, sha256_of
from dfl.xseg_weights import SIDE_PX, XSegWeights, read_xseg_weights
from engine.errors import InputUnavailableError, ModelError
from engine.masks.xseg.numpy_network import Array, probabilities
from engine.masks.xseg.onnx_graph import INPUT, onnx_bytes
from engine.models.accelerators import CPU_PROVIDER, open_session
from engine.models.onnx_session import Session
from engine.workspace.output_files import as_output_error

CONVERTER_VERSION = 1
"""Raised when the same weights are to become another graph."""
SELF_CHECK_DIFFERENCE_MAX = 1e-3
"""Of any probability, ONNX against numpy. Measured: below 1e-5 for networks of base 1 and 32."""
NOTES_BYTES_MAX = 1 << 20
"""Of either JSON file; larger ones are not ours, and count as none."""
SETTLED_S = 2.0
"""A file that changed later than this before it was hashed may change once more within one tick of its clock ..."""
UNSETTLED = (-1, -1, -1)
"""... so that its hash is noted with a state that no file has."""
WEIGHT_FILES = "weight-files.json"
LOCK = "lock"
_KEPT = re.compile(r"([0-9a-f]{64})-(\d+)\.(?:onnx|json)")


@dataclass(frozen=True)
class XSegNetwork:
    """An XSeg network, ready to run on one thread at a time."""

    session: Session
    weights_sha256: str
    """Of the file of weights."""
    was_converted: bool
    """Whether the ONNX file had to be made."""

    def probabilities(self, pictures: Array) -> Array:
        """Given (n, 256, 256, 3) float32 BGR pictures of 0..1, return (n, 256, 256) float32 probabilities."""
        feed = {INPUT: np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))}
        return np.asarray(self.session.run(None, feed)[0][:, 0], np.float32)


def open_network(weights: Path, folder: Path, providers: Sequence[str]) -> XSegNetwork:
    """Open the network of a weight file, converted into `folder` where it is not yet. One program at a time does so.

    Raise FormatError, naming the file, for weights that are no XSeg network; InputUnavailableError for a file that
    changes while it is read; ModelError where the converted network does not compute what it should, or cannot be
    run; OutputError where `folder` cannot be written.
    """
    with as_output_error("make the folder", folder):
        make_folder(folder)
    with _sole_converter(folder):
        state = _state(weights)
        sha256 = _hash_of(weights, folder)
        onnx = folder / f"{sha256}-{CONVERTER_VERSION}.onnx"
        is_there = _is_whole(onnx)
        if not is_there:
            _convert(weights, onnx)
            if _state(weights) != state:
                onnx.unlink()
                raise _changing(weights)
            _remove_unused(folder, sha256)
        return XSegNetwork(open_session(onnx, providers), sha256, was_converted=not is_there)


def self_check_picture() -> Array:
    """Return the (256, 256, 3) picture of the self-check: shades, edges and noise, the same on every machine. Pure."""
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32) / np.float32(SIDE_PX)
    stripes = (np.floor(rows * 16) + np.floor(columns * 16)) % 2
    noise = np.random.Generator(np.random.PCG64(1)).random((SIDE_PX, SIDE_PX), np.float32)
    return np.stack((rows, (stripes + columns) / 2, (noise + rows * columns) / 2), axis=2).astype(np.float32)


def self_check(weights: XSegWeights, session: Session) -> float:
    """Run one picture through the graph and the plain network; return the largest difference of a probability."""
    picture = self_check_picture()
    (found,) = XSegNetwork(session, "", was_converted=True).probabilities(picture[np.newaxis])
    return float(np.abs(found - probabilities(weights, picture)).max())


def _convert(path: Path, onnx: Path) -> None:
    weights = read_xseg_weights(path)
    content = onnx_bytes(weights)
    differences: list[float] = []

    def check(written: Path) -> None:
        difference = self_check(weights, open_session(written, [CPU_PROVIDER]))
        if not difference < SELF_CHECK_DIFFERENCE_MAX:
            raise ModelError(
                f"{path} was converted to ONNX, and the result differs from the network by {difference:.2g} for the "
                f"self-check picture, expected less than {SELF_CHECK_DIFFERENCE_MAX:g}; it is not used",
                hint="the weights may be far out of range: train on from one of the model's backups",
            )
        differences.append(difference)

    with as_output_error("write", onnx):
        replace_file(onnx, content, check=check)
        note = {"sha256": hashlib.sha256(content).hexdigest(), "base": weights.base, "self_check": differences[0]}
        replace_file(onnx.with_suffix(".json"), json.dumps(note).encode())
        sync_folder(onnx.parent)


def _is_whole(onnx: Path) -> bool:
    """Say whether an ONNX file is there, to the last byte as it was made."""
    note = _json_object(onnx.with_suffix(".json"))
    try:
        return note.get("sha256") == sha256_of(onnx, follow_links=False)
    except OSError:
        return False


def _hash_of(weights: Path, folder: Path) -> str:
    """Return the SHA-256 of a weight file, from the notes where its size, time and inode are those that were noted."""
    known = _json_object(folder / WEIGHT_FILES)
    name = os.path.realpath(weights)
    state = _state(weights)
    noted = known.get(name)
    if isinstance(noted, list) and noted[:3] == list(state) and _is_hash(noted[3:]):
        return str(noted[3])
    try:
        sha256 = sha256_of(weights, follow_links=True)
    except OSError as problem:
        raise _unreadable(weights, problem) from problem
    if _state(weights) != state:
        raise _changing(weights)
    is_settled = time.time() - state[1] / 1e9 > SETTLED_S
    with as_output_error("write", folder / WEIGHT_FILES):
        noted = [*(state if is_settled else UNSETTLED), sha256]
        replace_file(folder / WEIGHT_FILES, json.dumps({**known, name: noted}).encode("utf-8"))
    return sha256


def _remove_unused(folder: Path, needed: str) -> None:
    """Remove the ONNX files of weights that no file on this machine has any more."""
    noted = _json_object(folder / WEIGHT_FILES)
    used = {
        name: values
        for name, values in noted.items()
        if isinstance(values, list) and _is_hash(values[3:]) and os.path.exists(name)  # noqa: PTH110
    }
    hashes = {needed, *(str(values[3]) for values in used.values() if isinstance(values, list))}
    with as_output_error("tidy", folder):
        for path in list(folder.iterdir()):
            match = _KEPT.fullmatch(path.name)
            if match is not None and (match[1] not in hashes or int(match[2]) != CONVERTER_VERSION):
                path.unlink()
        if len(used) < len(noted):
            replace_file(folder / WEIGHT_FILES, json.dumps(used).encode("utf-8"))


def _json_object(path: Path) -> Mapping[str, object]:
    """Read one of the notes; nothing where there is none, or it makes no sense."""
    try:
        found = json.loads(read_regular(path, within=None, max_bytes=NOTES_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_hash(values: Sequence[object]) -> bool:
    return len(values) == 1 and isinstance(values[0], str) and re.fullmatch("[0-9a-f]{64}", values[0]) is not None


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as problem:
        raise _unreadable(path, problem) from problem
    return found.st_size, found.st_mtime_ns, found.st_ino


def _unreadable(path: Path, problem: OSError) -> ModelError:
    return ModelError(f"XSeg's weights {path} cannot be read: {problem.strerror or problem}")


def _changing(path: Path) -> InputUnavailableError:
    return InputUnavailableError(f"XSeg's weights {path} changed while they were read", hint="a trainer is saving them")


@contextmanager
def _sole_converter(folder: Path) -> Iterator[None]:
    """Wait until no other program converts or removes files here. The lock ends with the process that holds it."""
    with as_output_error("write in", folder):
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
