"""Writes the Grafana dashboard: `python monitoring/dashboard.py` makes dfld-dashboard.json beside it (`make docs`).

The panels are the table below; a test asks that every metric in it exists and that the file is up to date. Import the
file in Grafana (10 or newer) and choose a Prometheus data source.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("dfld-dashboard.json")
COLUMNS = 24
"""Width of Grafana's grid."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """One panel: what it shows, how, and what it asks Prometheus."""

    title: str
    queries: tuple[tuple[str, str], ...]
    """PromQL and legend. I, M and R stand for the selectors of an inbox, a machine, a model."""
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    stacked: bool = False
    red_from: float | None = None
    """Value from which a stat turns red; None = it has no bad value."""
    green_from: float | None = None
    """Value from which a stat turns green, where larger is better."""


SELECTORS = {
    "{S}": 'instance=~"$instance"',
    "{I}": 'instance=~"$instance",inbox=~"$inbox"',
    "{M}": 'instance=~"$instance",machine=~"$machine"',
    "{R}": 'instance=~"$instance",model=~"$model"',
    "{RM}": 'instance=~"$instance",model=~"$model",machine=~"$machine"',
}

STATS: tuple[Panel, ...] = (
    Panel("Ready", (("min(dfld_ready{{S}})", ""),), kind="stat", width=3, height=4, green_from=1),
    Panel("Waiting files", (('sum(dfld_queue_files{{I},state="queued"})', ""),), kind="stat", width=3, height=4),
    Panel(
        "Oldest waiting",
        (("max(time() - dfld_oldest_queued_timestamp_seconds{{I}}) or vector(0)", ""),),
        unit="s",
        kind="stat",
        width=3,
        height=4,
        red_from=3600,
    ),
    Panel(
        "Quarantined",
        (('sum(dfld_queue_files{{I},state="quarantined"})', ""),),
        kind="stat",
        width=3,
        height=4,
        red_from=1,
    ),
    Panel("Faces kept", (('sum(dfld_faces_total{{I},outcome=~"kept|rescued"})', ""),), kind="stat", width=3, height=4),
    Panel(
        "Last average",
        (("min(time() - (dfld_round_last_success_timestamp_seconds{{R}} > 0)) or vector(0)", ""),),
        unit="s",
        kind="stat",
        width=3,
        height=4,
    ),
    Panel("Machines up", (("sum(dfld_machine_up{{M}}) or vector(0)", ""),), kind="stat", width=3, height=4),
    Panel(
        "Free above reserve",
        (("min(dfld_disk_free_bytes{{S}} - on (instance, target) dfld_disk_reserve_bytes{{S}})", ""),),
        unit="bytes",
        kind="stat",
        width=3,
        height=4,
        green_from=1,
    ),
)

INGESTION: tuple[Panel, ...] = (
    Panel("Files by state", (("sum by (state) (dfld_queue_files{{I}})", "{{state}}"),), stacked=True),
    Panel(
        "Settled files per hour",
        (("sum by (outcome) (rate(dfld_files_seen_total{{I}}[$__rate_interval])) * 3600", "{{outcome}}"),),
    ),
    Panel(
        "Wait from arrival to start",
        (
            (
                "histogram_quantile(0.5, sum by (le) (rate(dfld_file_wait_seconds_bucket{{I}}[$__rate_interval])))",
                "median",
            ),
            (
                "histogram_quantile(0.95, sum by (le) (rate(dfld_file_wait_seconds_bucket{{I}}[$__rate_interval])))",
                "95 %",
            ),
        ),
        unit="s",
    ),
    Panel("Inboxes up", (("dfld_inbox_up{{I}}", "{{inbox}}"),)),
    Panel(
        "File events, restarts and overflows",
        (
            ("sum(rate(dfld_watch_events_total{{I}}[$__rate_interval]))", "events/s"),
            ("sum(increase(dfld_watch_restarts_total{{I}}[$__rate_interval]))", "restarts"),
            ("sum(increase(dfld_watch_overflows_total{{S}}[$__rate_interval]))", "overflows"),
        ),
    ),
    Panel("Time of the last full scan", (("dfld_scan_duration_seconds{{I}}", "{{inbox}}"),), unit="s"),
)

EXTRACTION: tuple[Panel, ...] = (
    Panel("Frames per second", (("rate(dfld_frames_decoded_total{{I}}[$__rate_interval])", "{{inbox}}"),), unit="cps"),
    Panel(
        "Faces per minute",
        (("sum by (outcome) (rate(dfld_faces_total{{I}}[$__rate_interval])) * 60", "{{outcome}}"),),
        stacked=True,
    ),
    Panel(
        "Where the time goes",
        (("rate(dfld_stage_seconds_total{{S}}[$__rate_interval])", "{{stage}}"),),
        unit="s",
        stacked=True,
    ),
    Panel(
        "Queues between stages: full ones wait for what comes after",
        (("rate(dfld_queue_fill_seconds_total{{S}}[$__rate_interval])", "{{queue}}"),),
        unit="percentunit",
    ),
    Panel(
        "Similarity to the reference",
        (("sum by (le) (increase(dfld_face_similarity_ratio_bucket{{I}}[$__rate_interval]))", "{{le}}"),),
        kind="heatmap",
    ),
    Panel("Progress of the running job", (("dfld_job_progress_ratio{{I}}", "{{inbox}}"),), unit="percentunit"),
    Panel(
        "Jobs per hour",
        (("sum by (result) (rate(dfld_jobs_total{{I}}[$__rate_interval])) * 3600", "{{result}}"),),
    ),
    Panel(
        "Damaged packets per 1000 frames",
        (
            (
                "1000 * rate(dfld_packets_damaged_total{{I}}[$__rate_interval])"
                " / (rate(dfld_frames_decoded_total{{I}}[$__rate_interval]) > 0)",
                "{{inbox}}",
            ),
        ),
    ),
    Panel(
        "Workers replaced, jobs resumed and retried",
        (
            ("sum by (reason) (increase(dfld_worker_exits_total{{S}}[$__rate_interval]))", "worker {{reason}}"),
            ("increase(dfld_jobs_resumed_total{{S}}[$__rate_interval])", "resumed"),
            ("sum by (reason) (increase(dfld_job_retries_total{{S}}[$__rate_interval]))", "retry {{reason}}"),
        ),
    ),
    Panel("Faces in workspaces", (("dfld_workspace_faces{{I}}", "{{inbox}}"),)),
)

ROUNDS: tuple[Panel, ...] = (
    Panel(
        "Rounds per day", (("sum by (model, outcome) (increase(dfld_rounds_total{{R}}[1d]))", "{{model}} {{outcome}}"),)
    ),
    Panel("How far machines moved", (("dfld_machine_drift_ratio{{RM}}", "{{model}} {{machine}}"),), unit="percentunit"),
    Panel("How far apart they were", (("dfld_round_spread_ratio{{R}}", "{{model}}"),), unit="percentunit"),
    Panel(
        "Machines in the average, and quorum",
        (("dfld_round_contributors{{R}}", "{{model}}"), ("dfld_round_quorum{{R}}", "quorum of {{model}}")),
    ),
    Panel(
        "Time of a round",
        (
            (
                "sum by (model) (rate(dfld_round_duration_seconds_sum{{R}}[1d]))"
                " / (sum by (model) (rate(dfld_round_duration_seconds_count{{R}}[1d])) > 0)",
                "{{model}}",
            ),
        ),
        unit="s",
    ),
    Panel("Polls that failed", (("increase(dfld_round_polls_failed_total{{R}}[$__rate_interval])", "{{model}}"),)),
)

MACHINES: tuple[Panel, ...] = (
    Panel("Machines", (("dfld_machine_up{{M}}", "{{machine}}"),)),
    Panel("Iterations", (("dfld_machine_iterations{{RM}}", "{{model}} {{machine}}"),)),
    Panel(
        "Iterations per second", (("deriv(dfld_machine_iterations{{RM}}[1h])", "{{model}} {{machine}}"),), unit="cps"
    ),
    Panel("Since the last save", (("time() - dfld_machine_saved_timestamp_seconds{{RM}}", "{{machine}}"),), unit="s"),
    Panel(
        "Transfer speed",
        (
            (
                "rate(dfld_transfer_bytes_total{{M}}[$__rate_interval])"
                " / (rate(dfld_transfer_seconds_total{{M}}[$__rate_interval]) > 0)",
                "{{machine}} {{direction}}",
            ),
        ),
        unit="Bps",
    ),
    Panel(
        "Connections that failed",
        (('increase(dfld_machine_connections_total{{M},result!="ok"}[$__rate_interval])', "{{machine}} {{result}}"),),
    ),
    Panel(
        "Trainers standing still for rounds",
        (("rate(dfld_trainer_paused_seconds_total{{M}}[1h])", "{{machine}}"),),
        unit="percentunit",
    ),
)

SYSTEM: tuple[Panel, ...] = (
    Panel(
        "Free space and reserve",
        (("dfld_disk_free_bytes{{S}}", "{{target}}"), ("dfld_disk_reserve_bytes{{S}}", "reserve of {{target}}")),
        unit="bytes",
    ),
    Panel("Paused", (("dfld_paused{{S}}", "{{reason}}"),)),
    Panel("Memory of the daemon", (('process_resident_memory_bytes{{S},job="dfld"}', "{{instance}}"),), unit="bytes"),
    Panel(
        "CPU of the daemon", (('rate(process_cpu_seconds_total{{S},job="dfld"}[$__rate_interval])', "{{instance}}"),)
    ),
    Panel("Open files", (('process_open_fds{{S},job="dfld"}', "{{instance}}"),)),
    Panel("GPU memory", (("dfld_gpu_memory_used_bytes{{S}}", "{{instance}}"),), unit="bytes"),
    Panel("Log lines", (("sum by (level) (rate(dfld_log_messages_total{{S}}[$__rate_interval])) * 60", "{{level}}"),)),
    Panel("Ledger", (("dfld_ledger_size_bytes{{S}}", "{{instance}}"),), unit="bytes"),
    Panel(
        "Reloads, hooks, clock jumps",
        (
            ("sum by (result) (increase(dfld_config_reloads_total{{S}}[$__rate_interval]))", "reload {{result}}"),
            ("sum by (result) (increase(dfld_hook_calls_total{{S}}[$__rate_interval]))", "hook {{result}}"),
            ("increase(dfld_clock_jumps_total{{S}}[$__rate_interval])", "clock jump"),
        ),
    ),
    Panel("Readers of metrics", (("dfld_collector_success{{S}}", "{{collector}}"),)),
    Panel("Versions", (("dfld_build_info{{S}}", "{{version}}, Python {{python}}, {{onnxruntime}}"),), kind="table"),
)

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Now", STATS),
    ("Ingestion", INGESTION),
    ("Extraction", EXTRACTION),
    ("Rounds", ROUNDS),
    ("Machines", MACHINES),
    ("System", SYSTEM),
)

ANNOTATIONS = (
    (
        "Rounds",
        "changes(dfld_round_last_success_timestamp_seconds[$__interval]) > 0",
        "green",
        "{{model}} was averaged",
    ),
    ("Reloads", "changes(dfld_config_last_reload_timestamp_seconds[$__interval]) > 0", "blue", "configuration taken"),
    ("Alerts", 'ALERTS{alertname=~"Dfld.*",alertstate="firing"}', "red", "{{alertname}}"),
)

VARIABLES = (
    ("instance", "label_values(dfld_build_info, instance)"),
    ("inbox", 'label_values(dfld_inbox_up{instance=~"$instance"}, inbox)'),
    ("model", 'label_values(dfld_round_quorum{instance=~"$instance"}, model)'),
    ("machine", 'label_values(dfld_machine_up{instance=~"$instance"}, machine)'),
)


def queries() -> Iterator[tuple[str, str]]:
    """Yield the title and the PromQL of every query, as they are in the file."""
    for _, panels in ROWS:
        for panel in panels:
            for query, _legend in panel.queries:
                yield panel.title, selected(query)
    for name, query, _color, _text in ANNOTATIONS:
        yield f"annotation {name}", query


def selected(query: str) -> str:
    """Put the selectors of the dashboard's variables into a query: `{{I}}` becomes `{instance=~"$instance",…}`."""
    for mark, selector in SELECTORS.items():
        query = query.replace(mark, selector)
    return query


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana stores it."""
    return {
        "title": "dfld",
        "uid": "dfld",
        "tags": ["dfld", "deepfacelab"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "templating": {"list": [_source_variable(), *(_variable(name, query) for name, query in VARIABLES)]},
        "annotations": {"list": [_annotation(*one) for one in ANNOTATIONS]},
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for title, panels in ROWS:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place}
        number, top, left = number + 1, top + 1, 0
        height = panels[0].height
        for panel in panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + height
            place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
            yield {"id": number, **_panel(panel), "gridPos": place}
            number, left = number + 1, left + panel.width
        top += height


def _panel(panel: Panel) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": selected(query),
            "legendFormat": legend or "__auto",
            "instant": panel.kind == "table",
            "format": {"heatmap": "heatmap", "table": "table"}.get(panel.kind, "time_series"),
        }
        for index, (query, legend) in enumerate(panel.queries)
    ]
    custom = {"fillOpacity": 30 if panel.stacked else 5, "stacking": {"mode": "normal" if panel.stacked else "none"}}
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": _thresholds(panel)}
    if panel.kind == "timeseries":
        defaults |= {"custom": custom, "min": 0}
    found: dict[str, Any] = {"type": panel.kind, "title": panel.title, "datasource": SOURCE, "targets": targets}
    return found | {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": _options(panel)}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    if panel.kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {}


def _thresholds(panel: Panel) -> dict[str, Any]:
    first, second = ("red", "green") if panel.green_from is not None else ("green", "red")
    limit = panel.green_from if panel.green_from is not None else panel.red_from
    steps: list[dict[str, Any]] = [{"color": first if limit is not None else "text", "value": None}]
    if limit is not None:
        steps.append({"color": second, "value": limit})
    return {"mode": "absolute", "steps": steps}


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
        "sort": 1,
    }


def _annotation(name: str, query: str, color: str, text: str) -> dict[str, Any]:
    return {"name": name, "datasource": SOURCE, "enable": True, "expr": query, "iconColor": color, "titleFormat": text}


def text() -> str:
    """Return what the file holds."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
