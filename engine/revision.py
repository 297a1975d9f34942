"""Which result an extraction has, as a number: work that a dfld of another number left half done starts over."""

EXTRACTION_REVISION = 2
"""Raise it by one in the commit that changes which faces are found, kept or how they are written, for any settings: a
rule, a limit, a default of a setting, the geometry or the encoding. Nothing else raises it: a faster or clearer
program goes on where an older one stopped, also across versions (daemon.worker.basis). tests/engine/test_revision.py
fails where a change was forgotten here."""
