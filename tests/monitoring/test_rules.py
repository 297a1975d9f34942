"""The alerts: accepted by promtool, each one tried, each one about a metric that exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon.cli import build_parser
from daemon.metrics.catalogue import BUILD_INFO, CATALOGUE, COLLECTOR_SUCCESS
from docs.command_line import all_parsers
from monitoring import dashboard

MONITORING = Path(__file__).parents[2] / "monitoring"
RULES = (MONITORING / "dfld.rules.yml").read_text(encoding="utf-8")
CASES = (MONITORING / "dfld.rules.test.yml").read_text(encoding="utf-8")
FOR_PEOPLE = {
    "dfld_inbox_watch_mode",
    "dfld_scans_total",
    "dfld_last_job_success_timestamp_seconds",
    "dfld_job_duration_seconds",
    "dfld_lost_footage_seconds",
}
"""Asked for by hand; no rule or panel needs them."""
NAMES = {spec.name for spec in (*CATALOGUE, BUILD_INFO, COLLECTOR_SUCCESS)}

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (package prometheus)")


def run_promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def metrics_in(text: str) -> set[str]:
    """Return the names of dfld's metrics in a text, without what a histogram adds to its name."""
    found = set(re.findall(r"\bdfld_[a-z_]+\b", text))
    return {name if name in NAMES else re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def alerts() -> dict[str, str]:
    """Return the text of each alert by its name."""
    parts = re.split(r"^ +- alert: (\w+)$", RULES, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@promtool
def test_promtool_accepts_the_rules() -> None:
    run_promtool("check", "rules", "dfld.rules.yml")


@promtool
def test_every_case_of_the_rules_comes_out_as_written() -> None:
    run_promtool("test", "rules", "dfld.rules.test.yml")


@promtool
def test_the_scrape_example_is_accepted() -> None:
    run_promtool("check", "config", "prometheus.example.yml")


def test_every_alert_fires_in_some_case() -> None:
    tried = set(re.findall(r'alertname="(\w+)"', CASES))
    assert set(alerts()) == tried


@pytest.mark.parametrize("name", alerts())
def test_every_alert_says_what_is_wrong_and_what_to_do(name: str) -> None:
    text = alerts()[name]
    assert re.search(r"severity: (page|ticket|info)", text)
    assert "summary:" in text
    assert "remedy:" in text


def test_remedies_name_commands_that_exist() -> None:
    lines = [line for line in RULES.splitlines() if "remedy:" in line]
    named = {name for line in lines for name in re.findall(r"(?<!-u )\bdfld ([a-z]+)", line)}
    commands = {one.prog.removeprefix("dfld ") for one in all_parsers(build_parser())}
    assert {"doctor", "rounds", "status"} <= named
    assert named <= commands


def test_rules_and_cases_know_only_metrics_that_exist() -> None:
    assert metrics_in(RULES) <= NAMES
    assert metrics_in(CASES) <= NAMES


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    for title, query in dashboard.queries():
        assert metrics_in(query) <= NAMES, title
        assert "{S}" not in query
        assert "{I}" not in query


def test_every_metric_is_looked_at_by_a_rule_or_a_panel() -> None:
    looked_at = metrics_in(RULES).union(*(metrics_in(query) for _title, query in dashboard.queries()))
    assert NAMES - looked_at == FOR_PEOPLE


def test_panels_have_places_of_their_own() -> None:
    places = [panel["gridPos"] for panel in dashboard.dashboard()["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < dashboard.COLUMNS


def test_the_dashboard_has_what_grafana_11_and_12_ask_of_one() -> None:
    """By Grafana's own description of a dashboard, kinds/dashboard/dashboard_kind.cue."""
    made = dashboard.dashboard()
    assert re.fullmatch("[a-z0-9-]{1,40}", made["uid"])
    assert made["schemaVersion"] >= 36
    assert made["id"] is None, "a number would be that of one Grafana's own database"
    assert {"title", "timezone", "refresh", "time", "templating", "annotations", "panels"} <= made.keys()
    assert made["graphTooltip"] in (0, 1, 2)
    variables = made["templating"]["list"]
    assert variables[0]["type"] == "datasource"
    source = {"type": "prometheus", "uid": f"${{{variables[0]['name']}}}"}
    for one in variables[1:]:
        assert (one["type"], one["datasource"], one["hide"]) == ("query", source, 0)
    for one in made["annotations"]["list"]:
        assert {"name", "enable", "iconColor", "target"} <= one.keys()
        assert one["datasource"] == source


def test_every_panel_is_of_a_known_kind_and_asks_the_chosen_source() -> None:
    panels = dashboard.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in ("row", "stat", "timeseries", "heatmap", "table"), panel["title"]
        place = panel["gridPos"]
        assert min(place["h"], place["w"]) > 0
        assert place["x"] + place["w"] <= dashboard.COLUMNS
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}"
        assert [target["refId"] for target in panel["targets"]] == [*"ABC"][: len(panel["targets"])]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in ("short", "s", "bytes", "Bps", "cps", "percentunit"), panel["title"]
        first, *later = defaults["thresholds"]["steps"]
        assert first["value"] is None, "the first step begins at minus infinity"
        assert all(step["value"] is not None for step in later)
