"""A worker that opens and decodes videos as the real one does, and writes a face for every frame, without models.

A video with "broken" in its name opens, and cannot be decoded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from daemon.jobs.kinds.extract import EXTRACT_CODECS, Extracted, ExtractRequest
from daemon.worker.contract import WorkerKind
from daemon.worker.extractor import try_file
from daemon.worker.process import main
from engine.errors import InputError
from engine.face_record import FaceRecord
from engine.footage.verdict import verdict_on
from engine.footage.video import open_frames
from engine.results.manifest_lines import RunNote
from engine.results.run_results import Results
from engine.types import Commit, Counts, Cursor, Progress, Resume
from engine.workspace.output_files import prepare_workspace
from tests.fake_worker import FakeExtractor, layout_of, report, write_face


class WritingExtractor(FakeExtractor):
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
        layout = layout_of(order)
        prepare_workspace(layout)
        note = RunNote(order.source, order.notes.get("sha256", ""), self.load(order))
        records: list[FaceRecord] = []
        with (
            open_frames(Path(order.source), after=resume.cursor if resume else None) as reader,
            Results(layout, note, resumes=resume is not None, discard=order.discard) as results,
        ):
            if "broken" in Path(order.source).name:
                raise InputError(f"{order.source}: not one frame could be decoded")
            for decoded in reader:
                if stop.is_set():
                    return report(order, layout, [], 0, completed=False)
                records.append(write_face(results, order, decoded.index))
                on_progress(Progress(decoded.index + 1, None, len(records), 0, {}))
            results.committed(decoded.index + 1)
            counts = Counts(len(records), len(records), 0)
            on_commit(Commit(Cursor(decoded.index + 1, decoded.pts), tuple(records), counts))
            results.finished()
            verdict = verdict_on(reader.evidence())
        return report(order, layout, records, len(records), completed=True, verdict=verdict)


if __name__ == "__main__":
    main({"extract": WorkerKind(EXTRACT_CODECS, WritingExtractor)})
