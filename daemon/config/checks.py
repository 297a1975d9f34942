"""What must hold between the keys of a configuration, and between it and the folders on this disk.

Each check yields findings: a path of keys, what was found, what was expected. Given one Config they do not change
it. Not for the type or range of one key: that is `daemon.config.schema`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from core.opening import real_path
from daemon.arrivals.mounts import network_filesystem
from daemon.config.schema import Config, InboxConfig
from daemon.config.sync_tables import MachineConfig, SyncConfig
from daemon.config.words import Finding, shown
from sync.trainers.control import CONTROL_MODES

NEED_XSEG = ("xseg", "intersect", "union")
"""Sources of [inbox.masks] that cannot do without a model of XSeg."""
NEED_PARSER = ("parser", "intersect", "union")
MACHINES_FOR_TRIMMED = 5
"""A trimmed mean leaves out the highest and the lowest; with fewer than five too little is left."""


def check_keys(config: Config) -> Iterator[Finding]:
    """Given a configuration whose keys are right one by one, yield what is wrong between them."""
    yield from _unique("inbox", "name", [inbox.name for inbox in config.inboxes])
    yield from _unique("inbox", "path", [str(inbox.path) for inbox in config.inboxes])
    yield from _unique("machine", "name", [machine.name for machine in config.machines])
    yield from _unique("sync", "name", [f"{sync.name} {sync.model_class}" for sync in config.syncs])
    yield from _folders(config)
    yield from _one_clip_a_workspace(config)
    yield from _references_apart(config)
    for index, inbox in enumerate(config.inboxes):
        if config.require_consent and not inbox.consent.strip():
            yield Finding(("inbox", index, "consent"), "", "a sentence, because require_consent = true")
        yield from _masks(index, inbox)
    for index, machine in enumerate(config.machines):
        yield from _machine(index, machine)
    for index, sync in enumerate(config.syncs):
        yield from _sync(index, sync, {machine.name for machine in config.machines})
    for index, hook in enumerate(config.hooks):
        if bool(hook.url) == bool(hook.command):
            found = "both url and command" if hook.url else ""
            yield Finding(("hook", index), found, "either url or command")
    if config.retry.max_delay_s < config.retry.first_delay_s:
        yield Finding(("retry", "max_delay"), "a shorter time than first_delay", "first_delay or longer")


def check_files(config: Config) -> Iterator[Finding]:
    """Yield the reference photos and model folders that the configuration names and the disk does not have."""
    for index, inbox in enumerate(config.inboxes):
        for key, place, path in inbox.photos:
            if not _exists(path):
                yield Finding(("inbox", index, key, place), str(path), "a photo or folder that exists and can be read")


def warnings(config: Config) -> Iterator[str]:
    """Yield what is no error but will surprise."""
    kind = network_filesystem(config.service.state_dir)
    if kind:
        yield (
            f"service.state_dir {config.service.state_dir} is on a network filesystem ({kind}): "
            "SQLite's locks do not hold there; put it on a local disk"
        )
    if config.http.address is not None and config.http.address[0] not in ("127.0.0.1", "::1", "localhost"):
        yield f"http.listen {config.http.listen} can be reached from other machines; there is no password"
    for index, inbox in enumerate(config.inboxes):
        for key, _, path in inbox.photos:
            for other_index, other in enumerate(config.inboxes):
                if real_path(path).is_relative_to(real_path(other.path)):
                    what = "nothing in it is" if os.path.isdir(path) else "neither it nor images beside it are"  # noqa: PTH112
                    place = f"inbox[{other_index + 1}] {other.path}"
                    yield f"inbox[{index + 1}].{key} {path} lies in {place}: {what} taken as footage"
    for machine in config.machines:
        if not CONTROL_MODES[machine.control].is_steered and not machine.status:
            yield (
                f'machine {machine.name} has control = "none" and no `status`: weights are pushed to it only where its '
                "process list proves that no trainer runs, or with --trainers-are-stopped; set `status`"
            )
    if not config.inboxes and not config.syncs:
        yield "there is no [[inbox]] and no [[sync]]: nothing to do"


def _unique(table: str, key: str, values: list[str]) -> Iterator[Finding]:
    counts = Counter(values)
    seen: set[str] = set()
    for index, value in enumerate(values):
        if counts[value] > 1 and value in seen:
            first = values.index(value) + 1
            yield Finding((table, index, key), value, f"another {key} than {table}[{first}] has")
        seen.add(value)


def _folders(config: Config) -> Iterator[Finding]:
    for index, inbox in enumerate(config.inboxes):
        for other_index, other in enumerate(config.inboxes):
            yield from _inbox_and_workspace(index, inbox, other_index, other)
            here, there = real_path(inbox.path), real_path(other.path)
            if index != other_index and inbox.path != other.path and here.is_relative_to(there):
                yield Finding(
                    ("inbox", index, "path"), str(inbox.path), f"a folder outside inbox[{other_index + 1}] {other.path}"
                )
        for key, folder in (("done_dir", inbox.done_dir), ("quarantine_dir", inbox.quarantine_dir)):
            if folder is not None and real_path(folder) == real_path(inbox.path):
                yield Finding(("inbox", index, key), str(folder), "another folder than the inbox itself")
        if _overlap(config.service.state_dir, inbox.path):
            yield Finding(
                ("inbox", index, "path"),
                str(inbox.path),
                f"a folder apart from the state in {config.service.state_dir}",
            )


def _one_clip_a_workspace(config: Config) -> Iterator[Finding]:
    """Frames of role dst are named by number alone, as the merger wants them: two clips would mix."""
    first: dict[Path, int] = {}
    for index, inbox in enumerate(config.inboxes):
        if inbox.role == "dst" and (other := first.setdefault(real_path(inbox.workspace), index)) != index:
            expected = f"another workspace than inbox[{other + 1}] has: with role dst, one holds one clip"
            yield Finding(("inbox", index, "workspace"), str(inbox.workspace), expected)


def _references_apart(config: Config) -> Iterator[Finding]:
    """A folder of photos that holds an inbox: all that arrives there would be reference photos, and none footage."""
    for index, inbox in enumerate(config.inboxes):
        for key, place, path in inbox.photos:
            for other_index, other in enumerate(config.inboxes):
                if real_path(other.path).is_relative_to(real_path(path)):
                    expected = (
                        f"photos, or a folder of them, that inbox[{other_index + 1}] {other.path} does not lie in"
                    )
                    yield Finding(("inbox", index, key, place), str(path), expected)


def _inbox_and_workspace(index: int, inbox: InboxConfig, other_index: int, other: InboxConfig) -> Iterator[Finding]:
    if not _overlap(inbox.path, other.workspace):
        return
    place = f"inbox[{other_index + 1}]"
    if real_path(inbox.path).is_relative_to(real_path(other.workspace)):
        yield Finding(("inbox", index, "path"), str(inbox.path), f"a folder outside the workspace of {place}")
    else:
        yield Finding(
            ("inbox", other_index, "workspace"),
            str(other.workspace),
            f"a folder outside inbox[{index + 1}] {inbox.path}",
        )


def _masks(index: int, inbox: InboxConfig) -> Iterator[Finding]:
    masks = inbox.masks
    if masks.xseg_model is None and masks.source in NEED_XSEG:
        found = ("inbox", index, "masks", "xseg_model")
        yield Finding(found, "", f'the folder of an XSeg model, because source = "{masks.source}"')
    if masks.parser is None and masks.source in NEED_PARSER:
        found = ("inbox", index, "masks", "parser")
        yield Finding(found, "", f'the file of a face parser, because source = "{masks.source}"')


def _machine(index: int, machine: MachineConfig) -> Iterator[Finding]:
    if machine.transfer != "local":
        if not machine.user:
            yield Finding(("machine", index, "user"), "", "whom to log in as over SSH")
        if machine.key is None:
            yield Finding(("machine", index, "key"), "", "a private key file, or credential:NAME")
    for key in CONTROL_MODES[machine.control].missing(lambda name: str(getattr(machine, name))):
        yield Finding(("machine", index, key), "", f'a command, because control = "{machine.control}"')


def _sync(index: int, sync: SyncConfig, machines: set[str]) -> Iterator[Finding]:
    for place, name in enumerate(sync.machines):
        if name not in machines:
            known = ", ".join(sorted(machines)) or "none"
            yield Finding(("sync", index, "machines", place), shown(name), f"the name of a [[machine]] ({known})")
        if name in sync.machines[:place]:
            yield Finding(("sync", index, "machines", place), shown(name), "each machine once")
    if sync.quorum > len(sync.machines):
        expected = f"at most the {len(sync.machines)} machines of this sync"
        yield Finding(("sync", index, "quorum"), str(sync.quorum), expected)
    if sync.rule == "trimmed" and len(sync.machines) < MACHINES_FOR_TRIMMED:
        expected = f'"mean" or "median" with fewer than {MACHINES_FOR_TRIMMED} machines'
        yield Finding(("sync", index, "rule"), '"trimmed"', expected)
    if sync.limits.spread_warn > sync.limits.spread_max:
        expected = f"at most spread_max, {sync.limits.spread_max:g}"
        yield Finding(("sync", index, "limits", "spread_warn"), f"{sync.limits.spread_warn:g}", expected)
    yield from _stages(index, sync)


def _stages(index: int, sync: SyncConfig) -> Iterator[Finding]:
    names = [stage.name for stage in sync.stages]
    yield from (
        Finding(("sync", index, "stage", place, "name"), name, "each stage once")
        for place, name in enumerate(names)
        if name in names[:place]
    )
    later = sync.stages[1:]
    for place, stage in enumerate(sync.stages):
        if stage.from_iteration is not None and stage.below_loss is not None:
            path = ("sync", index, "stage", place)
            yield Finding(path, "both from_iteration and below_loss", "one of them, or neither")
    by_iteration = sum(stage.from_iteration is not None for stage in later)
    by_loss = sum(stage.below_loss is not None for stage in later)
    if by_iteration not in (0, len(later)) or by_loss not in (0, len(later)):
        expected = "from_iteration in every stage after the first, or below_loss in every one, or neither"
        yield Finding(("sync", index, "stage"), "a mixture", expected)


def _overlap(one: Path, other: Path) -> bool:
    one, other = real_path(one), real_path(other)
    return one.is_relative_to(other) or other.is_relative_to(one)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
