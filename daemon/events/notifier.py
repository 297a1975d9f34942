"""Hands an event to the log, the metrics and the hooks, each by the event's type."""

from __future__ import annotations

import logging
import time

from daemon.events.event import Event
from daemon.events.hooks import HookRunner
from daemon.events.inbox_events import (
    FileClaimed,
    InboxHinted,
    InboxOverflow,
    InboxRearmed,
    InboxScanned,
    InboxSuspended,
)
from daemon.events.job_events import JobCommitted, JobDone, JobResumed, JobStarted, JobWaits
from daemon.events.service_events import ClockJumped, ConfigReloaded, WorkerEnded, WorkerReplaced
from daemon.log import fields
from daemon.metrics.registry import Metrics

log = logging.getLogger("dfld")

RETRY_REASON = {
    "no_space": "no_space",
    "disk_error": "io",
    "source_unavailable": "io",
    "too_many_files": "io",
    "memory": "memory",
    "gpu": "gpu",
    "worker_died": "worker",
    "worker_hung": "worker",
    "worker_start": "worker",
    "changed": "changed",
    "incomplete": "changed",
}
"""A job's reason → the label of dfld_job_retries_total."""
WORKER_EXIT = {"memory": "memory", "gpu": "memory"}
"""Why a worker was ended → the label of dfld_worker_exits_total; those of the same name are not listed."""
STAGE = {"write files": "write", "write frames": "write"}
"""The engine's stages → the label of dfld_stage_seconds_total; those of the same name are not listed."""


class Notifier:
    """Writes each event to the log, moves the metrics, calls the hooks. Called from any thread."""

    def __init__(self, metrics: Metrics, hooks: HookRunner) -> None:
        self._metrics = metrics
        self._hooks = hooks

    def __call__(self, event: Event) -> None:
        facts = event.facts
        if event.is_logged:
            log.log(
                getattr(logging, event.level.upper()),
                event.message,
                extra=fields(event=event.kind, inbox=event.inbox or None, job=event.job, **facts),
            )
        self._count(event)
        if event.hook:
            self._hooks.fire(
                event.hook, {"message": event.message, "inbox": event.inbox or None, "job": event.job, **facts}
            )

    def _count(self, event: Event) -> None:
        """Move the metrics that a kind of event has; most have none."""
        metrics, inbox = self._metrics, event.inbox
        match event:
            case InboxScanned():
                metrics.add("dfld_scans_total", inbox=inbox)
                metrics.set("dfld_scan_duration_seconds", event.seconds, inbox=inbox)
                metrics.set("dfld_last_scan_success_timestamp_seconds", time.time(), inbox=inbox)
            case InboxSuspended() | InboxRearmed():
                metrics.add("dfld_watch_restarts_total", inbox=inbox)
            case InboxOverflow():
                metrics.add("dfld_watch_overflows_total")
            case InboxHinted():
                metrics.add("dfld_watch_events_total", event.files, inbox=inbox)
            case FileClaimed():
                outcome = "duplicate" if event.outcome == "duplicate" else "taken"
                metrics.add("dfld_files_seen_total", inbox=inbox, outcome=outcome)
            case JobStarted() if event.cursor:
                metrics.add("dfld_jobs_resumed_total")
            case JobStarted() if event.is_arrival:
                metrics.observe("dfld_file_wait_seconds", max(0.0, event.waited_s), inbox=inbox)
            case JobCommitted():
                self._count_piece(event)
            case JobDone():
                metrics.observe("dfld_job_duration_seconds", event.seconds, inbox=inbox)
            case JobWaits() | JobResumed():
                metrics.add("dfld_job_retries_total", reason=RETRY_REASON.get(event.reason, "other"))
            case WorkerReplaced() | WorkerEnded():
                metrics.add("dfld_worker_exits_total", reason=WORKER_EXIT.get(event.reason, event.reason))
            case ClockJumped():
                metrics.add("dfld_clock_jumps_total")
            case ConfigReloaded():
                metrics.add("dfld_config_reloads_total", result=event.result)
                metrics.set("dfld_config_last_reload_success", float(event.result == "applied"))
                metrics.set("dfld_config_last_reload_timestamp_seconds", time.time())

    def _count_piece(self, piece: JobCommitted) -> None:
        for similarity in piece.similarities:
            self._metrics.observe("dfld_face_similarity_ratio", similarity, inbox=piece.inbox)
        for stage, seconds in piece.stage_seconds.items():
            self._metrics.add("dfld_stage_seconds_total", seconds, stage=STAGE.get(stage, stage))
        for queue, fill_s in piece.queue_seconds.items():
            self._metrics.add("dfld_queue_fill_seconds_total", fill_s, queue=queue)
