"""A worker that opens and decodes videos as the real one does, and looks for no faces: for many hostile files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from daemon.jobs.kinds.extract import EXTRACT_CODECS, Extracted, ExtractRequest
from daemon.worker.contract import WorkerKind
from daemon.worker.extractor import try_file
from daemon.worker.process import main
from engine.footage.verdict import verdict_on
from engine.footage.video import open_frames
from engine.types import Commit, Counts, Cursor, Progress, Resume
from engine.workspace.output_files import prepare_workspace
from tests.fake_worker import FakeExtractor, layout_of, report

PIECE_FRAMES = 4


class ReadingExtractor(FakeExtractor):
    def try_source(self, order: ExtractRequest) -> None:
        try_file(order)

    def work(
        self,
        order: ExtractRequest,
        *,
        stop: threading.Event,
        on_progress: Callable[[Progress], None],
        on_commit: Callable[[Commit], None],
        resume: Resume | None,
    ) -> Extracted:
        frames = 0
        with open_frames(Path(order.source), after=resume.cursor if resume else None) as reader:
            for decoded in reader:
                if stop.is_set():
                    break
                decoded.to_frame()
                frames += 1
                on_progress(Progress(decoded.index + 1, None, 0, 0, {}))
                if frames % PIECE_FRAMES == 0:
                    on_commit(Commit(Cursor(decoded.index + 1, decoded.pts), (), Counts(frames, frames, 0)))
            verdict = verdict_on(reader.evidence())
        layout = layout_of(order)
        prepare_workspace(layout)
        return report(
            order,
            layout,
            [],
            frames,
            completed=not stop.is_set(),
            packets_damaged=reader.packets_damaged,
            warnings=reader.warnings,
            verdict=verdict,
        )


if __name__ == "__main__":
    main({"extract": WorkerKind(EXTRACT_CODECS, ReadingExtractor)})
