"""What the ledger and the runners hold, as the reports that say it. Pure."""

from __future__ import annotations

import json
import os

from daemon.jobs.running_job import Running
from daemon.ledger.jobs import Job
from daemon.reports.jobs import JobDetails, JobReport
from daemon.reports.service import RunningReport


def running_report(one: Running, now_s: float) -> RunningReport:
    """Return the running job with its speed and the time that is left."""
    spent_s = now_s - one.working_since_s if one.working_since_s else 0.0
    frames = one.frames_done - one.frames_at_start
    rate = frames / spent_s if spent_s > 0 and frames > 0 else None
    left = None if one.frames_total is None else max(0, one.frames_total - one.frames_done)
    return RunningReport(
        job=one.job,
        inbox=one.inbox,
        path=one.path,
        phase=one.phase,
        since_s=one.since_s,
        frames_done=one.frames_done,
        frames_total=one.frames_total,
        faces_kept=one.faces_kept,
        faces_rejected=one.faces_rejected,
        faces_undecided=one.faces_undecided,
        frames_at_start=one.frames_at_start,
        working_since_s=one.working_since_s,
        moved_s=one.moved_s,
        held=one.held,
        job_kind=one.kind,
        unit=one.unit,
        frames_per_s=rate,
        faces_per_s=one.faces_kept / one.frames_done * rate if rate and one.frames_done else None,
        eta_s=left / rate if rate and left is not None else None,
    )


def job_report(job: Job) -> JobReport:
    """Return what a list says of a job: without its report and sidecar, which are long."""
    return JobReport(
        id=job.id,
        inbox=job.inbox,
        path=os.fsdecode(job.path),
        kind=job.source_kind,
        job_kind=job.kind,
        subject=job.subject,
        sha256=job.sha256,
        size_bytes=job.size_bytes,
        identity=job.file_state,
        workspace=job.workspace,
        role=job.role,
        slug=job.slug,
        priority=job.priority,
        rank=job.rank,
        state=job.state,
        reason=job.reason,
        message=job.message,
        hint=job.hint,
        attempts=job.attempts,
        deaths=job.deaths,
        death_frame=job.death_frame,
        not_before_s=job.not_before_s,
        arrived_s=job.arrived_s,
        started_s=job.started_s,
        finished_s=job.finished_s,
        basis=job.basis,
        next_frame=job.next_frame,
        last_pts=job.last_pts,
        counts=json.loads(job.counts),
        frames_total=job.frames_total,
        original=job.original,
        original_path=None if job.original_path is None else os.fsdecode(job.original_path),
        verdict=job.verdict,
        missing_s=job.missing_s,
        missing_share=job.missing_share,
        mark=job.mark,
        discard=job.discard,
    )


def job_details(job: Job) -> JobDetails:
    """Return everything that is known of a job."""
    return JobDetails(
        **vars(job_report(job)),
        report=json.loads(job.report) if job.report else None,
        sidecar=json.loads(job.sidecar) if job.sidecar else {},
        request=json.loads(job.request) if job.request else {},
    )
