"""Writes the Grafana dashboard: `python monitoring/dashboard.py` makes dfld-dashboard.json beside it (`make docs`).

The panels are the table below; a test asks that every metric in it exists and that the file is up to date. Import the
file in Grafana (11 or newer) and choose a Prometheus data source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("dfld-dashboard.json")
SCHEMA_VERSION = 39
"""Of Grafana 11; newer ones (12 writes 41) bring it up to date when they import it."""
COLUMNS = 24
"""Width of Grafana's grid."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """One panel: what it shows, how, and what it asks Prometheus."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    """PromQL and legend. {S}, {I}, {M}, {R} and {RM}, with more labels or none, stand for the selectors below."""
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    stacked: bool = False
    red_from: float | None = None
    """Value from which a stat turns red; None = it has no bad value."""
    green_from: float | None = None
    """Value from which a stat turns green, where larger is better."""


def graph(title: str, unit: str, *lines: str, kind: str = "timeseries", stacked: bool = False) -> Panel:
    """Return a panel over time; each line is `legend: PromQL`, and <inbox> in a legend is the label's value."""
    pairs = [line.split(": ", 1) for line in lines]
    queries = tuple((query, re.sub("<(\\w+)>", r"{{\1}}", legend)) for legend, query in pairs)
    return Panel(title, unit, queries, kind, stacked=stacked)


def number(title: str, unit: str, query: str, **limits: float) -> Panel:
    """Return a panel of one number, small enough that eight stand in a row."""
    return Panel(title, unit, ((query, ""),), "stat", width=3, height=4, **limits)  # type: ignore[arg-type]


def rate(series: str, span: str = "$__rate_interval") -> str:
    return f"rate({series}[{span}])"


def grown(series: str, span: str = "$__rate_interval") -> str:
    return f"increase({series}[{span}])"


def by(label: str, series: str) -> str:
    return f"sum by ({label}) ({series})"


def quantile(share: float, histogram: str) -> str:
    return f"histogram_quantile({share}, {by('le', rate(histogram))})"


def mean(histogram: str, span: str) -> str:
    total, count = (by("model", rate(histogram + part, span)) for part in ("_sum{R}", "_count{R}"))
    return f"{total} / ({count} > 0)"


SELECTORS = {
    "S": 'instance=~"$instance"',
    "I": 'instance=~"$instance",inbox=~"$inbox"',
    "M": 'instance=~"$instance",machine=~"$machine"',
    "R": 'instance=~"$instance",model=~"$model"',
    "RM": 'instance=~"$instance",model=~"$model",machine=~"$machine"',
}
"""What the dashboard's variables select: a service, an inbox, a machine, a model, a model on a machine."""

# fmt: off
ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Now", (
        number("Ready", "short", "min(dfld_ready{S})", green_from=1),
        number("Waiting files", "short", 'sum(dfld_queue_files{I,state="queued"})'),
        number("Oldest waiting", "s",
               "max(time() - dfld_oldest_queued_timestamp_seconds{I}) or vector(0)", red_from=3600),
        number("Quarantined", "short", 'sum(dfld_queue_files{I,state="quarantined"})', red_from=1),
        number("Faces kept", "short", 'sum(dfld_faces_total{I,outcome=~"kept|rescued"})'),
        number("Last average", "s",
               "min(time() - (dfld_round_last_success_timestamp_seconds{R} > 0)) or vector(0)"),
        number("Machines up", "short", "sum(dfld_machine_up{M}) or vector(0)"),
        number("Free above reserve", "bytes",
               "min(dfld_disk_free_bytes{S} - on (instance, target) dfld_disk_reserve_bytes{S})", green_from=1),
    )),
    ("Ingestion", (
        graph("Files by state", "short", "<state>: sum by (state) (dfld_queue_files{I})", stacked=True),
        graph("Settled files per hour", "short",
              "<outcome>: " + by("outcome", rate("dfld_files_seen_total{I}")) + " * 3600"),
        graph("Wait from arrival to start", "s", "median: " + quantile(0.5, "dfld_file_wait_seconds_bucket{I}"),
              "95 %: " + quantile(0.95, "dfld_file_wait_seconds_bucket{I}")),
        graph("Inboxes up", "short", "<inbox>: dfld_inbox_up{I}"),
        graph("File events, restarts and overflows", "short",
              "events/s: sum(" + rate("dfld_watch_events_total{I}") + ")",
              "restarts: sum(" + grown("dfld_watch_restarts_total{I}") + ")",
              "overflows: sum(" + grown("dfld_watch_overflows_total{S}") + ")"),
        graph("Time of the last full scan", "s", "<inbox>: dfld_scan_duration_seconds{I}"),
    )),
    ("Extraction", (
        graph("Frames per second", "cps", "<inbox>: " + rate("dfld_frames_decoded_total{I}")),
        graph("Faces per minute", "short",
              "<outcome>: " + by("outcome", rate("dfld_faces_total{I}")) + " * 60", stacked=True),
        graph("Where the time goes", "s", "<stage>: " + rate("dfld_stage_seconds_total{S}"), stacked=True),
        graph("Queues between stages: full ones wait for what comes after", "percentunit",
              "<queue>: " + rate("dfld_queue_fill_seconds_total{S}")),
        graph("Similarity to the reference", "short",
              "<le>: " + by("le", grown("dfld_face_similarity_ratio_bucket{I}")), kind="heatmap"),
        graph("Progress of the running job", "percentunit", "<inbox>: dfld_job_progress_ratio{I}"),
        graph("Jobs per hour", "short", "<result>: " + by("result", rate("dfld_jobs_total{I}")) + " * 3600"),
        graph("Damaged packets per 1000 frames", "short",
              "<inbox>: 1000 * " + rate("dfld_packets_damaged_total{I}")
              + " / (" + rate("dfld_frames_decoded_total{I}") + " > 0)"),
        graph("Workers replaced, jobs resumed and retried", "short",
              "worker <reason>: " + by("reason", grown("dfld_worker_exits_total{S}")),
              "resumed: " + grown("dfld_jobs_resumed_total{S}"),
              "retry <reason>: " + by("reason", grown("dfld_job_retries_total{S}"))),
        graph("Faces in workspaces", "short", "<inbox>: dfld_workspace_faces{I}"),
    )),
    ("Facesets", (
        graph("Masks per minute", "short",
              "<source>: " + by("source", rate("dfld_masks_total{I}")) + " * 60", stacked=True),
        graph("Masks that were not taken, of all", "percentunit",
              "<check>: " + by("check", rate("dfld_masks_refused_total{I}", "1h"))
              + " / ignoring (check) group_left sum(" + rate("dfld_masks_total{I}", "1h") + ")"),
        graph("Faces set aside", "short", "<reason>: sum by (reason) (dfld_faces_aside{I})", stacked=True),
        graph("Poses that are missing", "short", "<inbox>: dfld_missing_poses{I}"),
    )),
    ("Rounds", (
        graph("Rounds per day", "short",
              "<model> <outcome>: " + by("model, outcome", grown("dfld_rounds_total{R}", "1d"))),
        graph("How far machines moved", "percentunit", "<model> <machine>: dfld_machine_drift_ratio{RM}"),
        graph("How far apart they were", "percentunit", "<model>: dfld_round_spread_ratio{R}"),
        graph("Machines in the average, and quorum", "short", "<model>: dfld_round_contributors{R}",
              "quorum of <model>: dfld_round_quorum{R}"),
        graph("Time of a round", "s", "<model>: " + mean("dfld_round_duration_seconds", "1d")),
        graph("Polls that failed", "short", "<model>: " + grown("dfld_round_polls_failed_total{R}")),
    )),
    ("Machines", (
        graph("Machines", "short", "<machine>: dfld_machine_up{M}"),
        graph("Iterations", "short", "<model> <machine>: dfld_machine_iterations{RM}"),
        graph("Iterations per second", "cps", "<model> <machine>: deriv(dfld_machine_iterations{RM}[1h])"),
        graph("Since the last save", "s", "<machine>: time() - dfld_machine_saved_timestamp_seconds{RM}"),
        graph("Transfer speed", "Bps",
              "<machine> <direction>: " + rate("dfld_transfer_bytes_total{M}")
              + " / (" + rate("dfld_transfer_seconds_total{M}") + " > 0)"),
        graph("Connections that failed", "short",
              "<machine> <result>: " + grown('dfld_machine_connections_total{M,result!="ok"}')),
        graph("Trainers standing still for rounds", "percentunit",
              "<machine>: " + rate("dfld_trainer_paused_seconds_total{M}", "1h")),
    )),
    ("System", (
        graph("Free space and reserve", "bytes", "<target>: dfld_disk_free_bytes{S}",
              "reserve of <target>: dfld_disk_reserve_bytes{S}"),
        graph("Paused", "short", "<reason>: dfld_paused{S}"),
        graph("Memory of the daemon", "bytes", '<instance>: process_resident_memory_bytes{S,job="dfld"}'),
        graph("CPU of the daemon", "short", "<instance>: " + rate('process_cpu_seconds_total{S,job="dfld"}')),
        graph("Open files", "short", '<instance>: process_open_fds{S,job="dfld"}'),
        graph("GPU memory", "bytes", "<instance>: dfld_gpu_memory_used_bytes{S}"),
        graph("Log lines", "short", "<level>: " + by("level", rate("dfld_log_messages_total{S}")) + " * 60"),
        graph("Ledger", "bytes", "<instance>: dfld_ledger_size_bytes{S}"),
        graph("Reloads, hooks, clock jumps", "short",
              "reload <result>: " + by("result", grown("dfld_config_reloads_total{S}")),
              "hook <result>: " + by("result", grown("dfld_hook_calls_total{S}")),
              "clock jump: " + grown("dfld_clock_jumps_total{S}")),
        graph("Errors nobody foresaw", "short",
              "<boundary>: " + by("boundary", grown("dfld_unforeseen_errors_total{S}"))),
        graph("Readers of metrics", "short", "<collector>: dfld_collector_success{S}"),
        graph("Versions", "short", "<version>, Python <python>, <onnxruntime>: dfld_build_info{S}", kind="table"),
    )),
)

ANNOTATIONS = (
    ("Rounds", "changes(dfld_round_last_success_timestamp_seconds[$__interval]) > 0", "green", "{{model}} averaged"),
    ("Reloads", "changes(dfld_config_last_reload_timestamp_seconds[$__interval]) > 0", "blue", "configuration taken"),
    ("Alerts", 'ALERTS{alertname=~"Dfld.*",alertstate="firing"}', "red", "{{alertname}}"),
)
# fmt: on

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
    """Put the selectors of the dashboard's variables into a query: `{I}` becomes `{instance=~"$instance",…}`."""
    return re.sub("{([SIMR]+)(?=[,}])", lambda mark: "{" + SELECTORS[mark[1]], query)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana stores it."""
    return {
        "title": "dfld",
        "uid": "dfld",
        "tags": ["dfld", "deepfacelab"],
        "id": None,
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "links": [],
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
    return {
        "name": "datasource",
        "type": "datasource",
        "query": "prometheus",
        "label": "Data source",
        "current": {},
        "hide": 0,
        "refresh": 1,
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "hide": 0,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
        "sort": 1,
    }


def _annotation(name: str, query: str, color: str, text: str) -> dict[str, Any]:
    found = {"name": name, "datasource": SOURCE, "enable": True, "hide": False, "iconColor": color, "titleFormat": text}
    return found | {"target": {"refId": "Anno", "expr": query}}


def text() -> str:
    """Return what the file holds."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
