"""Jobs of kind curate: one side of a workspace is measured, decided on, and what training does not need is set aside.

What was measured is kept beside the faces, so that a kill costs little; the moves are one journaled batch.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from daemon.dfl_processes import processes_at, workspace_of
from daemon.errors import WorkspaceInUseError
from daemon.jobs.kinds.curate import LACKS_MAX, CurateRequest, CurateResult
from engine.curate import Curated, curate_faceset
from engine.errors import FacesetError, PackedFacesetError
from engine.facesets.coverage.report import CoverageReport, coverage_of
from engine.facesets.faceset_folder import FacesetFolder, aligned_folder, faceset_folders, faceset_of
from engine.measure_faceset import measure_faceset
from engine.types import Progress

NO_MATCH = "the faces to be matched: there are none yet in {}"


class Curator:
    """Curates facesets. Used by one thread."""

    def try_source(self, request: CurateRequest) -> None:
        """Raise WorkspaceInUseError where nothing may be moved at this moment."""
        why = _why_held(_folder(request))
        if why:
            raise_held(why)

    def load(self, request: CurateRequest) -> str:
        """Nothing is loaded; return what is asked for, as a hash."""
        return hashlib.sha256(json.dumps(asdict(request), sort_keys=True).encode()).hexdigest()

    def work(
        self,
        request: CurateRequest,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[None], None],  # noqa: ARG002
        resume: None,  # noqa: ARG002
    ) -> CurateResult:
        folder = _folder(request)
        if not folder.aligned.is_dir():
            return CurateResult(completed=True)
        (folder,) = faceset_folders(folder.parent)
        match = _match(request)

        def report(done: int, total: int) -> None:
            on_progress(Progress(done, total, 0, 0, {}))

        curated = curate_faceset(
            folder,
            request.asked.settings,
            match=match if request.role == "src" else None,
            dry_run=False,
            why_held=lambda: _why_held(folder),
            on_wait=raise_held,
            stop=stop,
            on_progress=report,
        )
        if not curated.completed or stop.is_set():
            return CurateResult(completed=False)
        missing = request.asked.match if match is None else ""
        return _result(curated, _coverage(folder, match, stop, report), missing)


def raise_held(why: str) -> None:
    """Raise WorkspaceInUseError: the job waits, and the worker does other ones meanwhile."""
    raise WorkspaceInUseError(
        f"no face is moved yet: {why}", hint="it goes on by itself once that program has ended, which is looked for"
    )


def _why_held(folder: FacesetFolder) -> str:
    """Return which program works on the workspace of a faceset; "" where none does, or its faces are never moved."""
    working = () if folder.role == "dst" else processes_at(workspace_of(folder))
    return f"{working[0].words} works on {workspace_of(folder)}" if working else ""


def _folder(request: CurateRequest) -> FacesetFolder:
    return aligned_folder(Path(request.workspace) / f"data_{request.role}" / "aligned")


def _match(request: CurateRequest) -> FacesetFolder | None:
    """Return the faces that are to be matched; None where there are none yet: the clip that has them may come later."""
    if not request.asked.match:
        return None
    try:
        return faceset_of(Path(request.asked.match), "dst")
    except PackedFacesetError:
        raise
    except FacesetError:
        return None


def _coverage(
    folder: FacesetFolder, match: FacesetFolder | None, stop: threading.Event, report: Callable[[int, int], None]
) -> CoverageReport | None:
    """Return what the faces that are trained on cover now; None where there are none. All are measured already."""
    here = measure_faceset(folder, stop=stop, on_progress=report).features
    there = None if match is None else measure_faceset(match, stop=stop, on_progress=report).features
    if not len(here):
        return None
    there_name = None if match is None else str(match.aligned)
    return coverage_of(here, there, here_name=str(folder.aligned), there_name=there_name)


def _result(curated: Curated, coverage: CoverageReport | None, no_match: str) -> CurateResult:
    """`no_match`: where the faces to be matched were looked for in vain; "" where they are there, or none are."""
    verdicts, done = curated.curation.verdicts, curated.done
    lacks = () if coverage is None else (*coverage.poses, *coverage.others)
    return CurateResult(
        completed=True,
        faces=len(verdicts),
        kept=curated.kept,
        moved=0 if done is None else done.moved,
        batch=0 if done is None else done.batch,
        aside=dict(Counter[str](one.reason for one in verdicts if one.place == "aside")),
        poor=dict(Counter[str](one.poor for one in verdicts if one.poor is not None)),
        missing_poses=0 if coverage is None else len(coverage.poses),
        lacks=(*([NO_MATCH.format(no_match)] if no_match else []), *(one.sentence for one in lacks[:LACKS_MAX])),
        advised_size_px=None if coverage is None else coverage.here.advised_size_px,
        unreadable=len(curated.unreadable),
        left=0 if done is None else len(done.left),
    )
