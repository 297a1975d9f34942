"""A real Prometheus watches the real daemon do all its kinds of work; every rule and every panel is evaluated.

The daemon extracts clips, averages a model of two machines over SSH, quarantines a file, calls a hook and reloads.
`pytest tests/monitoring -rP` prints every rule and query with what came of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from engine.backends.catalog import open_backend
from monitoring import dashboard
from tests.sync.fleet import Fleet
from tests.sync.sshd import SshMachine, free_port
from tests.sync.tables import ssh_fleet, sync_tables
from tests.sync.training import MODEL

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
DEADLINE_S = 240.0
CONFIG = """
[service]
state_dir = "state"
[http]
listen = "127.0.0.1:9770"
[watch]
stable_for = "200ms"
rescan_every = "1s"
[disk]
reserve = "0B"
reserve_percent = 0
resume_margin = "0B"
[[inbox]]
name = "person"
path = "inbox"
workspace = "workspace"
references = ["person.png"]
backend = "dlib"
masks = { source = "hull" }
curate = { enabled = true }
[[hook]]
on = ["job.done", "round.ok"]
command = ["true"]
"""
VARIABLES = {
    # As in a dashboard that shows a day: everything that happened here lies within.
    "$__rate_interval": "30m",
    "$__interval": "30m",
    "$instance": ".*",
    "$inbox": ".*",
    "$machine": ".*",
    "$model": ".*",
}
EMPTY_WITHOUT_A_FAULT = {"annotation Alerts", "GPU memory", "Masks that were not taken, of all", "Faces set aside"}
"""No alert fires, there is no GPU, hulls are never refused, and few faces need no curation."""
JOBS_A_CLIP = 3
"""Extracted, masked, and its side curated."""

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


class Prometheus:
    """A running Prometheus, asked over its API."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def query(self, text: str) -> list[Any]:
        """Return the series that a query gives now."""
        answer = self.ask("query", query=text)
        assert answer["status"] == "success", f"{text}: {answer}"
        found: list[Any] = answer["data"]["result"]
        return found

    def rules(self) -> list[Any]:
        return [rule for group in self.ask("rules")["data"]["groups"] for rule in group["rules"]]


def wait_until(condition: Callable[[], Any], what: str) -> None:
    end, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S:.0f} s for {what}"
        pause.wait(0.1)


@contextmanager
def running_prometheus(folder: Path, dfld_port: int) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `dfld_port` each second and evaluates the rules, in `folder`."""
    example = (MONITORING / "prometheus.example.yml").read_text(encoding="utf-8")
    config = example.replace("127.0.0.1:9770", f"127.0.0.1:{dfld_port}").replace("15s", "1s")
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    shutil.copy(MONITORING / "dfld.rules.yml", folder)
    port = free_port()
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, "Prometheus to answer")
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Daemon:
    """The real daemon with an inbox and two machines."""

    def __init__(self, home: Path, fleet: Fleet) -> None:
        self.home = home
        self.fleet = fleet
        self.port = free_port()
        self.config = home / "config.toml"
        self.photo = group_photo()
        write_reference(home / "person.png", self.photo, open_backend("dlib"))
        (home / "inbox").mkdir()
        text = CONFIG.replace("9770", str(self.port)) + sync_tables(fleet)
        self.config.write_text(text, encoding="utf-8")

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "daemon", *words, "--config", str(self.config)]

    def begin_an_hour_ago(self) -> None:
        """Give both machines one start, saved an hour ago: an interval is never shorter than a save of the trainer."""
        init = self.command("sync", "init", MODEL.name, "--from", "gpu1")
        subprocess.run(init, cwd=ROOT, check=True, capture_output=True)
        before_s = time.time() - 3600
        for one in self.fleet.machines:
            for file in one.folder.glob(f"{MODEL.name}*"):
                os.utime(file, (before_s, before_s))

    def work_through(self, process: subprocess.Popen[bytes], prometheus: Prometheus) -> None:
        """Do everything once, each thing after a scrape, so that a rate sees it begin and end."""

        def seen(query: str) -> None:
            wait_until(lambda: prometheus.query(query), query)

        seen("dfld_ready == 1 and count_over_time(dfld_ready[30m]) >= 2")
        seen("count(dfld_machine_up == 1) == 2")
        self.fleet.train_by_hand(iterations=100)
        for number, frames in enumerate((24, 30), start=1):
            write_clip(self.home / "clip.mp4", camera_move(self.photo, frames))
            (self.home / "clip.mp4").rename(self.home / "inbox" / f"clip{number}.mp4")
            seen(f'dfld_jobs_total{{result="done"}} == {JOBS_A_CLIP * number}')
        seen('dfld_rounds_total{outcome="averaged"} == 1')
        process.send_signal(signal.SIGHUP)
        seen('dfld_config_reloads_total{result="applied"} == 1')


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory, ssh_machines: list[SshMachine]
) -> Iterator[tuple[Prometheus, int]]:
    """A Prometheus that has watched the daemon at work, and the daemon's port."""
    home = tmp_path_factory.mktemp("daemon")
    daemon = Daemon(home, ssh_fleet(ssh_machines[:2], home))
    daemon.begin_an_hour_ago()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(daemon.command("run"), cwd=ROOT, stdout=log, stderr=log)
    try:
        with running_prometheus(home, daemon.port) as running:
            daemon.work_through(process, running)
            yield running, daemon.port
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_every_panel_shows_something(prometheus: tuple[Prometheus, int]) -> None:
    empty = set()
    for title, query in dashboard.queries():
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        found = prometheus[0].query(query)
        sys.stdout.write(f"{len(found):3} series  {title}: {query}\n")
        if not found:
            empty.add(title)
    assert empty <= EMPTY_WITHOUT_A_FAULT


def test_every_rule_is_evaluated_and_none_fires_on_healthy_work(prometheus: tuple[Prometheus, int]) -> None:
    asked = prometheus[0]
    wait_until(lambda: asked.rules() and all(rule["health"] != "unknown" for rule in asked.rules()), "every rule")
    text = (MONITORING / "dfld.rules.yml").read_text(encoding="utf-8")
    assert {rule["name"] for rule in asked.rules()} == set(re.findall(r"- alert: (\w+)", text))
    for rule in asked.rules():
        sys.stdout.write(f"{rule['health']:4} {rule['state']:9} {rule['name']}\n")
        assert rule["health"] == "ok", rule
    # The forecast over this machine's own disk, which others fill meanwhile, may begin to worry; nothing may fire.
    worried = {rule["name"] for rule in asked.rules() if rule["state"] != "inactive"}
    assert worried <= {"DfldDiskWillFill"}
    assert not asked.query('count_over_time(ALERTS{alertstate="firing"}[30m])')


@pytest.mark.parametrize(
    "moved",
    [
        "dfld_frames_decoded_total == 54",
        'dfld_faces_total{outcome="kept"} > 0',
        "dfld_face_similarity_ratio_count > 0",
        'dfld_stage_seconds_total{stage="detect"} > 0',
        'dfld_stage_seconds_total{stage="write"} > 0',
        'dfld_queue_fill_seconds_total{queue="decoded"} > 0',
        "dfld_watch_events_total > 0",
        'dfld_files_seen_total{outcome="taken"} == 2',
        "dfld_file_wait_seconds_count == 2",
        "dfld_job_duration_seconds_count == 6",
        'dfld_masks_total{source="hull"} > 0',
        "dfld_missing_poses >= 0",
        "dfld_last_frame_timestamp_seconds > 1e9",
        "dfld_last_scan_success_timestamp_seconds > 1e9",
        "dfld_last_job_success_timestamp_seconds > 1e9",
        "dfld_config_last_reload_timestamp_seconds > 1e9",
        "dfld_workspace_faces > 0",
        "dfld_ledger_size_bytes > 0",
        'dfld_build_info{onnxruntime!=""} == 1',
        "dfld_round_last_success_timestamp_seconds > 1e9",
        "dfld_round_contributors == 2",
        "dfld_round_duration_seconds_count == 1",
        "dfld_round_spread_ratio > 0",
        "count(dfld_machine_drift_ratio > 0) == 2",
        "count(dfld_machine_iterations == 20100) == 2",
        'count(dfld_machine_connections_total{result="ok"} > 0) == 2',
        'count(dfld_transfer_bytes_total{direction="pull"} > 0) == 2',
        'count(dfld_transfer_bytes_total{direction="push"} > 0) == 2',
        'dfld_hook_calls_total{result="ok"} == 7',
    ],
)
def test_real_work_moves_its_metrics(prometheus: tuple[Prometheus, int], moved: str) -> None:
    wait_until(lambda: prometheus[0].query(moved), moved)


def test_the_scrape_itself_has_nothing_to_complain_about(prometheus: tuple[Prometheus, int]) -> None:
    (target,) = prometheus[0].ask("targets")["data"]["activeTargets"]
    assert target["health"] == "up", target["lastError"]


def test_the_text_of_the_metrics_passes_promtools_lint(prometheus: tuple[Prometheus, int]) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{prometheus[1]}/metrics", timeout=60) as answer:
        text = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert b"dfld_ready" in text
    assert [line for line in done.stderr.decode().splitlines() if line.startswith("dfld_")] == []
