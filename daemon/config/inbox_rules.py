"""The rules by which the files of one inbox are found and judged, made from its configuration.

One place for the service, for what looks at a job's file again, and for `dfld scan --dry-run`: they never differ.
"""

from __future__ import annotations

import os
from pathlib import Path

from daemon.arrivals.roots import COMPRESSING_FILESYSTEMS
from daemon.arrivals.scan import ScanRules, inside
from daemon.arrivals.settling import SPARSE_RATIO, GateRules
from daemon.config.schema import InboxConfig, WatchConfig


def scan_rules(inbox: InboxConfig, watch: WatchConfig, references: frozenset[Path] = frozenset()) -> ScanRules:
    """Return which files of an inbox are looked at.

    `references`: photos that others name, beside those of the inbox itself: other inboxes, sidecars.
    """
    own = frozenset(os.path.abspath(folder) for folder in (inbox.done_folder, inbox.quarantine_folder))  # noqa: PTH100
    photos = inside(inbox.path, references | frozenset(references_of_inbox(inbox)))
    return ScanRules(inbox.recursive, tuple(watch.ignore), own, photos, watch.done_marker, inbox.link_targets)


def gate_rules(watch: WatchConfig, filesystem: str) -> GateRules:
    """Return when a file is complete. `filesystem`: the type of the one that the inbox lies on; "" = unknown."""
    compresses = filesystem in COMPRESSING_FILESYSTEMS
    return GateRules(watch.stable_for_s, watch.done_marker, 0.0 if compresses else SPARSE_RATIO)


def references_of_inbox(inbox: InboxConfig) -> tuple[Path, ...]:
    """Return every photo and folder of photos that the configuration of an inbox names."""
    return tuple(path for _, _, path in inbox.photos)
