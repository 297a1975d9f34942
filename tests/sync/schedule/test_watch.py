"""When a round is due, by looking at machines."""

from __future__ import annotations

import os
import pickle
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dfl.byte_source import ByteSource
from sync.rounds.rounds import Rounds
from sync.schedule.stages import StageSettings, StageTable
from sync.schedule.watch import Watch
from sync.trainers.contract import TrainerSettings
from sync.transports.local import LocalTransport
from sync.types import FileStat, Machine
from tests.sync.fleet import Fleet, begun, make_fleet
from tests.sync.rounds.test_rounds_bad_machines import break_weights
from tests.sync.training import MODEL

EVERY_1000 = StageTable((StageSettings("early", 1000),))


def test_before_a_common_start_nothing_is_due(fleet: Fleet) -> None:
    found = Watch(Rounds(fleet.settings()), EVERY_1000).observe()
    assert not found.due
    assert "dfld sync init" in found.reason


def test_a_round_is_due_when_all_have_trained_the_interval(fleet: Fleet) -> None:
    rounds = begun(fleet)  # 100 iterations each
    assert not Watch(rounds, EVERY_1000).observe().due
    fleet.train_by_hand(iterations=900)
    assert Watch(rounds, EVERY_1000).observe().due
    assert rounds.average().outcome == "averaged"
    assert not Watch(rounds, EVERY_1000).observe().due, "counted from that round on"


def test_a_trainer_faster_than_its_saves_is_not_averaged_more_often_than_it_saves(fleet: Fleet) -> None:
    deepfacelab = replace(fleet.settings().trainer, save_period_s=TrainerSettings().save_period_s)
    watch = Watch(begun(fleet, trainer=deepfacelab), EVERY_1000)
    data = fleet["gpu1"].folder / MODEL.file_name("data.dat")
    os.utime(data, (1_600_000_000, 1_600_000_000))
    assert watch.observe().interval == 1000
    fleet.train_by_hand(["gpu1"], iterations=900)
    os.utime(data, (1_600_000_090, 1_600_000_090))  # 0.1 s each: 15000 between two saves
    assert watch.observe().interval == 15_000


def test_a_machine_that_trains_a_gan_halves_the_interval(fleet: Fleet) -> None:
    watch = Watch(begun(fleet), EVERY_1000)
    data = fleet["gpu2"].folder / MODEL.file_name("data.dat")
    state = pickle.loads(data.read_bytes())
    state["options"]["gan_power"] = 0.1
    data.write_bytes(pickle.dumps(state))
    assert watch.observe().interval == 500


def test_the_quorum_waits_a_while_for_the_others_but_not_for_ever(fleet: Fleet) -> None:
    rounds = begun(fleet)
    fleet.train_by_hand(["gpu1", "gpu2"], iterations=900)
    found = Watch(rounds, EVERY_1000).observe()
    assert not found.due
    assert "waiting for the others" in found.reason
    fleet.train_by_hand(["gpu1", "gpu2"], iterations=300)
    assert Watch(rounds, EVERY_1000).observe().due


def test_a_machine_that_cannot_be_reached_does_not_hold_up_the_quorum(fleet: Fleet) -> None:
    watch = Watch(begun(fleet), EVERY_1000)
    fleet.train_by_hand(["gpu1", "gpu2"], iterations=900)
    (fleet["gpu3"].folder / MODEL.file_name("data.dat")).unlink()
    found = watch.observe()
    assert found.due
    assert "data.dat" in found.failed["gpu3"].message


def test_at_the_target_loss_nothing_is_due_any_more(fleet: Fleet) -> None:
    watch = Watch(begun(fleet), StageTable(EVERY_1000.stages, target_loss=0.5))
    fleet.train_by_hand(iterations=2000)
    found = watch.observe()
    assert found.finished
    assert not found.due


def test_a_look_costs_one_stat_per_machine_while_nothing_was_saved(fleet: Fleet) -> None:
    asked: list[str] = []

    class Counting(LocalTransport):
        def stat(self, path: str) -> FileStat:
            asked.append("stat")
            return super().stat(path)

        def open_ranges(self, path: str):  # type: ignore[no-untyped-def]
            asked.append("read")
            return super().open_ranges(path)

    def connect(machine: Machine) -> LocalTransport:
        return Counting(machine)

    begun(fleet).close()
    watch = Watch(Rounds(fleet.settings(), connect=connect), EVERY_1000)
    watch.observe()
    asked.clear()
    watch.observe()
    assert asked == ["stat"] * 3


def test_the_stage_is_remembered_by_the_next_dfld(fleet: Fleet) -> None:
    table = StageTable((StageSettings("early", 1000), StageSettings("late", 10, from_iteration=20_050)))
    rounds = begun(fleet)
    assert Watch(rounds, table).observe().stage == "late"
    assert Rounds(fleet.settings()).store.read_note("stage")["stage"] == 1


def test_one_machine_alone_is_due_by_its_own_iterations(quick_folder: Path) -> None:
    alone = make_fleet(quick_folder, ("gpu1",))
    rounds = Rounds(alone.settings(quorum=1))
    assert Watch(rounds, EVERY_1000).observe().due
    assert rounds.average().outcome == "averaged"
    assert not Watch(rounds, EVERY_1000).observe().due
    alone.train_by_hand(iterations=1000)
    assert Watch(rounds, EVERY_1000).observe().due


def test_a_round_that_came_to_nothing_is_not_tried_again_at_every_poll(fleet: Fleet) -> None:
    rounds = begun(fleet)
    fleet.train_by_hand(iterations=900)
    for name in ("gpu1", "gpu2"):
        break_weights(fleet[name], "NaN")
    assert Watch(rounds, EVERY_1000).observe().due
    assert rounds.average().outcome == "held"

    found = Watch(rounds, EVERY_1000).observe()
    assert not found.due
    assert "the next try is 250 iterations away" in found.reason
    fleet.train_by_hand(iterations=249)
    assert not Watch(rounds, EVERY_1000).observe().due
    fleet.train_by_hand(iterations=1)
    assert Watch(rounds, EVERY_1000).observe().due


def test_a_round_that_never_got_a_snapshot_is_tried_again_after_a_while(fleet: Fleet) -> None:
    rounds = begun(fleet)
    fleet.train_by_hand(iterations=900)
    for one in fleet.machines:
        (one.folder / MODEL.file_name("encoder.npy.tmp")).write_bytes(b"half")
    assert rounds.average().outcome == "held"
    assert not Watch(rounds, EVERY_1000).observe().due
    later = datetime.now(UTC) + timedelta(minutes=11)
    assert Watch(rounds, EVERY_1000, clock=lambda: later).observe().due


def test_a_data_dat_that_was_refused_is_not_read_again_until_it_changes(fleet: Fleet) -> None:
    read: list[str] = []

    class Counting(LocalTransport):
        def open_ranges(self, path: str) -> AbstractContextManager[ByteSource]:
            if self.machine.name == "gpu2":
                read.append(path)
            return super().open_ranges(path)

    begun(fleet).close()
    data = fleet["gpu2"].folder / MODEL.file_name("data.dat")
    good = data.read_bytes()
    data.write_bytes(b"\x80\x04" + b"}" * 3_000_000)
    rounds = Rounds(fleet.settings(), connect=Counting)
    watch = Watch(rounds, EVERY_1000)

    for _ in range(3):
        seen = watch.observe()
        assert set(seen.machines) == {"gpu1", "gpu3"}
        assert f"machine gpu2: {data.name} is no usable data.dat" in seen.failed["gpu2"].message
        assert "autobackups" in seen.failed["gpu2"].hint
    done = rounds.average()
    assert "is no usable data.dat" in done.excluded["gpu2"]
    assert len(read) == 1, "a round does not read it again either"
    os.utime(data, (1_600_000_000, 1_600_000_000))
    watch.observe()
    assert len(read) == 2
    data.write_bytes(good)
    assert set(watch.observe().machines) == {"gpu1", "gpu2", "gpu3"}
