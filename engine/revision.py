"""Which result an extraction has, as a number: work that a dfld of another number left half done starts over."""

from __future__ import annotations

from engine.types import ExtractSettings

EXTRACTION_REVISION = 2
"""Raise it by one in the commit that changes which faces are found, kept or how they are written, for any settings: a
rule, a limit, a default of a setting, the geometry or the encoding. Nothing else raises it: a faster or clearer
program goes on where an older one stopped, also across versions (daemon.worker.basis). tests/engine/test_revision.py
fails where a change was forgotten here."""
_OF_SHARPNESS = 2
"""It measures sharpness in another way, which decides nothing but what `revision_of` asks for. The log of a clip that
goes on across it has numbers of both."""


def revision_of(settings: ExtractSettings) -> int:
    """Return the last revision that changed the faces which these settings make."""
    sharpness_decides = settings.keep == "varied" or settings.only_fit_to_train
    return 1 if EXTRACTION_REVISION == _OF_SHARPNESS and not sharpness_decides else EXTRACTION_REVISION
