"""Jobs of kind verify: reads every face of a clip back, some at a time, and removes damaged ones where that is wanted.

Pictures of a workspace may be anybody's by now: one that kills or hangs its worker costs this job alone.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from daemon.jobs.kinds.verify import VerifyCommit, VerifyRequest, VerifyResult
from engine.results.read_back import ReadBack, drop_faces
from engine.types import Progress
from engine.workspace.file_names import Layout, inbox_layout

FACES_A_COMMIT = 64
"""A second's work or so: what a kill costs."""


class Verifier:
    """Reads clips back. Used by one thread."""

    def try_source(self, request: VerifyRequest) -> None:
        """Nothing has to arrive: what is not there is a finding."""

    def load(self, request: VerifyRequest) -> str:
        """Return what decides which faces are read back, as a hash."""
        basis = ReadBack(layout_of(request), request.faces).basis
        return hashlib.sha256(f"{basis} {request.drop_damaged} {request.attempt}".encode()).hexdigest()

    def work(
        self,
        request: VerifyRequest,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[VerifyCommit], None],
        resume: int | None,
    ) -> VerifyResult:
        layout = layout_of(request)
        clip = ReadBack(layout, request.faces)
        total, begin = len(clip.names), resume or 0
        repairs = request.drop_damaged and not clip.not_listed
        while begin < total and not stop.is_set():
            checked = []
            for name in clip.names[begin : begin + FACES_A_COMMIT]:
                checked.append(clip.check(name))
                on_progress(Progress(begin + len(checked), total, 0, 0, {}))
            damaged = [one for one in checked if one.finding == "damaged"]
            if repairs and damaged:
                drop_faces(layout, damaged)
            begin += len(checked)
            on_commit(VerifyCommit(begin, total, tuple(checked)))
        return VerifyResult(
            completed=begin >= total,
            faces_total=total,
            may_redo=repairs,
            not_listed=clip.not_listed,
        )


def layout_of(request: VerifyRequest) -> Layout:
    return inbox_layout(Path(request.workspace), request.role, request.slug)
