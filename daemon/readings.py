"""What Prometheus reads at each scrape: from the ledger, the disks, the work in hand, and the GPUs; and the names and
versions that stand in labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from daemon.config.schema import Config
from daemon.crew.gpu import gpu_memory_used_bytes, installed_gpus
from daemon.jobs.disk import DiskGuard
from daemon.jobs.kinds.curate import ASIDE, MISSING
from daemon.jobs.kinds.registry import OF_CURATIONS
from daemon.jobs.running_job import Running
from daemon.ledger import jobs as table
from daemon.ledger.ledger import Ledger
from daemon.ledger.totals import totals
from daemon.ledger.transitions import State
from daemon.metrics.catalogue import ASIDE_REASONS, MASK_CHECKS, MASK_SOURCES, OTHER
from daemon.metrics.registry import STATE_TARGET, LabelValues, Names, Reading
from engine.reasons import ACCEPTED, ACCEPTED_IN_VIDEO, NEGATIVE, NO_MATCH, RESCUED, REVIEW_REASONS

QUEUE_STATE = {
    State.QUEUED: "queued",
    State.RUNNING: "running",
    State.WAITING: "retrying",
    State.QUARANTINED: "quarantined",
}
UNCOUNTED_RESULTS = {State.CANCELLED: "cancelled"}
"""Results that no total counts: the jobs that are in this state now."""
JOB_RESULT = {"jobs_done": "done", "jobs_failed": "failed", "jobs_quarantined": "quarantined"}
FACE_OUTCOME = {
    ACCEPTED: "kept",
    ACCEPTED_IN_VIDEO: "kept",
    RESCUED: "rescued",
    **dict.fromkeys(REVIEW_REASONS, "review"),
    NO_MATCH: "no_match",
    NEGATIVE: "no_match",
}
"""The engine's reasons → the label of dfld_faces_total; every other reason is `other`."""


def ledger_reading(ledger: Ledger, settling: Mapping[str, int]) -> Reading:
    """Return counters that outlive restarts, and the queue. `settling`: inbox → files that have not settled."""
    values: defaultdict[str, Counter[LabelValues]] = defaultdict(Counter)
    found = ledger.read(lambda reader: (totals(reader), table.state_counts(reader), table.oldest_queued_s(reader),
                                        table.last_done_s(reader), table.lost_footage(reader)))  # fmt: skip
    counted, states, oldest, last_done, lost = found
    for (inbox, name), value in counted.items():
        if name in JOB_RESULT:
            values["dfld_jobs_total"][inbox, JOB_RESULT[name]] += value  # type: ignore[assignment]
        elif name == "frames_decoded":
            values["dfld_frames_decoded_total"][inbox,] = value  # type: ignore[assignment]
        elif name == "packets_damaged":
            values["dfld_packets_damaged_total"][inbox,] = value  # type: ignore[assignment]
        elif name == "faces_written":
            values["dfld_workspace_faces"][inbox,] = value  # type: ignore[assignment]
        elif name.startswith("faces_"):
            outcome = FACE_OUTCOME.get(name.removeprefix("faces_"), "other")
            values["dfld_faces_total"][inbox, outcome] += value  # type: ignore[assignment]
        elif name.startswith("masks_from_"):
            source = _known(name.removeprefix("masks_from_"), MASK_SOURCES)
            values["dfld_masks_total"][inbox, source] += value  # type: ignore[assignment]
        elif name.startswith("masks_refused_"):
            check = _known(name.removeprefix("masks_refused_"), MASK_CHECKS)
            values["dfld_masks_refused_total"][inbox, check] += value  # type: ignore[assignment]
    for (inbox, state), count in states.items():
        if state in QUEUE_STATE:
            values["dfld_queue_files"][inbox, QUEUE_STATE[state]] = count
        if state in UNCOUNTED_RESULTS:
            values["dfld_jobs_total"][inbox, UNCOUNTED_RESULTS[state]] = count
    for inbox, (files, seconds) in lost.items():
        values["dfld_lost_footage_files"][inbox,] = files
        values["dfld_lost_footage_seconds"][inbox,] = seconds  # type: ignore[assignment]
    for inbox, count in settling.items():
        values["dfld_queue_files"][inbox, "settling"] = count
    for inbox, counts in ledger.read(lambda reader: table.counts_of_done(reader, OF_CURATIONS.name)).items():
        values["dfld_missing_poses"][inbox,] = counts.get(MISSING, 0)
        for name, count in counts.items():
            if name.startswith(ASIDE):
                values["dfld_faces_aside"][inbox, _known(name.removeprefix(ASIDE), ASIDE_REASONS)] += count
    readings: dict[str, Mapping[LabelValues, float]] = dict(values)
    readings["dfld_oldest_queued_timestamp_seconds"] = {(inbox,): when for inbox, when in oldest.items()}
    readings["dfld_last_job_success_timestamp_seconds"] = {(inbox,): when for inbox, when in last_done.items()}
    return readings


def _known(value: str, labels: Sequence[str]) -> str:
    """Return a value as a label of a metric: itself where the metric has it."""
    return value if value in labels else OTHER


def disk_reading(config: Config, guard: DiskGuard, ledger: Ledger) -> Reading:
    """Return what is free where, and the ledger's size."""
    targets = {inbox.name: inbox.workspace for inbox in config.inboxes}
    rooms = {name: guard.room(path) for name, path in {**targets, STATE_TARGET: config.service.state_dir}.items()}
    return {
        "dfld_disk_free_bytes": {(name,): room.free_bytes for name, room in rooms.items()},
        "dfld_disk_reserve_bytes": {(name,): room.reserve_bytes for name, room in rooms.items()},
        "dfld_ledger_size_bytes": {(): ledger.path.stat().st_size},
    }


def progress_reading(running: Sequence[Running]) -> Reading:
    """Return how far the running jobs are."""
    ratios: dict[LabelValues, float] = {
        (one.inbox,): min(1.0, one.frames_done / one.frames_total) if one.frames_total else 0.0 for one in running
    }
    return {"dfld_job_progress_ratio": ratios}


def gpu_reading() -> Reading:
    """Return the memory in use on the GPUs, where there are any."""
    used = gpu_memory_used_bytes(installed_gpus())
    return {} if used is None else {"dfld_gpu_memory_used_bytes": {(): used}}


def installed(*packages: str) -> str:
    """Return the version of the first of these packages that is installed, with its name where there is a choice."""
    for package in packages:
        with suppress(PackageNotFoundError):
            return f"{package} {version(package)}" if len(packages) > 1 else version(package)
    return ""


def names_of(config: Config) -> Names:
    """Return the names of the configuration that may stand in labels."""
    return Names(
        inboxes=tuple(inbox.name for inbox in config.inboxes),
        machines=tuple(machine.name for machine in config.machines),
        models=tuple(sync.name for sync in config.syncs),
        machines_of={sync.name: sync.machines for sync in config.syncs},
    )
