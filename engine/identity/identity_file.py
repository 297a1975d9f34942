"""An Identity on disk: a NumPy archive without pickles, so that a file from a stranger can do no harm.

    format      int64, 1
    name, backend, model, metric    str
    photos      (N,) str
    embeddings  (N, D) float32
    mean        (D,) float32
    centres     (K, D) float32
    blank       (B, D) float32, B = 0 or 1
    blank_range (2,) float64
    negatives   (M, D) float32, M may be 0
    other_age   (L, D) float32, L may be 0

Written whole or not at all, readable by owner and group (0640): embeddings of a face are personal data.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from core.files import replace_file
from engine.errors import OutputError, ReferencePhotoError
from engine.types import Identity, Metric

FORMAT = 1
# 10 000 photos of 512 values are 20 MB; an archive that unpacks to more is not an identity.
MAX_UNPACKED_BYTES = 64 << 20
# What a stranger's file may ask for: as many photos as references may have, eight times the largest embedding in use,
# the length of a file name.
MAX_PHOTOS = 10_000
MAX_EMBEDDING_SIZE = 4096
MAX_NAME_LENGTH = 255
TABLES = ("embeddings", "centres", "blank", "negatives", "other_age")
_Arrays = dict[str, NDArray[Any]]
"""Of a file that anybody may have written: `_check_arrays` says what they hold."""
FIELDS = ("format", "name", "backend", "model", "metric", "photos", "mean", "blank_range", *TABLES)


def save_identity(identity: Identity, path: Path) -> None:
    """Write an Identity to `path`, replacing what is there only when the new file is whole and reads back.

    Raise OutputError when it cannot be written.
    """
    nobody = np.zeros((0, identity.mean.shape[0]), np.float32)
    arrays = {
        "format": np.array(FORMAT, dtype=np.int64),
        "name": np.array(identity.name),
        "backend": np.array(identity.backend),
        "model": np.array(identity.model),
        "metric": np.array(identity.metric),
        "photos": np.array(identity.photos),
        "embeddings": identity.embeddings,
        "mean": identity.mean,
        "centres": identity.mean[None, :] if identity.centres is None else identity.centres,
        "blank": nobody if identity.blank is None else identity.blank[None, :],
        "blank_range": np.array(identity.blank_range, np.float64),
        "negatives": nobody if identity.negatives is None else identity.negatives,
        "other_age": nobody if identity.other_age is None else identity.other_age,
    }
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    try:
        replace_file(path, packed.getvalue(), check=load_identity)
    except OSError as problem:
        raise OutputError(f"identity file {path} cannot be written: {problem.strerror}") from problem


def load_identity(path: Path) -> Identity:
    """Read an Identity. Raise ReferencePhotoError when the file is missing, damaged, or not an identity file."""
    try:
        arrays = _read_arrays(path)
        _check_arrays(arrays)
        return Identity(
            name=str(arrays["name"]),
            backend=str(arrays["backend"]),
            model=str(arrays["model"]),
            metric=_metric(str(arrays["metric"])),
            embeddings=arrays["embeddings"],
            mean=arrays["mean"],
            photos=tuple(str(photo) for photo in arrays["photos"]),
            centres=arrays["centres"],
            blank=arrays["blank"][0] if len(arrays["blank"]) else None,
            blank_range=(float(arrays["blank_range"][0]), float(arrays["blank_range"][1])),
            negatives=arrays["negatives"] if len(arrays["negatives"]) else None,
            other_age=arrays["other_age"] if len(arrays["other_age"]) else None,
        )
    except OSError as problem:
        raise ReferencePhotoError(f"identity file {path} cannot be read: {problem.strerror or problem}") from problem
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError) as problem:
        raise ReferencePhotoError(
            f"identity file {path} is not an identity file: {problem}",
            hint="make it again from the photos with `dfld reference`",
        ) from problem


def _read_arrays(path: Path) -> _Arrays:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sorted(member.filename for member in members) != sorted(f"{field}.npy" for field in FIELDS):
            raise ValueError(f"it does not hold exactly {', '.join(FIELDS)}")
        unpacked = sum(member.file_size for member in members)
        if unpacked > MAX_UNPACKED_BYTES:
            raise ValueError(f"it unpacks to {unpacked} bytes, more than {MAX_UNPACKED_BYTES}")
    with np.load(path, allow_pickle=False) as archive:
        return {field: archive[field] for field in FIELDS}


def _check_arrays(arrays: _Arrays) -> None:
    if arrays["format"].shape != () or int(arrays["format"]) != FORMAT:
        raise ValueError(f"its format is {arrays['format']!r}, expected {FORMAT}")
    for field in ("name", "backend", "model", "metric"):
        text = arrays[field]
        if text.dtype.kind != "U" or text.shape != () or not 0 < len(str(text)) <= MAX_NAME_LENGTH:
            raise ValueError(f"{field} is not a text of 1 to {MAX_NAME_LENGTH} characters")
    photos, mean, blank_range = arrays["photos"], arrays["mean"], arrays["blank_range"]
    if photos.dtype.kind != "U" or photos.ndim != 1 or not 0 < len(photos) <= MAX_PHOTOS:
        raise ValueError(f"photos is not a list of 1 to {MAX_PHOTOS} names")
    for field in TABLES:
        table = arrays[field]
        if table.dtype != np.float32 or table.ndim != 2 or not 0 < table.shape[1] <= MAX_EMBEDDING_SIZE:
            raise ValueError(f"{field} is {table.dtype} {table.shape}, expected float32 (rows, size)")
        if not np.isfinite(table).all():
            raise ValueError(f"{field} holds numbers that are not finite")
    if mean.dtype != np.float32 or not np.isfinite(mean).all():
        raise ValueError("its mean is not finite float32 numbers")
    if blank_range.dtype != np.float64 or blank_range.shape != (2,) or not np.isfinite(blank_range).all():
        raise ValueError("its blank_range is not two finite numbers")
    if not len(arrays["centres"]) or len(arrays["blank"]) > 1:
        raise ValueError(f"it has {len(arrays['centres'])} centres and {len(arrays['blank'])} blanks")


def _metric(text: str) -> Metric:
    for metric in get_args(Metric):
        if text == metric:
            return metric  # type: ignore[no-any-return]
    raise ValueError(f"its metric is {text!r}, expected one of {', '.join(get_args(Metric))}")
