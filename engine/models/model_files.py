"""Files of weights on disk: which they are, byte for byte, and what their makers allow.

Hashes go into every log, so that a result can be traced to the exact weights that made it. Where the files come
from, and how they are run, is the business of each backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.opening import sha256_of
from engine.errors import ModelError

# A protobuf cannot be larger; the largest published face pack has files of about 250 MB.
MAX_MODEL_BYTES = 2 << 30

LICENCE_300W = "research only, non-commercial (trained on iBUG 300-W)"
LICENCE_DLIB_CC0 = "CC0, any use"
LICENCE_DLIB_CODE = "Boost Software License, any use"
LICENCE_OPENCV = "Intel License Agreement (BSD-like, in the file), any use"
LICENCE_UNKNOWN = "not stated; check with who made the pack"


@dataclass(frozen=True)
class ModelFile:
    """One file of weights that a backend runs."""

    task: str
    """detection, landmarks_68 or recognition."""
    name: str
    sha256: str
    """Hex; empty for a model that is compiled into a library, whose version then decides it."""
    licence: str
    """What its makers allow, in one line."""


def describe_model_file(path: Path, *, task: str, licence: str) -> ModelFile:
    """Given a file of weights, return its name, hash and licence. Raise ModelError when it cannot be read."""
    return ModelFile(task=task, name=path.name, sha256=hash_of_model_file(path), licence=licence)


def describe_built_in(name: str, *, task: str, licence: str) -> ModelFile:
    """Name a model that is compiled into a library: it has no file to hash, the library's version decides it."""
    return ModelFile(task=task, name=name, sha256="", licence=licence)


def require_model_file(path: Path) -> Path:
    """Return `path` when it is a file of a believable size. Raise ModelError, naming it, when it is not."""
    try:
        size = path.stat().st_size
    except OSError as problem:
        raise ModelError(f"model file {path} cannot be read: {problem.strerror}") from problem
    if not path.is_file():
        raise ModelError(f"model file {path} is not a file")
    if size == 0:
        raise ModelError(f"model file {path} is empty", hint="delete it and fetch it again")
    if size > MAX_MODEL_BYTES:
        raise ModelError(f"model file {path} has {size} bytes, more than the {MAX_MODEL_BYTES} that a model can have")
    return path


def hash_of_model_file(path: Path) -> str:
    """Return the SHA-256 of a model file as hex, read once per process while its size and mtime stay the same."""
    require_model_file(path)
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 (they are the cache's key)
    return sha256_of(path, follow_links=True)
