"""Every metric is declared once, has its series from the start, and keeps its budget."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from daemon.metrics.catalogue import CATALOGUE, metrics_page
from daemon.metrics.registry import Metrics, Names, Reading, new_registry

SERIES_BUDGET = 400
FIVE = Names(
    inboxes=("alice", "bob", "carol", "dave", "erin"),
    machines=("gpu1", "gpu2", "gpu3", "gpu4", "gpu5"),
    models=("alice",),
)


def scrape(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_five_inboxes_and_five_machines_stay_within_the_budget() -> None:
    registry = new_registry()
    metrics = Metrics(registry, FIVE)
    metrics.set_build_info(version="0.1.0", python="3.11", onnxruntime="onnxruntime 1.31")
    for spec in CATALOGUE:  # the series that have to earn their place
        if spec.always or spec.filled_by is not None:
            continue
        values = {"inbox": FIVE.inboxes, "machine": FIVE.machines, "model": FIVE.models, "mode": ("poll",)}
        for one in _products([values[label] for label in spec.labels]):
            metrics.set(spec.name, 1.0, **dict(zip(spec.labels, one, strict=True)))
    metrics.add_reader(
        "ledger", lambda: {"dfld_oldest_queued_timestamp_seconds": {(name,): 1.0 for name in FIVE.inboxes}}
    )
    metrics.add_reader("gpu", lambda: {"dfld_gpu_memory_used_bytes": {(): 1.0}})
    assert len(scrape(registry)) <= SERIES_BUDGET


def _products(values: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    products: list[tuple[str, ...]] = [()]
    for one in values:
        products = [(*product, value) for product in products for value in one]
    return products


def test_every_metric_is_filled_somewhere() -> None:
    source = "".join(path.read_text() for path in Path("daemon").rglob("*.py") if path.stem != "catalogue")
    assert [spec.name for spec in CATALOGUE if f'"{spec.name}"' not in source] == []


def test_every_series_is_there_from_the_start(registry: CollectorRegistry) -> None:
    Metrics(registry, FIVE)
    series = scrape(registry)
    assert series['dfld_jobs_total{inbox="erin",result="failed"}'] == 0.0
    assert series['dfld_scans_total{inbox="alice"}'] == 0.0
    assert series['dfld_round_duration_seconds_count{model="alice"}'] == 0.0
    assert not any(name.startswith("dfld_oldest_queued") for name in series)
    assert not any(name.partition("{")[0].endswith("_created") for name in series)


def test_what_happens_is_counted(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, FIVE)
    metrics.add("dfld_scans_total", inbox="bob")
    metrics.add("dfld_transfer_bytes_total", 1000, machine="gpu2", direction="pull")
    metrics.set("dfld_ready", 1)
    metrics.observe("dfld_job_duration_seconds", 120.0, inbox="bob")
    series = scrape(registry)
    assert series['dfld_scans_total{inbox="bob"}'] == 1.0
    assert series['dfld_transfer_bytes_total{direction="pull",machine="gpu2"}'] == 1000.0
    assert series["dfld_ready"] == 1.0
    assert series['dfld_job_duration_seconds_bucket{inbox="bob",le="300.0"}'] == 1.0


def test_a_value_outside_a_fixed_list_is_counted_as_other_or_refused(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, FIVE)
    metrics.add("dfld_job_retries_total", reason="moon phase")
    assert scrape(registry)['dfld_job_retries_total{reason="other"}'] == 1.0
    with pytest.raises(ValueError, match="knows no reason"):
        metrics.add("dfld_worker_exits_total", reason="moon phase")
    with pytest.raises(ValueError, match="has the labels"):
        metrics.add("dfld_scans_total")
    with pytest.raises(KeyError):
        metrics.add("dfld_scan_total", inbox="bob")


def test_a_name_that_left_the_configuration_loses_its_series(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, FIVE)
    metrics.set("dfld_inbox_watch_mode", 1, inbox="alice", mode="poll")
    metrics.add("dfld_scans_total", inbox="bob")
    metrics.rename(Names(inboxes=("bob", "frank")))
    metrics.add("dfld_scans_total", inbox="alice")  # a job of the old inbox that still ran
    series = scrape(registry)
    assert not any('"alice"' in name for name in series)
    assert series['dfld_scans_total{inbox="bob"}'] == 1.0
    assert series['dfld_scans_total{inbox="frank"}'] == 0.0
    assert series['dfld_queue_files{inbox="frank",state="queued"}'] == 0.0


def test_numbers_of_a_reader_are_asked_for_at_each_scrape(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, FIVE)
    done = 0.0

    def read() -> Reading:
        return {"dfld_jobs_total": {("bob", "done"): done}, "dfld_oldest_queued_timestamp_seconds": {("bob",): 7.0}}

    metrics.add_reader("ledger", read)
    done = 41.0
    series = scrape(registry)
    assert series['dfld_jobs_total{inbox="bob",result="done"}'] == 41.0
    assert series['dfld_oldest_queued_timestamp_seconds{inbox="bob"}'] == 7.0
    assert series['dfld_collector_success{collector="ledger"}'] == 1.0


def test_a_reader_that_raises_loses_its_own_numbers_alone(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics(registry, FIVE)

    def broken() -> Reading:
        raise OSError("the disk is gone")

    metrics.add_reader("ledger", broken)
    with caplog.at_level(logging.ERROR):
        series = scrape(registry)
    assert series['dfld_collector_success{collector="ledger"}'] == 0.0
    assert series['dfld_collector_success{collector="disk"}'] == 1.0
    assert 'dfld_scans_total{inbox="bob"}' in series
    assert not any(name.startswith("dfld_jobs_total") for name in series)
    assert "the disk is gone" in caplog.text


def test_models_have_divergences_of_their_own_machines_alone(registry: CollectorRegistry) -> None:
    names = Names(machines=("gpu1", "gpu2"), models=("a", "b"), machines_of={"a": ("gpu1",), "b": ("gpu2",)})
    metrics = Metrics(registry, names)
    metrics.set("dfld_machine_drift_ratio", 0.1, model="a", machine="gpu1")
    assert sum(name.startswith("dfld_machine_drift_ratio") for name in scrape(registry)) == 1


def test_names_follow_the_conventions() -> None:
    names = [spec.name for spec in CATALOGUE]
    assert len(names) == len(set(names))
    for spec in CATALOGUE:
        assert re.fullmatch(r"dfld_[a-z_]+", spec.name)
        assert spec.name.endswith("_total") == (spec.kind == "counter")
        assert not {"path", "file", "pid", "error"} & set(spec.labels)
        assert spec.help.endswith(".") or spec.help.startswith("1; ")


def test_the_table_in_the_docs_is_the_catalogue(registry: CollectorRegistry) -> None:
    Metrics(registry, FIVE)
    page = metrics_page()
    declared = {family.name for family in registry.collect()}
    named = {name.removesuffix("_total") for name in re.findall(r"\| `(\w+)`", page)}
    assert declared <= named
    assert page == (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
