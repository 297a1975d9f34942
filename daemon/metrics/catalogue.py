"""Every metric of dfld, declared once: name, kind, labels with their values, meaning, and who fills it.

Labels come from the configuration (inbox, machine, model, target) or from the fixed lists here; never a path, a
file name or the text of an error. `filled_by` names the reader that is asked at each scrape; metrics without
one are moved by the daemon as things happen. Counters that must survive a restart are read from the ledger.
docs/metrics.md is this table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.boundary import BOUNDARY_KINDS

Kind = Literal["counter", "gauge", "histogram"]
Reader = Literal["ledger", "disk", "progress", "gpu"]

FROM_CONFIG = ("inbox", "machine", "model", "target")
"""Labels whose values are the names in the configuration; target = an inbox's filesystem, or `state`."""
OTHER = "other"
"""What a value outside a fixed list is counted as."""

JOB_RESULTS = ("done", "failed", "quarantined", "cancelled")
FILE_OUTCOMES = ("taken", "duplicate")
FACE_OUTCOMES = ("kept", "rescued", "review", "no_match", OTHER)
RETRY_REASONS = ("no_space", "io", "memory", "gpu", "worker", "changed", OTHER)
WORKER_EXITS = ("recycled", "crashed", "no_progress", "memory", "stopped")
STAGES = (
    *("decode", "convert", "detect", "follow", "landmarks", "recognise"),
    *("measure", "align", "encode", "write", OTHER),
)
STAGE_QUEUES = ("decoded", "faces")
MASK_SOURCES = ("polygons", "xseg", "parser", "intersect", "union", "hull", OTHER)
MASK_CHECKS = (
    *("hull", "area", "overlap", "offset", "largest_part", "parts", "centres", "outside", "holes", "hole_count"),
    *("filled", OTHER),
)
ASIDE_REASONS = (
    *("landmarks_unsure", "cut_off", "occluded", "too_small", "too_dark", "too_flat", "blurred", "motion_blur"),
    *("near_duplicate", "over_budget", "decided", OTHER),
)
QUEUE_STATES = ("settling", "queued", "running", "retrying", "quarantined")
ROUND_OUTCOMES = ("averaged", "initialised", "rolled_back", "held", "aborted", "undone", OTHER)
CONNECTION_RESULTS = ("ok", "failed", "host_key")
DIRECTIONS = ("pull", "push")
PAUSE_REASONS = ("operator", "disk", "drain", OTHER)
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
WATCH_MODES = ("events", "poll")


@dataclass(frozen=True)
class MetricSpec:
    """One metric family."""

    name: str
    """As Prometheus shows it; counters end in `_total`."""
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label → its fixed values; empty = the names in the configuration."""
    buckets: tuple[float, ...] = ()
    filled_by: Reader | None = None
    always: bool = True
    """Every combination of labels has a series from the start; False = a series appears once it has a value."""


def _counter(
    name: str, text: str, filled_by: Reader | None = None, *, always: bool = True, **labels: tuple[str, ...]
) -> MetricSpec:
    return MetricSpec(name, "counter", text, labels, filled_by=filled_by, always=always)


def _gauge(
    name: str, text: str, filled_by: Reader | None = None, *, always: bool = True, **labels: tuple[str, ...]
) -> MetricSpec:
    return MetricSpec(name, "gauge", text, labels, filled_by=filled_by, always=always)


def _histogram(name: str, text: str, buckets: tuple[float, ...], **labels: tuple[str, ...]) -> MetricSpec:
    return MetricSpec(name, "histogram", text, labels, buckets=buckets)


WATCHING = (
    _gauge("dfld_inbox_up", "1 while the folder of the inbox is there and watched.", inbox=()),
    _gauge("dfld_inbox_watch_mode", "1 for the way the inbox is watched.", always=False, inbox=(), mode=WATCH_MODES),
    _counter("dfld_watch_events_total", "Files that events pointed at, to be looked at sooner.", inbox=()),
    _counter("dfld_watch_overflows_total", "Times the kernel's event queue overflowed; each starts a full scan."),
    _counter("dfld_watch_restarts_total", "Times an inbox was suspended or its watch was set up anew.", inbox=()),
    _counter("dfld_scans_total", "Full scans of an inbox.", inbox=()),
    _gauge("dfld_scan_duration_seconds", "How long the last full scan took.", inbox=()),
    _gauge("dfld_last_scan_success_timestamp_seconds", "When the last full scan ended well; 0 = never.", inbox=()),
    _counter("dfld_files_seen_total", "Settled files by what became of them.", inbox=(), outcome=FILE_OUTCOMES),
)

EXTRACTION = (
    _counter("dfld_jobs_total", "Jobs that ended, by result.", "ledger", inbox=(), result=JOB_RESULTS),
    _counter("dfld_job_retries_total", "Jobs put back after a failure that may pass.", reason=RETRY_REASONS),
    _counter("dfld_jobs_resumed_total", "Jobs that went on at their cursor."),
    _counter("dfld_frames_decoded_total", "Frames decoded in committed work.", "ledger", inbox=()),
    _counter("dfld_packets_damaged_total", "Damaged packets that were skipped.", "ledger", inbox=()),
    _gauge(
        "dfld_lost_footage_files",
        "Sources that lack footage and have no whole copy yet; no series while none does.",
        "ledger",
        always=False,
        inbox=(),
    ),
    _gauge(
        "dfld_lost_footage_seconds",
        "How much footage is known to be missing in them.",
        "ledger",
        always=False,
        inbox=(),
    ),
    _counter(
        "dfld_faces_total",
        "Faces by what became of them; one that its clip's end judges anew counts under both.",
        "ledger",
        inbox=(),
        outcome=FACE_OUTCOMES,
    ),
    _counter("dfld_stage_seconds_total", "Time spent in each stage of the pipeline.", stage=STAGES),
    _counter(
        "dfld_queue_fill_seconds_total",
        "Part of the room taken in a queue between stages, times seconds: its rate is the mean fill, 0 to 1.",
        queue=STAGE_QUEUES,
    ),
    _counter("dfld_worker_exits_total", "Ends of child processes that extract.", reason=WORKER_EXITS),
    _histogram("dfld_job_duration_seconds", "From the start of a job to its end.", (300.0, 3600.0, 21600.0), inbox=()),
    _histogram("dfld_file_wait_seconds", "From the arrival of a file to its start.", (60.0, 600.0, 7200.0), inbox=()),
    _histogram("dfld_face_similarity_ratio", "Similarity of faces to the reference.", (0.2, 0.35, 0.5, 0.7), inbox=()),
    _gauge("dfld_queue_files", "Files by state.", "ledger", inbox=(), state=QUEUE_STATES),
    _gauge(
        "dfld_oldest_queued_timestamp_seconds",
        "Arrival of the oldest waiting file; no series while none waits.",
        "ledger",
        always=False,
        inbox=(),
    ),
    _gauge("dfld_job_progress_ratio", "How far the running job is, 0 to 1; 0 while none runs.", "progress", inbox=()),
    _gauge("dfld_last_frame_timestamp_seconds", "When the last frame was worked off; 0 = never.", inbox=()),
    _gauge("dfld_last_job_success_timestamp_seconds", "When the last job was done; 0 = never.", "ledger", inbox=()),
    _gauge("dfld_workspace_faces", "Faces that the ledger knows in the workspace.", "ledger", inbox=()),
)

FACESETS = (
    _counter(
        "dfld_masks_total",
        "Masks put into faces, by the source that made them; no series before the first.",
        "ledger",
        always=False,
        inbox=(),
        source=MASK_SOURCES,
    ),
    _counter(
        "dfld_masks_refused_total",
        "Predicted masks that were not taken, by the check that they failed; no series before the first.",
        "ledger",
        always=False,
        inbox=(),
        check=MASK_CHECKS,
    ),
    _gauge(
        "dfld_faces_aside",
        "Faces that the last curation set aside, by reason; no series while there is none.",
        "ledger",
        always=False,
        inbox=(),
        reason=ASIDE_REASONS,
    ),
    _gauge(
        "dfld_missing_poses",
        "Poses that the faces lack, after the last curation; no series while there is none.",
        "ledger",
        always=False,
        inbox=(),
    ),
)

ROUNDS = (
    _counter("dfld_rounds_total", "Rounds by outcome.", "ledger", model=(), outcome=ROUND_OUTCOMES),
    _counter("dfld_round_polls_failed_total", "Polls for a due round that failed.", model=()),
    _histogram("dfld_round_duration_seconds", "From plan to close.", (30.0, 120.0, 600.0, 3600.0), model=()),
    _gauge(
        "dfld_round_last_success_timestamp_seconds", "When the last average was pushed; 0 = never.", "ledger", model=()
    ),
    _gauge("dfld_round_quorum", "Machines that must agree.", model=()),
    _gauge("dfld_round_contributors", "Machines in the last average.", "ledger", model=()),
    _gauge("dfld_round_spread_ratio", "How far the machines were apart in the last round.", always=False, model=()),
    _gauge(
        "dfld_machine_drift_ratio",
        "How far a machine had moved since the round before.",
        always=False,
        model=(),
        machine=(),
    ),
    _gauge("dfld_machine_up", "1 while the last poll of the machine succeeded.", machine=()),
    _gauge("dfld_machine_iterations", "Iterations that the machine's model has.", always=False, model=(), machine=()),
    _gauge(
        "dfld_machine_saved_timestamp_seconds",
        "When the machine last saved the model.",
        always=False,
        model=(),
        machine=(),
    ),
    _counter("dfld_machine_connections_total", "Connections to a machine.", machine=(), result=CONNECTION_RESULTS),
    _counter("dfld_transfer_bytes_total", "Model bytes moved.", machine=(), direction=DIRECTIONS),
    _counter("dfld_transfer_seconds_total", "Time spent moving them.", machine=(), direction=DIRECTIONS),
    _counter(
        "dfld_trainer_paused_seconds_total",
        "Time that a trainer stood still for rounds, until it iterated again, or trained what was thrown away.",
        machine=(),
    ),
)

SYSTEM = (
    _gauge("dfld_ready", "1 while every check of /readyz is good."),
    _gauge("dfld_paused", "1 while work is paused for this reason.", reason=PAUSE_REASONS),
    _gauge("dfld_disk_free_bytes", "Free space where this target is written.", "disk", target=()),
    _gauge("dfld_disk_reserve_bytes", "Space that is left free there.", "disk", target=()),
    _gauge("dfld_ledger_size_bytes", "Size of the ledger.", "disk"),
    _gauge("dfld_gpu_memory_used_bytes", "Memory in use on all GPUs, by all programs.", "gpu", always=False),
    _gauge("dfld_config_last_reload_success", "1 if the configuration was taken at the last start or reload."),
    _gauge("dfld_config_last_reload_timestamp_seconds", "When it was taken."),
    _counter("dfld_config_reloads_total", "Reloads by result.", result=("applied", "refused")),
    _counter("dfld_hook_calls_total", "Hooks by result.", result=("ok", "failed", "timeout", "dropped")),
    _counter("dfld_log_messages_total", "Log lines by level.", level=LOG_LEVELS),
    _counter(
        "dfld_unforeseen_errors_total",
        "Errors that nobody foresaw: one job, round, request or turn of a thread failed; the log has the traceback.",
        boundary=BOUNDARY_KINDS,
    ),
    _counter("dfld_clock_jumps_total", "Times that the wall clock jumped: suspend, or a step."),
)

CATALOGUE: tuple[MetricSpec, ...] = (*WATCHING, *EXTRACTION, *FACESETS, *ROUNDS, *SYSTEM)

BUILD_INFO = MetricSpec(
    "dfld_build_info",
    "gauge",
    "1; the versions that run.",
    {"version": (), "python": (), "onnxruntime": ()},
)
COLLECTOR_SUCCESS = MetricSpec(
    "dfld_collector_success", "gauge", "1 while this reader answered the last scrape.", {"collector": ()}
)


def metrics_page() -> str:
    """Return docs/metrics.md: every metric, one a row."""
    table = "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *_table_rows()])
    return f"# Metrics\n\n{_PAGE_HEAD}\n\n{table}\n"


def _table_rows() -> Iterator[str]:
    for spec in (*CATALOGUE, BUILD_INFO, COLLECTOR_SUCCESS):
        labels = ", ".join(f"{name} ({', '.join(values)})" if values else name for name, values in spec.labels.items())
        yield f"| `{spec.name}` | {spec.kind} | {labels} | {spec.help} |"


_PAGE_HEAD = """
What `/metrics` serves (default http://127.0.0.1:9770/metrics). Counters of jobs, frames, faces and rounds come from the
ledger and go on after a restart. `inbox`, `machine` and `model` are the names in config.toml, `target` is an inbox
or `state`; there is never a path or a file name in a label. This table is generated: `make docs`.
""".strip()
