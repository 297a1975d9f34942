"""A round that cannot succeed is known before the first stop; it says why, and is tried ever more rarely."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from sync.averaging.gates import GateSettings
from sync.model_files.snapshot import SnapshotSettings
from sync.rounds.rounds import Rounds
from sync.schedule.watch import LONGEST_RETRY_AFTER_S, RETRY_AFTER_S, Watch
from sync.transports.local import LocalTransport
from sync.transports.transport import Transport
from sync.types import Machine
from tests.sync.fleet import Fleet, begun
from tests.sync.rounds.test_rounds import Away
from tests.sync.schedule.test_watch import EVERY_1000
from tests.sync.training import MODEL


def must_not_stop(rounds: Rounds) -> Rounds:
    """Let trainers count as running, and fail the test where one is asked to rest."""

    def running() -> bool:
        return True

    def settle(**_: object) -> None:
        raise AssertionError("a trainer was stopped for a round that cannot succeed")

    for name, link in rounds.links.items():
        trainer = link.trainer
        for method, instead in (("is_running", running), ("settle", settle)):
            object.__setattr__(trainer, method, instead)
        rounds.links[name] = replace(link, machine=replace(link.machine, control="command"))
    return rounds


def no_start(fleet: Fleet) -> Rounds:
    return Rounds(fleet.settings())


def cold_start(fleet: Fleet) -> Rounds:
    return begun(fleet, gates=GateSettings(warm_up_iterations=90_000, least_work=0.0))


def other_options(fleet: Fleet) -> Rounds:
    rounds = begun(fleet)
    for number, name in enumerate(("gpu2", "gpu3")):
        one = fleet[name]
        state = one.state()
        state["options"]["resolution"] = 128 + 64 * number
        (one.folder / MODEL.file_name("data.dat")).write_bytes(pickle.dumps(state, 3))
    return rounds


def too_few(fleet: Fleet) -> Rounds:
    begun(fleet).close()

    def connect(machine: Machine) -> Transport:
        return LocalTransport(machine) if machine.name == "gpu1" else Away(machine)

    return Rounds(fleet.settings(), connect=connect)


def no_room_there(fleet: Fleet) -> Rounds:
    begun(fleet).close()

    class Full(LocalTransport):
        def free_bytes(self, _folder: str) -> int | None:
            return 1000

    return Rounds(
        fleet.settings(), connect=lambda machine: (LocalTransport if machine.name == "gpu1" else Full)(machine)
    )


def no_room_here(fleet: Fleet) -> Rounds:
    begun(fleet).close()
    free = shutil.disk_usage(fleet.folder).free
    return Rounds(fleet.settings(snapshot=SnapshotSettings(disk_reserve_bytes=free + 2**30)))


def another_start(fleet: Fleet) -> Rounds:
    """Two of three were away at the last round: they trained on from an older start."""
    first = begun(fleet)
    first.close()

    def connect(machine: Machine) -> Transport:
        return LocalTransport(machine) if machine.name != "gpu3" else Away(machine)

    second = Rounds(fleet.settings(), connect=connect)
    assert second.average().outcome == "averaged"
    second.close()
    fleet.train_by_hand()

    def other(machine: Machine) -> Transport:
        return LocalTransport(machine) if machine.name != "gpu2" else Away(machine)

    return Rounds(fleet.settings(), connect=other)


def a_file_is_gone(fleet: Fleet) -> Rounds:
    rounds = begun(fleet)
    for name in ("gpu2", "gpu3"):
        (fleet[name].folder / MODEL.file_name("inter.npy")).unlink()
    return rounds


@pytest.mark.parametrize(
    ("hopeless", "words"),
    [
        (no_start, "common start"),
        (cold_start, "warm-up needs 90000"),
        (other_options, "quorum is 2"),
        (too_few, "no route"),
        (no_room_there, "bytes free"),
        (no_room_here, "this computer has"),
        (another_start, "trained on from"),
        (a_file_is_gone, "inter.npy is not there"),
    ],
)
def test_a_round_that_cannot_succeed_stops_nobody_and_says_why(
    fleet: Fleet, hopeless: Callable[[Fleet], Rounds], words: str
) -> None:
    rounds = must_not_stop(hopeless(fleet))
    done = rounds.average()
    assert done.outcome == "held"
    assert words in done.reason
    record = rounds.records()[-1]
    assert not record.touched
    assert not record.owing


@pytest.mark.parametrize("hopeless", [no_start, too_few, other_options])
def test_a_try_says_the_same_beforehand(fleet: Fleet, hopeless: Callable[[Fleet], Rounds]) -> None:
    rounds = hopeless(fleet)
    assert rounds.try_average().reason == rounds.average().reason


def test_a_start_for_machines_that_train_another_network_stops_nobody(fleet: Fleet) -> None:
    for name in ("gpu2", "gpu3"):
        state = fleet[name].state()
        state["options"]["archi"] = "liae-ud"
        (fleet[name].folder / MODEL.file_name("data.dat")).write_bytes(pickle.dumps(state, 3))
    done = must_not_stop(Rounds(fleet.settings())).start_from("gpu1")
    assert done.outcome == "held"


def test_pretrained_weights_may_start_machines_that_pretrain_no_more(fleet: Fleet) -> None:
    state = fleet["gpu1"].state()
    state["options"]["pretrain"] = True
    (fleet["gpu1"].folder / MODEL.file_name("data.dat")).write_bytes(pickle.dumps(state, 3))
    assert Rounds(fleet.settings()).start_from("gpu1").receivers == ("gpu1", "gpu2", "gpu3")


def test_an_optimizer_that_holds_counters_only_stays_what_it_is(fleet: Fleet) -> None:
    paths = [one.folder / MODEL.file_name("src_dst_opt.npy") for one in fleet.machines]
    for number, path in enumerate(paths):
        saved = path.stat()
        path.write_bytes(pickle.dumps({"iters:0": np.int64(7 + number)}, 4))
        os.utime(path, ns=(saved.st_atime_ns, saved.st_mtime_ns))  # as if the save that wrote the rest had written it
    before = [path.read_bytes() for path in paths]
    done = Rounds(fleet.settings()).start_from("gpu1")
    assert done.outcome == "initialised", done.reason
    assert done.receivers == ("gpu1", "gpu2", "gpu3")
    assert before == [path.read_bytes() for path in paths]


# Backing off.


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.wall = datetime.now(UTC)
        self.monotonic_s = 1000.0

    def pass_s(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.monotonic_s += seconds

    def watch(self, rounds: Rounds) -> Watch:
        return Watch(rounds, EVERY_1000, clock=lambda: self.wall, monotonic=lambda: self.monotonic_s)


def test_hopeless_rounds_in_a_row_are_tried_ever_more_rarely_but_never_given_up(fleet: Fleet) -> None:
    rounds = no_room_there(fleet)
    fleet.train_by_hand(iterations=2000)
    clocks = Clocks()
    watch = clocks.watch(rounds)
    assert watch.observe().due
    waits = []
    for _ in range(8):
        assert rounds.average().outcome == "held"
        clocks.wall = datetime.now(UTC)
        waited = 0.0
        while not watch.observe().due:
            clocks.pass_s(300)
            waited += 300
        waits.append(waited)
    assert waits[:3] == [RETRY_AFTER_S, 2 * RETRY_AFTER_S, 4 * RETRY_AFTER_S]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_RETRY_AFTER_S


@pytest.mark.parametrize("days", [1, 400])
def test_the_wait_for_the_next_try_survives_a_clock_that_is_set_back(fleet: Fleet, days: int) -> None:
    rounds = no_room_there(fleet)
    fleet.train_by_hand(iterations=2000)
    assert rounds.average().outcome == "held"
    clocks = Clocks()
    watch = clocks.watch(rounds)
    clocks.wall -= timedelta(days=days)
    assert not watch.observe().due
    clocks.pass_s(RETRY_AFTER_S + 1)
    assert watch.observe().due
