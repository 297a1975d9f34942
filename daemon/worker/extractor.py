"""The worker's real extractor: models and identities kept loaded between clips, and `engine.extract`.

Runs in the worker alone; the service itself imports none of this.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from core.opening import RefusedFileError, read_regular
from daemon.errors import SidecarError
from daemon.jobs.kinds.extract import Extracted, ExtractRequest, extracted
from daemon.worker.basis import FaceMakers, basis_of, is_of_equal_result
from daemon.worker.contract import IncompleteError
from engine.backends.backend import Backend
from engine.backends.catalog import open_backend
from engine.errors import InputError, InputUnavailableError, ReferencePhotoError
from engine.extract import extract
from engine.footage.container import open_source
from engine.footage.image_folder import changed_order
from engine.footage.structure import structure_of
from engine.footage.video import probe
from engine.identity.identity import build_identity
from engine.identity.reference_photos import MAX_PHOTO_BYTES, ReadBytes, list_photos, read_anywhere
from engine.types import Commit, Identity, Progress, Resume
from engine.workspace.file_names import Layout, inbox_layout

IDENTITIES_MAX = 16
"""So many people are kept in mind; a machine has few inboxes."""

BackendKey = tuple[str, str, str]
Photos = dict[str, list[str]]
"""What an identity is made of: part → name and hash of each photo."""


class EngineExtractor:
    """Extraction with the engine. Used by one thread."""

    def __init__(self) -> None:
        self._backends: dict[BackendKey, Backend] = {}
        self._identities: dict[str, Identity] = {}
        self._loaded: tuple[ExtractRequest, Identity] | None = None
        """The latest job that was loaded for, and the identity that its basis names."""

    def try_source(self, request: ExtractRequest) -> None:
        try_file(request)

    def load(self, request: ExtractRequest) -> str:
        """Load models and identity; return what makes the faces, as a hash: that of the commits before, where it makes
        the same."""
        backend = self._backend(request)
        try:
            photos = _photos_of(request)
            self._loaded = request, self._identity(request, backend, photos)
        except ReferencePhotoError as problem:
            if request.references_within is None:
                raise
            raise SidecarError(f"the references of its sidecar: {problem.message}", hint=problem.hint) from problem
        makers = FaceMakers(
            settings=request.settings,
            backend=backend.info.name,
            models=[(model.task, model.sha256) for model in backend.info.models],
            photos=photos,
            largest_face=request.largest_face,
            role=request.role,
            stretch=(request.start_s, request.end_s),
            frame_order=changed_order(Path(request.source)) if Path(request.source).is_dir() else "",
        )
        return request.basis if is_of_equal_result(request.basis, makers) else basis_of(makers)

    def work(
        self,
        request: ExtractRequest,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[Commit], None],
        resume: Resume | None,
    ) -> Extracted:
        report = extract(
            Path(request.source),
            layout_of(request),
            identity=self._loaded_identity(request),
            backend=self._backend(request),
            settings=request.settings,
            stop=stop,
            on_progress=on_progress,
            on_commit=on_commit,
            resume=resume,
            notes=request.notes,
            within=[Path(one) for one in request.source_within],
            start_s=request.start_s,
            end_s=request.end_s,
            discard=request.discard,
        )
        return extracted(report)

    def _backend(self, request: ExtractRequest) -> Backend:
        key = (request.backend, request.model_root, request.model_pack)
        if key not in self._backends:
            self._backends[key] = open_backend(
                request.backend, model_root=Path(request.model_root), model_pack=request.model_pack
            )
        return self._backends[key]

    def _loaded_identity(self, request: ExtractRequest) -> Identity:
        """Return the identity that `load` made for this job: of the photos whose hashes are in the basis."""
        if self._loaded is None or self._loaded[0] != request:
            raise RuntimeError("a job was begun whose models and photos were not loaded")
        return self._loaded[1]

    def _identity(self, request: ExtractRequest, backend: Backend, photos: Photos) -> Identity:
        """Make the person's identity, or take the one made of the same photos before."""
        choices = [request.allow_mixed, request.largest_face]
        made_of = json.dumps([request.person, request.backend, request.model_root, request.model_pack, photos, choices])
        if made_of not in self._identities:
            identity, _reports = build_identity(
                [Path(one) for one in request.references],
                backend,
                name=request.person,
                largest_face=request.largest_face,
                allow_mixed=request.allow_mixed,
                negatives=[Path(one) for one in request.negatives],
                other_age=[Path(one) for one in request.other_age],
                read=reader_of(request),
            )
            while len(self._identities) >= IDENTITIES_MAX:
                self._identities.pop(next(iter(self._identities)))
            self._identities[made_of] = identity
        return self._identities[made_of]


def layout_of(request: ExtractRequest) -> Layout:
    return inbox_layout(Path(request.workspace), request.role, request.slug)


def try_file(request: ExtractRequest) -> None:
    """Open the source as far as its first frame. Raise IncompleteError when it may still be arriving."""
    source = Path(request.source)
    within = [Path(one) for one in request.source_within]
    missing: int | None = 0
    if not source.is_dir():
        with open_source(source, within=within) as file:
            structure = structure_of(file)
        missing = structure.missing_bytes if structure.container else 0
    if missing and not request.take_incomplete:
        raise IncompleteError(f"{source.name}: {missing} bytes that its header promises are not there yet")
    try:
        probe(source, within=within)
    except InputUnavailableError:
        raise
    except InputError as problem:
        if missing is None and not request.take_incomplete:
            raise IncompleteError(f"{source.name} does not open yet: {problem.message}") from problem
        raise


def _photos_of(request: ExtractRequest) -> Photos:
    groups = {"references": request.references, "negatives": request.negatives, "other_age": request.other_age}
    return {
        part: _photo_hashes(paths, reader_of(request) if part == "references" else read_anywhere)
        for part, paths in groups.items()
    }


def reader_of(request: ExtractRequest) -> ReadBytes:
    """Return what reads the references: from anywhere where the configuration named them, else from where it allows."""
    if request.references_within is None:
        return read_anywhere
    within = [Path(one) for one in request.references_within]
    outside = [Path(one) for one in request.references_outside]
    return partial(read_regular, within=within, outside=outside, max_bytes=MAX_PHOTO_BYTES)


def _photo_hashes(paths: Sequence[str], read: ReadBytes) -> list[str]:
    """Return "name:hash" of every given photo and of those in given folders, in a fixed order."""
    found = []
    for file in list_photos([Path(one) for one in paths]) if paths else ():
        try:
            found.append(f"{file.name}:{hashlib.sha256(read(file)).hexdigest()}")
        except RefusedFileError as problem:
            found.append(f"{file.name}:{problem.strerror}")  # left out of the identity, with this reason
        except OSError as problem:
            raise ReferencePhotoError(f"reference photo {file}: {problem.strerror}") from problem
    return found
