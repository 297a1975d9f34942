"""Whole rounds over machines that are folders: outcomes, exclusions, fences, rollback. SSH and kills are elsewhere."""

from __future__ import annotations

import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from sync.averaging.average import AverageSettings
from sync.errors import RoundError, UnreachableError
from sync.journal.lines import Line
from sync.rounds import store
from sync.rounds.round_work import Waiting
from sync.rounds.rounds import Rounds
from sync.transports.local import LocalTransport
from sync.transports.transport import Transport
from sync.types import Machine
from tests.sync.fleet import Fleet, as_value, begun, make_fleet, mean_of, weights_value
from tests.sync.training import MODEL


def test_a_start_from_one_machine_gives_all_its_weights_and_leaves_their_data_dat(fleet: Fleet) -> None:
    before = {one.machine.name: (one.folder / MODEL.file_name("data.dat")).read_bytes() for one in fleet.machines}

    done = Rounds(fleet.settings()).start_from("gpu1")

    assert done.outcome == "initialised"
    assert len(set(fleet.sets().values())) == 1
    assert before == {
        one.machine.name: (one.folder / MODEL.file_name("data.dat")).read_bytes() for one in fleet.machines
    }


def test_an_average_reaches_every_machine_and_is_the_mean(fleet: Fleet) -> None:
    rounds = begun(fleet)
    expected = as_value(mean_of(fleet.machines))

    done = rounds.average()

    assert done.outcome == "averaged", done.reason
    assert done.contributors == ("gpu1", "gpu2", "gpu3")
    assert set(fleet.sets().values()) == {expected}
    assert done.divergences["gpu1"]["drift_rel"] > 0
    assert not done.fenced


def test_an_average_leaves_optimizer_and_data_dat_as_they_were(fleet: Fleet) -> None:
    rounds = begun(fleet)
    parts = ("src_dst_opt.npy", "data.dat", "summary.txt")
    before = [(one.folder / MODEL.file_name(part)).read_bytes() for one in fleet.machines for part in parts]
    assert rounds.average().outcome == "averaged"
    assert before == [(one.folder / MODEL.file_name(part)).read_bytes() for one in fleet.machines for part in parts]


def test_nothing_of_dfld_is_left_on_a_machine_but_its_note(fleet: Fleet) -> None:
    begun(fleet).average()
    for one in fleet.machines:
        left = [path.name for path in (one.folder / ".dfld" / MODEL.prefix).iterdir()]
        assert set(left) <= {"given.json", ".dfld-clock"}


def test_without_a_common_start_nothing_is_averaged(fleet: Fleet) -> None:
    before = fleet.sets()
    done = Rounds(fleet.settings()).average()
    assert done.outcome == "held"
    assert "common start" in done.reason
    assert fleet.sets() == before


def test_before_warm_up_nothing_is_averaged(fleet: Fleet) -> None:
    for one in fleet.machines:
        one.write_model(iteration=500)
    rounds = begun(fleet)
    before = fleet.sets()
    done = rounds.average()
    assert done.outcome == "held"
    assert "warm-up" in done.reason
    assert fleet.sets() == before


def test_a_second_average_counts_from_the_first(fleet: Fleet) -> None:
    rounds = begun(fleet)
    rounds.average()
    fleet.train_by_hand()
    expected = as_value(mean_of(fleet.machines))
    done = rounds.average()
    assert done.outcome == "averaged", done.reason
    assert set(fleet.sets().values()) == {expected}


class Away(LocalTransport):
    """A machine that is switched off."""

    def stat(self, *_: object, **__: object):  # type: ignore[no-untyped-def]
        raise UnreachableError("no route to host", machine=self.machine.name)

    list_files = read = run = make_folder = write = stat  # type: ignore[assignment]


def test_one_machine_away_is_left_out_and_fenced_out_until_it_has_the_average(fleet: Fleet) -> None:
    begun(fleet).close()

    def connect(machine: Machine) -> Transport:
        return Away(machine) if machine.name == "gpu3" else LocalTransport(machine)

    expected = as_value(mean_of([fleet["gpu1"], fleet["gpu2"]]))
    done = Rounds(fleet.settings(), connect=connect).average()
    assert done.outcome == "averaged", done.reason
    assert "no route" in done.excluded["gpu3"]
    assert weights_value(fleet["gpu1"]) == weights_value(fleet["gpu2"]) == expected

    # The next day it is back, trained on from the old start: not counted, but given the average.
    fleet.train_by_hand()
    expected = as_value(mean_of([fleet["gpu1"], fleet["gpu2"]]))
    done = Rounds(fleet.settings()).average()
    assert done.contributors == ("gpu1", "gpu2")
    assert "trained on from" in done.excluded["gpu3"]
    assert set(fleet.sets().values()) == {expected}


class CutAtSwap(LocalTransport):
    """A machine that is lost after the decision, at its second rename into the model folder."""

    renames = 0

    def rename_over(self, old: str, new: str) -> None:
        if "/round-" in old and not new.endswith(".part"):
            self.renames += 1
            if self.renames > 1:
                raise UnreachableError("gone", machine=self.machine.name)
        super().rename_over(old, new)


def test_a_machine_lost_during_the_swap_is_finished_when_it_returns_and_nothing_else_before(fleet: Fleet) -> None:
    begun(fleet).close()
    expected = as_value(mean_of(fleet.machines))

    def connect(machine: Machine) -> Transport:
        return CutAtSwap(machine) if machine.name == "gpu2" else LocalTransport(machine)

    done = Rounds(fleet.settings(), connect=connect).average()
    assert done.outcome == "averaged"
    assert "gpu2" in done.fenced
    assert weights_value(fleet["gpu1"]) == weights_value(fleet["gpu3"]) == expected
    assert weights_value(fleet["gpu2"]) != expected

    assert Rounds(fleet.settings()).recover() == {}
    assert weights_value(fleet["gpu2"]) == expected


def test_a_fenced_machine_is_not_counted_while_it_is_away(fleet: Fleet) -> None:
    begun(fleet).close()

    def lost(machine: Machine) -> Transport:
        return CutAtSwap(machine) if machine.name == "gpu2" else LocalTransport(machine)

    def away(machine: Machine) -> Transport:
        return Away(machine) if machine.name == "gpu2" else LocalTransport(machine)

    number = Rounds(fleet.settings(), connect=lost).average().number
    fleet.train_by_hand(["gpu1", "gpu3"])
    done = Rounds(fleet.settings(), connect=away).average()
    assert done.outcome == "averaged"
    assert done.excluded["gpu2"] == f"it still has to finish round {number}"


# Going back, trying, keeping.


def test_a_rollback_gives_every_machine_the_average_before(fleet: Fleet) -> None:
    rounds = begun(fleet)
    rounds.average()
    first = fleet.sets()["gpu1"]
    fleet.train_by_hand()
    rounds.average()
    assert fleet.sets()["gpu1"] != first
    fleet.train_by_hand()

    done = rounds.roll_back()

    assert done.outcome == "rolled_back", done.reason
    assert set(fleet.sets().values()) == {first}
    fleet.train_by_hand()
    assert rounds.average().outcome == "averaged", "and from there on averages go on"


def test_a_machine_that_is_called_like_the_round_gone_back_to_gets_its_weights_too(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, names=("1", "2"))
    rounds = Rounds(fleet.settings())
    rounds.start_from("1")
    first = fleet.sets()["1"]
    fleet.train_by_hand()

    done = rounds.roll_back(1)

    assert done.receivers == ("1", "2")
    assert set(fleet.sets().values()) == {first}


def test_a_rollback_to_a_round_that_is_not_kept_says_which_are(fleet: Fleet) -> None:
    rounds = begun(fleet)
    with pytest.raises(RoundError, match="round 77 is not kept here; kept are: 1"):
        rounds.roll_back(77)


def test_a_damaged_average_is_never_pushed(fleet: Fleet) -> None:
    rounds = begun(fleet)
    rounds.average()
    kept = rounds.store.average(1).files["encoder.npy"]
    content = bytearray(kept.read_bytes())
    content[-10] ^= 1
    kept.unlink()
    kept.write_bytes(content)
    before = fleet.sets()
    with pytest.raises(RoundError, match=r"encoder.npy of the kept average 1 is damaged"):
        rounds.roll_back(1)
    assert fleet.sets() == before


def test_only_the_last_averages_are_kept(fleet: Fleet) -> None:
    rounds = begun(fleet, keep_rounds=2)
    for _ in range(3):
        assert rounds.average().outcome == "averaged"
        fleet.train_by_hand()
    assert rounds.store.averages() == [3, 4]


def test_a_try_changes_nothing_and_tells_what_would_be(fleet: Fleet) -> None:
    rounds = begun(fleet)
    before = fleet.sets()
    numbers = rounds.journal.numbers()

    done = rounds.try_average()

    assert done.outcome == "dry_run"
    assert done.contributors == ("gpu1", "gpu2", "gpu3")
    assert done.divergences["gpu2"]["drift_rel"] > 0
    assert fleet.sets() == before
    assert rounds.journal.numbers() == numbers


def test_the_model_to_deploy_is_the_exponential_average_of_rounds(fleet: Fleet) -> None:
    rounds = begun(fleet, average=AverageSettings(ema_decay=0.5))
    start = pickle.loads((rounds.store.average(1).files["inter.npy"]).read_bytes())["dense1/weight:0"]
    rounds.average()
    average = fleet["gpu1"].weights()["inter.npy"]["dense1/weight:0"]
    deployed = rounds.store.deployed()
    assert deployed is not None
    found = pickle.loads(deployed.files["inter.npy"].read_bytes())["dense1/weight:0"]
    np.testing.assert_allclose(found, (start.astype(np.float64) + average) / 2, rtol=1e-6)


def test_an_outer_step_goes_beyond_the_average_and_is_remembered(fleet: Fleet) -> None:
    rounds = begun(fleet, average=AverageSettings(outer="nesterov"))
    mean = as_value(mean_of(fleet.machines))
    assert rounds.average().outcome == "averaged"
    assert len(set(fleet.sets().values())) == 1
    assert fleet.sets()["gpu1"] != mean
    assert rounds.store.momentum_files()
    fleet.train_by_hand()
    assert rounds.average().outcome == "averaged"


def test_two_dflds_do_not_work_on_one_model_at_once(fleet: Fleet) -> None:
    rounds = begun(fleet)
    with rounds.store.locked(threading.Event()), pytest.raises(RoundError, match="another dfld"):
        Rounds(fleet.settings()).average()


def test_a_stop_ends_the_wait_for_another_dfld(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_WAIT_S", 3600.0)
    rounds, stop = begun(fleet), threading.Event()
    stop.set()
    with rounds.store.locked(threading.Event()), pytest.raises(RoundError, match="another dfld"):
        Rounds(fleet.settings(), stop=stop).average()


def test_a_machine_without_room_is_left_out_before_the_decision(fleet: Fleet) -> None:
    begun(fleet).close()

    class Full(LocalTransport):
        def free_bytes(self, _folder: str) -> int | None:
            return 1000

    def connect(machine: Machine) -> Transport:
        return Full(machine) if machine.name == "gpu2" else LocalTransport(machine)

    before = fleet.sets()["gpu2"]
    done = Rounds(fleet.settings(), connect=connect).average()
    assert done.outcome == "averaged"
    assert done.receivers == ("gpu1", "gpu3")
    assert fleet.sets()["gpu2"] == before
    assert not list((fleet["gpu2"].folder / ".dfld" / MODEL.prefix).glob("round-*"))


def test_an_unknown_machine_cannot_give_the_start(fleet: Fleet) -> None:
    with pytest.raises(RoundError, match="gpu9"):
        Rounds(fleet.settings()).start_from("gpu9")


def test_one_machine_alone_feeds_the_model_to_deploy_and_is_left_alone(quick_folder: Path) -> None:
    alone = make_fleet(quick_folder, ("gpu1",))
    rounds = Rounds(alone.settings(quorum=1))
    before = alone.sets()
    first = rounds.average()
    assert first.outcome == "averaged", first.reason
    start = alone["gpu1"].weights()["inter.npy"]["dense1/weight:0"].astype(np.float64)
    assert alone.sets() == before
    alone.train_by_hand()
    assert rounds.average().outcome == "averaged"
    deployed = rounds.store.deployed()
    assert deployed is not None
    found = pickle.loads(deployed.files["inter.npy"].read_bytes())["dense1/weight:0"]
    now = alone["gpu1"].weights()["inter.npy"]["dense1/weight:0"]
    np.testing.assert_allclose(found, (start + now) / 2, rtol=1e-6)


def test_a_lost_average_costs_only_the_measure_of_drift(fleet: Fleet) -> None:
    rounds = begun(fleet)
    shutil.rmtree(rounds.store.folder / "averages")
    done = rounds.average()
    assert done.outcome == "averaged", done.reason
    assert "drift_rel" not in done.divergences["gpu1"]


@pytest.mark.parametrize(("step", "never"), [("planned", "pulled"), ("staging", "staged")])
def test_a_stop_breaks_off_a_transfer_before_the_decision(fleet: Fleet, step: str, never: str) -> None:
    begun(fleet)
    before = fleet.sets()
    stop, steps = threading.Event(), []

    def watch(line: Line | Waiting) -> None:
        if isinstance(line, Waiting):
            return
        steps.append(line.step)
        if line.step == step:
            stop.set()

    done = Rounds(fleet.settings(), stop=stop, on_progress=watch).average()
    assert done.outcome == "aborted"
    assert never not in steps
    assert fleet.sets() == before
    assert not list(fleet.folder.parent.glob("gpu*/**/*.part"))
    assert Rounds(fleet.settings()).average().outcome == "averaged"
