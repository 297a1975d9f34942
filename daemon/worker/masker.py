"""Jobs of kind mask: the faces of a clip get their masks, some at a time; networks stay open between jobs.

Pictures of a workspace may be anybody's by now: one that kills or hangs its worker costs this job alone. The faceset is
held as long as the job lasts, so that no other program of dfld moves a face meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.jobs.kinds.mask import ClipMaskRequest, FaceNote, MaskCommit, MaskResult
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.face_listing import picture_names
from engine.facesets.faceset_folder import aligned_folder
from engine.mask_faceset import MaskedFace, MaskRequest, mask_files
from engine.mask_sources import OpenedSources, SourceSettings, open_mask_sources
from engine.masks.flicker import PlacedMask, flickering
from engine.results.face_places import face_places
from engine.types import Progress
from engine.workspace.file_names import Layout, inbox_layout

FACES_A_COMMIT = 32
"""Some seconds' work of a network on a processor. What a kill interrupts is done again only as far as it was not
written: a face that has the mask of these sources is known by that."""
TAKEN_OUT = "taken out"

OpenedKey = tuple[SourceSettings, tuple[tuple[int, int, int], ...]]


class Masker:
    """Masks clips. Used by one thread."""

    def __init__(self) -> None:
        self._opened: tuple[OpenedKey, OpenedSources] | None = None
        """The latest sources, and which files they were opened from."""

    def try_source(self, request: ClipMaskRequest) -> None:
        """Nothing has to arrive: a face that is not there was taken out."""

    def load(self, request: ClipMaskRequest) -> str:
        """Open the sources; return what decides the masks of which faces, as a hash."""
        made_by = self._sources(request).made_by
        decides = [made_by, request.asked.source, request.asked.replace_theirs, request.attempt]
        listed = _names_in(request) if request.asked.whole_faceset else request.faces
        return hashlib.sha256(json.dumps([decides, listed]).encode(errors="backslashreplace")).hexdigest()

    def work(
        self,
        request: ClipMaskRequest,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[MaskCommit], None],
        resume: int | None,
    ) -> MaskResult:
        layout, sources = layout_of(request), self._sources(request)
        folder = aligned_folder(layout.aligned)
        if not folder.aligned.is_dir():
            return MaskResult(completed=True, faces_total=0)
        order = MaskRequest(
            request.asked.source, sources.sources, sources.made_by, replace_theirs=request.asked.replace_theirs
        )
        with sole_user(folder):
            places = _places(request, layout)
            begin, total = resume or 0, len(places)
            placed: list[PlacedMask] = []
            while begin < total and not stop.is_set():
                piece = places[begin : begin + FACES_A_COMMIT]
                there = [path for path in piece if path is not None]

                def report(done: int, _total: int, *, before: int = begin) -> None:
                    on_progress(Progress(before + done, total, 0, 0, {}))

                masked = mask_files(folder, there, order, stop=stop, on_progress=report)
                if len(masked) < len(there):
                    break  # stopped in the middle: what was masked is known by its mask
                begin += len(piece)
                placed += [one.placed for one in masked if one.placed is not None]
                on_commit(_commit(begin, total, masked, taken_out=len(piece) - len(there)))
            return MaskResult(begin >= total, total, _flickering(placed))

    def _sources(self, request: ClipMaskRequest) -> OpenedSources:
        """Open the sources that are asked for, or return those that were opened of the same files before."""
        asked = request.asked
        settings = SourceSettings(
            mode=asked.source,
            xseg_model=Path(asked.xseg_model) if asked.xseg_model else None,
            xseg_face_type=asked.xseg_face_type,
            parser=Path(asked.parser) if asked.parser else None,
            include=asked.include,
            cache=Path(request.cache),
        )
        key = settings, tuple(_states(settings))
        if self._opened is None or self._opened[0] != key:
            self._opened = None  # before the next network takes its memory
            self._opened = key, open_mask_sources(settings)
        return self._opened[1]


def layout_of(request: ClipMaskRequest) -> Layout:
    return inbox_layout(Path(request.workspace), request.role, request.slug)


def _places(request: ClipMaskRequest, layout: Layout) -> Sequence[Path | None]:
    """Return where each face lies that is to be masked; None for one that was taken out."""
    if not request.asked.whole_faceset:
        return face_places(layout, request.faces)
    return [layout.aligned / name for name in _names_in(request)]


def _names_in(request: ClipMaskRequest) -> Sequence[str]:
    folder = aligned_folder(layout_of(request).aligned)
    return picture_names(folder) if folder.aligned.is_dir() else ()


def _states(settings: SourceSettings) -> list[tuple[int, int, int]]:
    """Return inode, size and time of the files of the models: others, and they are opened anew."""
    files = [] if settings.xseg_model is None else sorted(settings.xseg_model.glob("XSeg_*"))
    if settings.parser is not None and settings.parser.exists():
        files.append(settings.parser)
    return [(status.st_ino, status.st_size, status.st_mtime_ns) for status in map(Path.stat, files)]


def _commit(next_face: int, total: int, masked: Sequence[MaskedFace], *, taken_out: int) -> MaskCommit:
    outcomes = Counter[str](one.outcome for one in masked)
    if taken_out:
        outcomes[TAKEN_OUT] = taken_out
    return MaskCommit(
        next_face,
        total,
        outcomes=dict(outcomes),
        sources=dict(Counter(_kind_of(one.source) for one in masked if one.outcome == "masked")),
        refused=dict(Counter(no.check for one in masked for no in one.refused if no.check)),
        notes=tuple(_note(one) for one in masked if one.why or any(no.check for no in one.refused)),
    )


def _flickering(placed: Sequence[PlacedMask]) -> tuple[FaceNote, ...]:
    """Return the faces whose masks jump from those of the frames beside them: for a person to look at."""
    return tuple(
        FaceNote(name, "flickers", f"its area changes by {one.change:.0%} from {one.neighbour}")
        for name, one in sorted(flickering(placed).items())
    )


def _kind_of(source: str) -> str:
    """Return the name of a source without what was done with its mask: `xseg` of `xseg, cut by polygons`."""
    return source.partition(",")[0].partition(" ")[0]


def _note(face: MaskedFace) -> FaceNote:
    said = [face.why] if face.why else []
    said += [f"{one.source} not taken: {one.reason}" for one in face.refused if not face.why]
    return FaceNote(face.name, f"{face.outcome} from {face.source}" if face.source else face.outcome, "; ".join(said))
