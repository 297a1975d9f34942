"""Who hears of events: the log always, metrics and hooks where one fits."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from daemon.events.event import Event
from daemon.events.hooks import HookRunner
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
    "changed": "changed",
    "incomplete": "changed",
}
"""A job's reason → the label of dfld_job_retries_total."""
HOOK_EVENTS = {
    "job.done": "job.done",
    "job.failed": "job.failed",
    "job.quarantined": "quarantine",
    "round.ok": "round.ok",
    "round.failed": "round.failed",
}
"""What the service tells → what [[hook]] calls it."""
WORKER_EXIT = {"memory": "memory", "gpu": "memory"}


METRICS_ONLY = ("job.committed", "inbox.hinted")
"""Told too often, or with too many facts, for a log line."""
STAGE = {"write files": "write", "write frames": "write"}
"""The engine's stages → the label of dfld_stage_seconds_total; those of the same name are not listed."""


class Notifier:
    """Writes each event to the log, moves the metrics, fires the hooks. Called from any thread."""

    def __init__(self, metrics: Metrics, hooks: HookRunner) -> None:
        self._metrics = metrics
        self._hooks = hooks

    def __call__(self, event: Event) -> None:
        if event.kind not in METRICS_ONLY:
            log.log(
                getattr(logging, event.level.upper()),
                event.message,
                extra=fields(event=event.kind, inbox=event.inbox or None, job=event.job, **event.facts),
            )
        self._count(event)
        if event.kind in HOOK_EVENTS:
            facts = {"message": event.message, "inbox": event.inbox or None, "job": event.job, **event.facts}
            self._hooks.fire(HOOK_EVENTS[event.kind], facts)

    def _count(self, event: Event) -> None:
        metrics, facts, inbox = self._metrics, event.facts, event.inbox
        if event.kind == "inbox.scanned":
            metrics.add("dfld_scans_total", inbox=inbox)
            metrics.set("dfld_scan_duration_seconds", _number(facts["seconds"]), inbox=inbox)
            metrics.set("dfld_last_scan_success_timestamp_seconds", time.time(), inbox=inbox)
        elif event.kind in ("inbox.suspended", "inbox.rearmed"):
            metrics.add("dfld_watch_restarts_total", inbox=inbox)
        elif event.kind == "inbox.overflow":
            metrics.add("dfld_watch_overflows_total")
        elif event.kind == "file.claimed":
            outcome = "duplicate" if facts["outcome"] == "duplicate" else "taken"
            metrics.add("dfld_files_seen_total", inbox=inbox, outcome=outcome)
        elif event.kind in ("job.waits", "job.resumed"):
            metrics.add("dfld_job_retries_total", reason=RETRY_REASON.get(str(facts["reason"]), "other"))
        elif event.kind == "job.started":
            if facts["cursor"]:
                metrics.add("dfld_jobs_resumed_total")
            else:
                metrics.observe("dfld_file_wait_seconds", max(0.0, _number(facts["waited_s"])), inbox=inbox)
        elif event.kind == "job.committed":
            self._count_work(inbox, facts)
        elif event.kind == "inbox.hinted":
            metrics.add("dfld_watch_events_total", _number(facts["files"]), inbox=inbox)
        elif event.kind == "job.done":
            metrics.observe("dfld_job_duration_seconds", _number(facts["seconds"]), inbox=inbox)
        elif event.kind in ("worker.replaced", "worker.ended"):
            reason = str(facts["reason"])
            metrics.add("dfld_worker_exits_total", reason=WORKER_EXIT.get(reason, reason))
        elif event.kind == "clock.jumped":
            metrics.add("dfld_clock_jumps_total")
        elif event.kind == "config.reloaded":
            metrics.add("dfld_config_reloads_total", result=str(facts["result"]))
            metrics.set("dfld_config_last_reload_success", float(facts["result"] == "applied"))
            metrics.set("dfld_config_last_reload_timestamp_seconds", time.time())

    def _count_work(self, inbox: str, facts: Mapping[str, object]) -> None:
        """Count a finished piece: faces' `similarities`; `stage_seconds` and `queue_seconds` since the last one."""
        similarities, seconds = facts["similarities"], facts["stage_seconds"]
        if isinstance(similarities, Sequence):
            for similarity in similarities:
                self._metrics.observe("dfld_face_similarity_ratio", _number(similarity), inbox=inbox)
        if isinstance(seconds, Mapping):
            for stage, value in seconds.items():
                self._metrics.add("dfld_stage_seconds_total", _number(value), stage=STAGE.get(str(stage), str(stage)))
        queues = facts["queue_seconds"]
        if isinstance(queues, Mapping):
            for queue, value in queues.items():
                self._metrics.add("dfld_queue_fill_seconds_total", _number(value), queue=str(queue))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
