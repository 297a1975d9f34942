"""dfld doctor: the folders of the configuration. Permissions, mounts, file events, and space."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from daemon.arrivals.mounts import network_filesystem
from daemon.arrivals.roots import Root, inspect_root, trouble_with
from daemon.config.schema import Config, InboxConfig
from daemon.config.values import format_size
from daemon.doctor.diagnosis import Diagnosis, ok, problem, warning
from daemon.jobs.disk import ask_space, gib, reserve_of

INOTIFY = Path("/proc/sys/fs/inotify")
FOLDERS_COUNTED_MAX = 200_000
"""Counting goes on no further: more than any limit allows."""
WATCHES_SHARE_WARNED = 0.5
"""Other programs of the same user watch folders too."""
WHO = "give it to the user that runs dfld: chown -R dfld:dfld"


def examine_folders(config: Config) -> Iterator[Diagnosis]:
    """Can every folder be used as the configuration means to? Is it what it should be, and private?"""
    yield from _written_folder("state folder", config.service.state_dir)
    for inbox in config.inboxes:
        subject = f"inbox {inbox.name}"
        yield from _inbox_folder(subject, inbox, config)
        yield from _written_folder(subject, inbox.workspace)
        kind = network_filesystem(inbox.workspace)
        if kind:
            yield warning(
                subject,
                f"the workspace {inbox.workspace} is on a network filesystem ({kind}): each face is written and "
                "synced over the network",
                "a workspace on a local disk is faster and safer; copy it when it is done",
            )
        for folder in (inbox.done_dir if inbox.on_done == "move" else None, inbox.quarantine_dir):
            if folder is not None:
                yield from _written_folder(subject, folder)
        yield from _references(subject, inbox)


def examine_watches(config: Config) -> Iterator[Diagnosis]:
    """Are there enough inotify watches for the folders of all inboxes that are watched by events?"""
    watched = [inbox for inbox in config.inboxes if _by_events(inbox, config)]
    if not watched:
        return
    try:
        watches = int((INOTIFY / "max_user_watches").read_text())
        instances = int((INOTIFY / "max_user_instances").read_text())
    except (OSError, ValueError):
        yield warning("file events", f"{INOTIFY} cannot be read", "scans still find every file, only later")
        return
    folders = sum(count_folders(inbox.path, recursive=inbox.recursive) for inbox in watched)
    yield judge_watches(folders=folders, inboxes=len(watched), watches=watches, instances=instances)


def judge_watches(*, folders: int, inboxes: int, watches: int, instances: int) -> Diagnosis:
    """Given what is to be watched and what the kernel allows a user, say whether it fits. Pure."""
    found = f"folders to watch: {folders}, allowed: {watches} (fs.inotify.max_user_watches)"
    if inboxes >= instances:
        return problem(
            "file events",
            f"inboxes to watch: {inboxes}, allowed: {instances} (fs.inotify.max_user_instances)",
            f"sysctl fs.inotify.max_user_instances={inboxes * 2 + 128}, and a line in /etc/sysctl.d to keep it; "
            'or mode = "poll"',
        )
    remedy = (
        f'sysctl fs.inotify.max_user_watches={folders * 4}, and a line in /etc/sysctl.d to keep it; or mode = "poll"'
    )
    if folders >= watches:
        return problem("file events", f"{found}: the rest is found by scans alone", remedy)
    if folders > watches * WATCHES_SHARE_WARNED:
        return warning("file events", found, remedy)
    return ok("file events", found)


def count_folders(path: Path, *, recursive: bool) -> int:
    """Count the folders that are watched for an inbox; symbolic links are not followed."""
    if not recursive:
        return 1
    count = 0
    for _folder, _names, _files in os.walk(path):
        count += 1
        if count >= FOLDERS_COUNTED_MAX:
            break
    return count


def examine_disks(config: Config) -> Iterator[Diagnosis]:
    """Is there more space than the reserve on every filesystem that is written to? One diagnosis a filesystem."""
    seen = set()
    for target in (config.service.state_dir, *(inbox.workspace for inbox in config.inboxes)):
        try:
            space = ask_space(target)
        except OSError as error:
            yield problem("disk", f"the filesystem of {target} does not answer: {error.strerror}", "look at its mount")
            continue
        if space.device in seen:
            continue
        seen.add(space.device)
        yield judge_space(
            target,
            free_bytes=space.free_bytes,
            total_bytes=space.total_bytes,
            reserve_bytes=reserve_of(space, config.disk),
            margin_bytes=config.disk.resume_margin_bytes,
        )


def judge_space(target: Path, *, free_bytes: int, total_bytes: int, reserve_bytes: int, margin_bytes: int) -> Diagnosis:
    """Given what a filesystem has and what stays free there, say whether work can go on. Pure."""
    found = f"{target}: {gib(free_bytes)} free, {gib(reserve_bytes)} stay free ([disk] reserve)"
    if reserve_bytes + margin_bytes > total_bytes:
        return problem(
            "disk",
            f"{found}, but the filesystem has {gib(total_bytes)}: a pause would never end",
            f"lower [disk] reserve and resume_margin below {format_size(total_bytes // 4 >> 20 << 20)} together",
        )
    if free_bytes < reserve_bytes:
        return problem("disk", f"{found}: work pauses", "free space, or lower [disk] reserve")
    if free_bytes < reserve_bytes + margin_bytes:
        return warning("disk", f"{found}: work pauses soon", "free space; dfld removes nothing by itself")
    return ok("disk", found)


def _inbox_folder(subject: str, inbox: InboxConfig, config: Config) -> Iterator[Diagnosis]:
    now = inspect_root(inbox.path)
    trouble = trouble_with(None, now, require_mount=inbox.require_mount)
    if trouble or not isinstance(now, Root):
        words = {"missing": "is not there", "not_mounted": "is not a mounted filesystem (require_mount = true)"}
        yield problem(
            subject,
            f"{inbox.path} {words.get(trouble, 'cannot be read')}",
            f"mkdir -p {inbox.path}" if trouble == "missing" else f"mount it; or {WHO} {inbox.path}",
        )
        return
    kind = network_filesystem(inbox.path)
    mode = inbox.mode or config.watch.mode
    if now.read_only:
        yield warning(
            subject,
            f"{inbox.path} is read-only: originals stay where they are, failed ones are remembered in the ledger alone",
            f"{WHO} {inbox.path}; or leave it if it is meant so",
        )
    if kind and mode == "events":
        yield warning(
            subject,
            f"{inbox.path} is on a network filesystem ({kind}), where events do not report other computers' files",
            f'mode = "auto" or "poll"; scans find them every {config.watch.rescan_every_s:.0f} s anyway',
        )
    elif kind:
        yield ok(subject, f"{inbox.path} can be read; it is on {kind} and scanned, not watched")
    else:
        yield ok(subject, f"{inbox.path} can be read")


def _references(subject: str, inbox: InboxConfig) -> Iterator[Diagnosis]:
    bad = [path for _, _, path in inbox.photos if not os.access(path, os.R_OK)]
    for path in bad:
        state = "cannot be read" if os.path.lexists(path) else "is not there"
        yield problem(
            subject, f"the reference {path} {state}", "put photos there, readable for the user that runs dfld"
        )
    if not bad:
        yield ok(subject, "its references can be read; dfld reference says which photos are of use")


def _written_folder(subject: str, path: Path) -> Iterator[Diagnosis]:
    """Try the folder, or the nearest one above it that exists, by writing a nameless file."""
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield problem(subject, f"{there} cannot be written: {error.strerror}", f"{WHO} {there}")
        return
    if there != path:
        yield ok(subject, f"{path} will be made")
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IRWXO:
        yield warning(
            subject,
            f"{path} is open to every user of this computer (mode {mode:04o}); what dfld makes of people is private",
            f"chmod o= {path}",
        )
    else:
        yield ok(subject, f"{path} can be written (mode {mode:04o})")


def _by_events(inbox: InboxConfig, config: Config) -> bool:
    mode = inbox.mode or config.watch.mode
    return mode == "events" or (mode == "auto" and network_filesystem(inbox.path) is None)
