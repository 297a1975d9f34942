"""Every way of steering a trainer keeps the one contract, and does what its mode says of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from sync.errors import TrainerError
from sync.trainers.control import CONTROL_MODES, ControlMode
from sync.trainers.trainer import TRAINERS
from sync.transports.local import LocalTransport
from sync.types import Control, Machine
from tests.sync.training import MODEL, TrainingMachine, cooperating, exchange_for, new_weights, trainer_on, until

ROOT = Path(__file__).parents[3]


def uncontrolled(machine: TrainingMachine) -> TrainingMachine:
    return machine


SET_UP = {"command": TrainingMachine.commanded, "cooperative": cooperating, "none": uncontrolled}


@pytest.fixture(params=get_args(Control))
def gpu1(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TrainingMachine]:
    """A machine with the files of a model and no trainer, set up for one way of control."""
    folder = tmp_path / "work space" / "model"
    folder.mkdir(parents=True)
    made = TrainingMachine(Machine(name="gpu1", address="", model_dir=str(folder), transfer="local"))
    made.write_model()
    yield SET_UP[request.param](made)
    made.kill()


def mode_of(gpu1: TrainingMachine) -> ControlMode:
    return CONTROL_MODES[gpu1.machine.control]


def test_every_way_has_a_mode_and_a_trainer() -> None:
    assert set(CONTROL_MODES) == set(TRAINERS) == set(get_args(Control))
    assert all(TRAINERS[name].mode is mode for name, mode in CONTROL_MODES.items())


def test_a_trainer_that_rests_is_left_alone_and_its_files_become_the_new_ones(
    gpu1: TrainingMachine, tmp_path: Path
) -> None:
    trainer = trainer_on(gpu1)
    files = new_weights(gpu1, tmp_path / "new")

    assert trainer.mode is mode_of(gpu1)
    assert not trainer.is_running()
    assert trainer.wait_until_stoppable() is None
    trainer.settle()
    assert trainer.take(exchange_for(gpu1, files)) is None
    assert trainer.take(exchange_for(gpu1, files)) is None, "safe to call again"

    live = {part: (gpu1.folder / MODEL.file_name(part)).read_bytes() for part in files}
    assert live == {part: path.read_bytes() for part, path in files.items()}
    assert not gpu1.runs()
    assert trainer.why_gone() == ""
    assert trainer.what_proves()


def test_a_trainer_that_runs_is_settled_as_its_mode_says(gpu1: TrainingMachine) -> None:
    gpu1.start()
    trainer = trainer_on(gpu1)
    until(trainer.is_running, "the trainer")
    if not trainer.mode.is_steered:
        with pytest.raises(TrainerError, match="may not stop it"):
            trainer.settle()
        assert gpu1.runs()
        return
    trainer.settle()

    assert gpu1.runs() is not trainer.mode.stops_for_round
    assert gpu1.state()["iter"] >= 20_000
    trainer.resume()
    until(trainer.is_running, "the trainer after the round")


def test_a_trainer_that_runs_takes_weights_itself_or_not_at_all(gpu1: TrainingMachine, tmp_path: Path) -> None:
    gpu1.start()
    trainer = trainer_on(gpu1)
    until(trainer.is_running, "the trainer")
    exchange = exchange_for(gpu1, new_weights(gpu1, tmp_path / "new"))
    if trainer.mode.loads_in_place:
        assert isinstance(trainer.take(exchange), int)
        assert gpu1.runs()
        return
    with pytest.raises(TrainerError):
        trainer.take(exchange)


def test_how_long_it_has_iterated_is_reckoned_from_its_save_or_from_what_it_took(gpu1: TrainingMachine) -> None:
    LocalTransport(gpu1.machine).make_folder(gpu1.places.own)
    found = trainer_on(gpu1).iterating_for_s(10, taken_ago_s=7.0, started_ago_s=500.0, pace_s=1.0)
    assert (found == 7.0) if mode_of(gpu1).loads_in_place else 10.0 <= found < 60.0


@pytest.mark.parametrize("mode", CONTROL_MODES.values(), ids=lambda mode: mode.name)
def test_what_a_way_needs_is_asked_for_setting_by_setting(mode: ControlMode) -> None:
    assert mode.missing(lambda _name: "") == tuple(group[0] for group in mode.needs)
    assert mode.missing(lambda _name: "systemctl --user x") == ()
    for group in mode.needs:
        others = {name: "x" for other in mode.needs if other is not group for name in other}
        assert mode.missing(lambda name, others=others: others.get(name, " ")) == (group[0],)  # type: ignore[misc]


def asks_for_a_way_by_name(node: ast.AST) -> bool:
    """Whether a comparison, or a match, has an attribute `control` on either side."""
    if isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.Match):
        parts = [node.subject]
    else:
        return False
    return any(isinstance(part, ast.Attribute) and part.attr == "control" for part in parts)


def test_nothing_asks_for_a_way_of_control_by_its_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("core", "dfl", "engine", "sync", "daemon")
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if asks_for_a_way_by_name(node) and isinstance(node, ast.stmt | ast.expr)
    ]
    assert found == []
