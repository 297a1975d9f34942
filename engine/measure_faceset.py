"""The features of a faceset: measured where they are not known yet, in as many processes as are given.

A face whose file did not change is not opened. What is measured is kept every SAVE_EVERY_S, so that a kill costs
little.
"""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from core.opening import open_regular
from dfl.errors import FormatError
from dfl.jpeg import FILE_LIMIT_BYTES
from engine.errors import FacesetError, OutputError
from engine.facesets.face_listing import UnreadableFace, pixels_id
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.feature_cache import CachedFace, FeatureCache, FileKey
from engine.facesets.features import Features
from engine.facesets.measures.face_measures import ROW, SINGLE, FaceMeasures, measure_face
from engine.facesets.measures.frame_edges import part_outside

CHUNK = 32
"""Faces that a process is given at once: a tenth of a second of work."""
FEWEST_FOR_PROCESSES = 256
"""Starting processes takes as long as measuring so many faces."""
SAVE_EVERY_S = 10.0
PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>: the signal that the kernel sends when the parent dies."""

OnProgress = Callable[[int, int], None]
"""Called with how many of how many faces are done."""


@dataclass(frozen=True, eq=False)
class MeasuredFaceset:
    """The features of a faceset, and how they came about."""

    features: Features
    """Of every face that can be read; where the work was stopped, of those measured so far."""
    unreadable: tuple[UnreadableFace, ...]
    """Files that DeepFaceLab would not read as faces."""
    measured: int
    """Faces that were measured now; the others were known."""
    is_complete: bool
    """False where the work was stopped."""
    is_aside: NDArray[np.bool_]
    """(N,) which faces lie in `aside/`."""


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What one file is found to be."""

    name: str
    face: CachedFace | None = None
    known_sha256: str = ""
    """The file has these bytes, which were measured before."""
    why: str = ""
    """It is no face."""


def measure_faceset(
    folder: FacesetFolder,
    *,
    with_aside: bool = False,
    stop: threading.Event | None = None,
    on_progress: OnProgress | None = None,
    processes: int | None = None,
) -> MeasuredFaceset:
    """Return the features of every face in `aligned/`, in the order in which DeepFaceLab reads them.

    `with_aside`: those in `aside/` too, in one order with them; one whose name a face in `aligned/` has is left out.
    `processes`: how many measure; None takes one for each core. What cannot be kept, on a full disk or one that is not
    to be written, is measured anew the next time. Raise FacesetError where the folder cannot be listed or a measuring
    process ends.
    """
    cache = _kept(folder)
    files = _files_in(folder.aligned)
    aside = _files_in(folder.aside) if with_aside and folder.aside.is_dir() else {}
    aside = {name: key for name, key in aside.items() if name not in files}
    files = dict(sorted((files | aside).items()))
    found = {name: face for name, key in files.items() if (face := cache.by_file(key)) is not None}
    unreadable: list[UnreadableFace] = []
    measured, saved = 0, time.monotonic()
    paths = [(folder.aside if name in aside else folder.aligned) / name for name in files if name not in found]
    for outcome in _outcomes(paths, cache.known_bytes, stop or threading.Event(), processes):
        if outcome.why:
            unreadable.append(UnreadableFace(outcome.name, outcome.why))
        else:
            face = outcome.face or replace(cache.by_bytes(outcome.known_sha256), key=files[outcome.name])
            found[outcome.name] = face
            cache.add(face)
            measured += outcome.face is not None
        if on_progress is not None:
            on_progress(len(found) + len(unreadable), len(files))
        if time.monotonic() - saved > SAVE_EVERY_S:
            _keep(cache, folder)
            saved = time.monotonic()
    is_complete = len(found) + len(unreadable) == len(files)
    if is_complete:
        cache.keep_only(_keys_of_all_faces(folder))
    if cache.has_changed:
        _keep(cache, folder)
    names = [name for name in files if name in found]
    features = _features_of(names, [found[name] for name in names])
    is_aside = np.array([name in aside for name in names], np.bool_)
    return MeasuredFaceset(features, tuple(unreadable), measured, is_complete, is_aside)


def _kept(folder: FacesetFolder) -> FeatureCache:
    try:
        return FeatureCache.read(folder)
    except OutputError:
        return FeatureCache()


def _keep(cache: FeatureCache, folder: FacesetFolder) -> None:
    with suppress(OutputError):  # nothing but time is lost, and who only looks at a faceset need not write in it
        cache.write(folder)


def _files_in(aligned: Path) -> dict[str, FileKey]:
    """Return the faces of a folder by name, sorted by code points as DeepFaceLab sorts them."""
    try:
        with os.scandir(aligned) as entries:
            found = {one.name: _key_of(one.stat(follow_symlinks=False)) for one in entries if one.name.endswith(".jpg")}
    except OSError as problem:
        raise FacesetError(f"cannot list the faces of {aligned}: {problem.strerror}") from problem
    return dict(sorted(found.items()))


def _key_of(status: os.stat_result) -> FileKey:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _keys_of_all_faces(folder: FacesetFolder) -> set[FileKey]:
    """Return the files of all folders in which faces of a faceset may lie: one that was set aside may come back."""
    found: set[FileKey] = set()
    for one in folder.face_folders:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(one) as entries:
            found |= {_key_of(entry.stat(follow_symlinks=False)) for entry in entries}
    return found


def _outcomes(
    paths: Sequence[Path], known: Collection[str], stop: threading.Event, processes: int | None
) -> Iterator[_Outcome]:
    """Yield what each file is, in any order; end early once `stop` is set."""
    count = (len(os.sched_getaffinity(0)) if processes is None else processes) if paths else 0
    if count <= 1 or len(paths) < FEWEST_FOR_PROCESSES:
        for path in paths:
            if stop.is_set():
                return
            yield _outcome(path, known)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(count, context, initializer=_begin_process, initargs=(known,)) as pool:
        chunks = iter([paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)])
        waiting: set[Future[list[_Outcome]]] = set()
        try:
            while not stop.is_set():
                waiting |= {pool.submit(_outcomes_of, one) for one in islice(chunks, 2 * count - len(waiting))}
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in done:
                    yield from one.result()
        except BrokenProcessPool as problem:
            raise FacesetError(
                f"a process that measured faces of {paths[0].parent} ended: it was killed, or memory ran out; what it "
                "had measured is kept"
            ) from problem


_known_bytes: Collection[str] = frozenset()
"""Of a measuring process: what need not be measured again. Set once, before its first file."""


def _begin_process(known: Collection[str]) -> None:
    """Prepare a measuring process: it ends with its parent, leaves Ctrl-C to it, and uses one core."""
    global _known_bytes
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _known_bytes = known


def _outcomes_of(paths: Sequence[Path]) -> list[_Outcome]:
    return [_outcome(path, _known_bytes) for path in paths]


def _outcome(path: Path, known: Collection[str]) -> _Outcome:
    """Read and measure one file. Nothing in it is trusted."""
    try:
        with open_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES) as file:
            key = _key_of(os.fstat(file.fileno()))
            data = file.readall()
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in known:
            return _Outcome(path.name, known_sha256=sha256)
        measures = measure_face(data)
        return _Outcome(path.name, _cached(key, sha256, data, measures))
    except FormatError as problem:
        return _Outcome(path.name, why=problem.message)
    except OSError as problem:
        return _Outcome(path.name, why=problem.strerror or str(problem))


def _cached(key: FileKey, sha256: str, data: bytes, measures: FaceMeasures) -> CachedFace:
    return CachedFace(key, sha256, measures.face_id or pixels_id(data), measures.source, measures.row)


def _features_of(names: Sequence[str], faces: Sequence[CachedFace]) -> Features:
    """Return the columns of these faces. How much of each is cut off follows from all of its clip."""
    rows = np.array([face.row for face in faces], ROW) if faces else np.zeros(0, ROW)
    sources = tuple(face.source for face in faces)
    return Features(
        name=tuple(names),
        face_id=tuple(face.face_id for face in faces),
        source=sources,
        cut_off=part_outside(rows["mat"], rows["size"], _frames_of(sources, rows["reach"])),
        **{one: rows[one].copy() for one in (*SINGLE, "frame", "size", "has_polygons", "luma_dct")},
    )


def _frames_of(sources: Sequence[str], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 2) the right and lower edge of each face's frame, px, as far as any face of its clip shows."""
    order = {source: place for place, source in enumerate(dict.fromkeys(sources))}
    places = np.array([order[source] for source in sources], np.intp)
    furthest = np.zeros((len(order), 2))
    np.maximum.at(furthest, places, np.nan_to_num(reach))
    return furthest[places]
