"""Removing the results of a clip as dfld wrote them. What a person changed stays, in the workspace and in the manifest.

No later run writes such a face again. Every step may be killed and repeated.
"""

from __future__ import annotations

from dataclasses import replace

from core.files import sync_folder
from engine.results.manifest import Manifest, manifest_path, write_manifest
from engine.results.manifest_lines import ManualChange
from engine.results.manual_changes import LEFT_WHEN_DISCARDED, Survey, survey
from engine.results.own_moves import held_faceset
from engine.workspace.file_names import Layout
from engine.workspace.output_files import as_output_error, remove_file


def clear_results(layout: Layout, *, discard_changes: bool = False) -> Survey:
    """Remove a clip's results as dfld wrote them; keep what a person changed.

    `discard_changes`: what a person changed is removed, too, and every face may be written again; what was added or
    packed stays. May be killed and called again at any moment, either way. Return what was there. Raise OutputError
    when it cannot be done.
    """
    with held_faceset(layout):
        return _clear(layout, discard_changes=discard_changes)


def _clear(layout: Layout, *, discard_changes: bool) -> Survey:
    found = survey(layout, with_earlier_files=discard_changes)
    kept, noted, removable = changes_kept(found, discard_changes), found.changes, found.removable
    if discard_changes:
        noted = tuple(one for one in found.changes if one.kind in LEFT_WHEN_DISCARDED or one.file)
        removable += found.changed_files
    if found.manifest.clearing or removable:
        # From here on, what is missing was taken away by dfld: a kill must not make it look like a person's deletion.
        journal = replace(found.manifest, changes=noted, clearing=True, discarding=discard_changes)
        if journal != found.manifest:
            write_manifest(layout, journal)
    for path in (*removable, layout.preview, layout.log):
        remove_file(path)
    with as_output_error("sync", layout.root):
        for folder in sorted({path.parent for path in removable}):
            sync_folder(folder)
    if kept:
        write_manifest(layout, Manifest(run=None, changes=kept))
    else:
        remove_file(manifest_path(layout))
    return found


def changes_kept(found: Survey, discard_changes: bool) -> tuple[ManualChange, ...]:
    """Return the changes that hold for the run which clears what was found."""
    return tuple(one for one in found.changes if not discard_changes or one.kind in LEFT_WHEN_DISCARDED)
