"""The root of all errors. Each package grows its own tree from it:

DfldError
├── FormatError            dfl.errors: bytes that are not what a DeepFaceLab format says
├── EngineError            engine.errors
├── SyncError              sync.errors
├── TrainerError           trainer.errors
└── DaemonError            daemon.errors
"""

from __future__ import annotations


class DfldError(Exception):
    """A failure that a person reads as one sentence, never as a traceback.

    The message says what was tried, on what, what was found and what was expected. `hint` names the remedy
    where one exists. `retryable` says whether the same work may succeed later without anyone's help.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
