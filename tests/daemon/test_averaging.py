"""The service does rounds by itself: a due one is done, told and counted; a broken one is told and ends nothing."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.averaging import Averaging
from daemon.commands.status import status_text
from daemon.config.load import read_config
from daemon.config.schema import Config
from daemon.events.event import Event
from daemon.machines import round_settings_of
from daemon.metrics.registry import Metrics, new_registry
from daemon.reports.codec import decoded, encoded
from daemon.reports.models import ModelReport
from daemon.reports.service import ServiceReport
from daemon.scheduler import Scheduler
from daemon.service import Service, names_of
from sync.rounds.rounds import Rounds
from tests.sync.fleet import Fleet, make_fleet
from tests.sync.journal_entries import entry
from tests.sync.training import MODEL, until


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return make_fleet(tmp_path, ("gpu1", "gpu2"))


@pytest.fixture
def config(fleet: Fleet, tmp_path: Path) -> Config:
    machines = "".join(
        f'[[machine]]\nname = "{one.machine.name}"\naddress = "localhost"\ntransfer = "local"\n'
        f'status = "false"\nmodel_dir = {json.dumps(str(one.folder))}\n'
        for one in fleet.machines
    )
    path = tmp_path / "config.toml"
    path.write_text(
        f'[service]\nstate_dir = "{tmp_path / "state"}"\n[http]\nlisten = "127.0.0.1:0"\n{machines}'
        f'[[sync]]\nname = "{MODEL.name}"\nmachines = ["gpu1", "gpu2"]\npoll_every = "1s"\n'
        '[[sync.stage]]\nname = "early"\nevery_iterations = 50\n',
        encoding="utf-8",
    )
    return read_config(path).config


class Told:
    """Everything that was told, by kind."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
def averaging(config: Config) -> tuple[Averaging, Told, Metrics, Callable[[], None]]:
    told = Told()
    metrics = Metrics(new_registry(), names_of(config))
    scheduler = Scheduler(told)
    made = Averaging(told, metrics, scheduler)

    def poll() -> None:
        for model in made._models.values():
            model.poll()

    made.configure(config)
    return made, told, metrics, poll


def until_a_round(poll: Callable[[], None], told: Told) -> None:
    def polled() -> bool:
        poll()
        return bool(told.of("round.ok"))

    until(polled, "a round")


def test_a_due_round_is_done_told_and_counted(
    fleet: Fleet, averaging: tuple[Averaging, Told, Metrics, Callable[[], None]]
) -> None:
    made, told, _, poll = averaging
    (model,) = made._models.values()
    model.rounds.start_from("gpu1")
    fleet.train_by_hand(iterations=100)

    until_a_round(poll, told)

    (event,) = told.of("round.ok")
    assert event.facts["outcome"] == "averaged"
    assert len(set(fleet.sets().values())) == 1
    assert made.reading()["dfld_rounds_total"] == {
        (MODEL.name, "initialised"): 1,
        (MODEL.name, "averaged"): 1,
    }
    poll()
    assert len(told.of("round.ok")) == 1, "the next one is not due yet"
    made.stop(time.monotonic() + 30)


def test_status_and_numbers_are_read_without_touching_the_rounds_that_another_thread_works_with(
    fleet: Fleet, averaging: tuple[Averaging, Told, Metrics, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, told, _, poll = averaging
    (model,) = made._models.values()
    model.rounds.start_from("gpu1")
    fleet.train_by_hand(iterations=100)

    until_a_round(poll, told)

    def forbidden() -> None:
        raise AssertionError("asked from another thread")

    made.stop(time.monotonic() + 30)
    monkeypatch.setattr(model.rounds, "records", forbidden)
    (status,) = made.statuses()
    assert status.last is not None
    assert (status.last.outcome, status.last.contributors) == ("averaged", ("gpu1", "gpu2"))
    assert decoded(ModelReport, json.loads(json.dumps(encoded(status)))) == status, "plain values"
    assert made.reading()["dfld_round_contributors"] == {(MODEL.name,): 2.0}
    with pytest.raises(TypeError):
        model.past.owing["gpu1"] = 2  # type: ignore[index]


def test_a_round_that_an_earlier_dfld_left_is_told_with_what_became_of_it(
    config: Config, fleet: Fleet, averaging: tuple[Averaging, Told, Metrics, Callable[[], None]]
) -> None:
    made, told, _, poll = averaging
    (model,) = made._models.values()
    model.rounds.start_from("gpu1")
    fleet.train_by_hand(iterations=10)
    journal = model.rounds.journal
    left = journal.begin()
    machines = ["gpu1", "gpu2"]
    running = dict.fromkeys(machines, False)
    journal.append(left, entry("planned", "", {"kind": "average", "machines": machines, "running": running}))
    journal.append(left, entry("settling", "gpu2", {"stops": False}))
    again = Averaging(told, Metrics(new_registry(), names_of(config)), Scheduler(told))
    again.configure(config)
    assert again.statuses()[0].owing == {"gpu2": left}
    again.stop(time.monotonic() + 30)

    poll()
    until(lambda: not model._unfinished, "the recovery")
    assert made.statuses()[0].owing == {}

    (event,) = told.of("round.recovered")
    assert f"round {left} was left before its decision by a dfld that ended; it is given up" in event.message
    assert "as before it are: gpu2" in event.message
    made.stop(time.monotonic() + 30)


def test_the_status_of_a_model_says_its_last_round_and_what_comes_next(
    fleet: Fleet, averaging: tuple[Averaging, Told, Metrics, Callable[[], None]]
) -> None:
    made, _, _, poll = averaging
    (model,) = made._models.values()
    assert made.statuses()[0].last is None
    model.rounds.start_from("gpu1")
    fleet.train_by_hand(iterations=10)
    (fleet["gpu2"].folder / MODEL.file_name("data.dat")).unlink()

    def looked() -> bool:
        poll()
        return made.statuses()[0].every_iterations is not None

    until(looked, "a look")
    (status,) = made.statuses()
    assert status.last is not None
    assert (status.last.round, status.last.outcome) == (1, "initialised")
    assert status.stage == "early"
    assert "gpu1 10 of 50 iterations" in status.next
    assert status.machines["gpu1"].iteration == 20_010
    text = status_text(ServiceReport(pid=1, started_s=0, now_s=time.time(), state="running", models=(status,)))
    assert f"model {MODEL.name}: stage early, a round every 50 iterations" in text
    assert "last round 1 initialised" in text
    assert "next: gpu1 10 of 50 iterations since the last round" in text
    assert "gpu2: machine gpu2: cannot examine" in text
    made.stop(time.monotonic() + 30)


def test_a_round_that_raises_what_nobody_foresaw_is_reported_with_its_traceback_and_the_next_poll_comes(
    averaging: tuple[Averaging, Told, Metrics, Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made, told, _, poll = averaging
    (model,) = made._models.values()

    def nonsense() -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(model.rounds, "recover", nonsense)
    poll()
    until(lambda: told.of("round.failed"), "the failure")
    until(lambda: not (model._thread and model._thread.is_alive()), "the round's end")

    (event,) = told.of("round.failed")
    assert "ZeroDivisionError: on purpose" in event.message
    (record,) = [one for one in caplog.records if one.name == "core.boundary"]
    assert record.fields["boundary"] == "round"  # type: ignore[attr-defined]
    assert "in nonsense" in caplog.text
    monkeypatch.undo()
    poll()
    until(lambda: not model._unfinished, "the next poll")


def test_without_a_common_start_nothing_is_started(
    fleet: Fleet, averaging: tuple[Averaging, Told, Metrics, Callable[[], None]]
) -> None:
    made, told, _, poll = averaging
    before = fleet.sets()
    for _ in range(3):
        poll()
        until(lambda: not (made._models and next(iter(made._models.values()))._thread.is_alive()), "the recovery")  # type: ignore[union-attr]
    assert not told.of("round.ok")
    assert fleet.sets() == before
    made.stop(time.monotonic() + 30)


def test_a_machine_that_is_down_is_told_once_and_again_when_it_is_back(
    fleet: Fleet, averaging: tuple[Averaging, Told, Metrics, Callable[[], None]]
) -> None:
    made, told, _, poll = averaging
    (model,) = made._models.values()
    poll()
    until(lambda: not model._unfinished, "the recovery")
    until(lambda: not model._thread.is_alive(), "the recovery's end")  # type: ignore[union-attr]
    data = fleet["gpu2"].folder / MODEL.file_name("data.dat")
    content = data.read_bytes()
    data.unlink()
    poll()
    poll()
    assert [event.facts["machine"] for event in told.of("machine.down")] == ["gpu2"]
    data.write_bytes(content)
    poll()
    assert [event.facts["machine"] for event in told.of("machine.up")] == ["gpu2"]
    made.stop(time.monotonic() + 30)


def test_the_service_itself_does_the_round_and_serves_its_numbers(fleet: Fleet, config: Config) -> None:
    (sync,) = config.syncs
    # Before the service looks: from two saves that it saw, it would reckon how long an interval has to be.
    rounds = Rounds(round_settings_of(config, sync))
    assert rounds.start_from("gpu1").outcome == "initialised"
    rounds.close()
    fleet.train_by_hand(iterations=100)
    service = Service(config)
    ready = service.start()
    try:
        wanted = f'dfld_rounds_total{{model="{sync.name}",outcome="averaged"}} 1.0'

        def served() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{ready.http_port}/metrics", timeout=10) as answer:
                return str(answer.read(), "utf-8")

        until(lambda: wanted in served(), "the round in /metrics")
        page = served()
        assert 'dfld_machine_up{machine="gpu1"} 1.0' in page
        assert f'dfld_round_contributors{{model="{sync.name}"}} 2.0' in page
        last = next(line for line in page.splitlines() if line.startswith("dfld_round_last_success_timestamp_seconds{"))
        assert time.time() - 600 < float(last.rpartition(" ")[2])
    finally:
        service.stop()
