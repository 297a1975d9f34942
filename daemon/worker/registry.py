"""Every kind of job that a worker does, by its name. What the service knows of each is `daemon.jobs.kinds.registry`."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.jobs.kinds.curate import CURATE_CODECS, CurateKind
from daemon.jobs.kinds.extract import EXTRACT_CODECS, ExtractKind
from daemon.jobs.kinds.mask import MASK_CODECS, MaskKind
from daemon.jobs.kinds.verify import VERIFY_CODECS, VerifyKind
from daemon.worker.contract import AnyWorkerKind, WorkerKind
from daemon.worker.curator import Curator
from daemon.worker.extractor import EngineExtractor
from daemon.worker.masker import Masker
from daemon.worker.verifier import Verifier


def worker_kinds() -> Mapping[str, AnyWorkerKind]:
    """Return who does what; nothing is loaded before a job asks for it."""
    return {
        ExtractKind.name: WorkerKind(EXTRACT_CODECS, EngineExtractor),
        VerifyKind.name: WorkerKind(VERIFY_CODECS, Verifier),
        MaskKind.name: WorkerKind(MASK_CODECS, Masker),
        CurateKind.name: WorkerKind(CURATE_CODECS, Curator),
    }
