"""Reference photos that lie inside an inbox: never footage, so that no inbox moves or deletes them.

They come from the configuration (of any inbox), from sidecars that lie in the inbox now, and from the sidecars of its
jobs in the ledger: a sidecar goes away with its video, the photos that it names stay. A sidecar reserves nothing in
other inboxes: whoever may write into one shall not keep footage from another. Reads sidecars, opens no photo.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from daemon.arrivals.first_bytes import Contents
from daemon.arrivals.never_footage import SIDECAR_ENDING
from daemon.arrivals.scan import PassedOver, ScanRules, inside, scan
from daemon.arrivals.settling import Unit
from daemon.config.inbox_rules import references_of_inbox
from daemon.config.load import read_sidecar
from daemon.config.schema import Config
from daemon.errors import ConfigError
from daemon.ledger.ledger import Connection


def references_of_config(config: Config) -> frozenset[Path]:
    """Return every photo and folder of photos that an inbox names."""
    return frozenset(path for inbox in config.inboxes for path in references_of_inbox(inbox))


def references_of_jobs(reader: Connection, inbox: str) -> frozenset[Path]:
    """Return what sidecars of an inbox named when their videos were claimed."""
    rows = reader.execute("SELECT DISTINCT sidecar FROM jobs WHERE sidecar <> '' AND inbox = ?", (inbox,))
    return frozenset(Path(path) for row in rows for path in json.loads(row[0]).get("references", ()))


def references_of_sidecar(sidecar: Path, root: Path) -> frozenset[Path]:
    """Return what one sidecar of the inbox at `root` names; nothing where it has a mistake, which its job reports."""
    try:
        return frozenset(read_sidecar(sidecar, within=[root]).references)
    except ConfigError:
        return frozenset()


def scan_beside_references(
    root: Path,
    rules: ScanRules,
    *,
    read: Callable[[Path, Path], frozenset[Path]] = references_of_sidecar,
    contents: Contents | None = None,
) -> tuple[list[Unit | PassedOver], ScanRules]:
    """Scan an inbox; return what was found, and the rules with what the sidecars in it name. Raise OSError as `scan`.

    A sidecar may lie anywhere, also behind the photos that it names: then the walk is made again without them.
    """
    contents = Contents() if contents is None else contents
    contents.begin_full_scan()
    found = list(scan(root, rules, contents=contents))
    sidecars = [root / one.path for one in found if one.path.endswith(SIDECAR_ENDING) and isinstance(one, PassedOver)]
    named = inside(root, {path for sidecar in sidecars for path in read(sidecar, root)})
    if named <= rules.references:
        return found, rules
    rules = replace(rules, references=rules.references | named)
    return list(scan(root, rules, contents=contents)), rules
