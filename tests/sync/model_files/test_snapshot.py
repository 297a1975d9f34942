"""Snapshots: what counts as one finished save, and what is done while a trainer saves."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sync.errors import RemoteFileMissingError, SnapshotError
from sync.model_files.snapshot import ModelListing, list_model, take_snapshot, why_unsettled
from sync.trainers.contract import RefusedStates
from sync.transports.local import LocalTransport
from sync.transports.transport import OnBytes, ignore_bytes
from sync.types import FileStat, Machine
from tests.sync.fleet import SNAPSHOTS
from tests.sync.standin_trainer import SHAPES
from tests.sync.training import MODEL, TrainingMachine, until

PARTS = tuple(SHAPES)


@pytest.fixture
def gpu1(quick_folder: Path) -> Iterator[TrainingMachine]:
    folder = quick_folder / "model"
    folder.mkdir()
    made = TrainingMachine(Machine(name="gpu1", address="", model_dir=str(folder), transfer="local"))
    made.write_model()
    yield made
    made.kill()


def listing(**changes: int | None) -> ModelListing:
    """A finished save: summary first, weights, data.dat last; `changes` by part without its ending."""
    times: dict[str, int | None] = {"summary.txt": 100, **dict.fromkeys(PARTS, 105), "data.dat": 110}
    given = changes.pop("given", 0)
    for name, modified in changes.items():
        part = next((part for part in times if part.split(".")[0] == name), name)
        times[part] = modified
    files = {part: FileStat(part, 1, modified) for part, modified in times.items() if modified is not None}
    return ModelListing(files, given or 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"inter": 111}, "inter.npy is 1 s newer than data.dat"),
        ({"inter": 110}, ""),
        ({"summary": 111}, "summary.txt is 1 s newer than data.dat"),
        ({"inter": 99}, "inter.npy is 1 s older than summary.txt"),
        ({"inter": None}, "inter.npy is not there"),
        ({"data": None}, "data.dat is not there"),
        ({"summary": None}, ""),
        ({"inter.npy.tmp": 105}, "a save is under way"),
        ({"inter_temp_1700000000.npy": 105}, "a save is under way"),
        ({"inter": 200, "encoder": 200, "given": 201}, ""),
        ({"inter": 202, "given": 201}, "newer than data.dat"),
        ({"inter": 50, "given": 60}, ""),
    ],
)
def test_what_is_one_finished_save(changes: dict[str, int | None], words: str) -> None:
    reason = why_unsettled(listing(**changes), PARTS)
    assert words in reason
    assert bool(words) == bool(reason)


def test_a_resting_model_is_pulled_whole_and_nothing_is_left_behind(gpu1: TrainingMachine, tmp_path: Path) -> None:
    transport = LocalTransport(gpu1.machine)
    snapshot = take_snapshot(
        transport, gpu1.places, tmp_path / "in", number=1, settings=SNAPSHOTS, refused=RefusedStates()
    )
    assert snapshot.iteration == 20_000
    assert tuple(snapshot.files) == PARTS
    for part, file in snapshot.files.items():
        assert file.path.read_bytes() == (gpu1.folder / MODEL.file_name(part)).read_bytes()
    assert not list((gpu1.folder / ".dfld").rglob("snapshot-*"))
    assert {path.name for path in (tmp_path / "in").iterdir()} == {MODEL.file_name(part) for part in PARTS}


def test_data_dat_is_not_among_the_pulled_files(gpu1: TrainingMachine, tmp_path: Path) -> None:
    class Watched(LocalTransport):
        pulled: list[str] = []  # noqa: RUF012

        def pull(self, path: str, destination: Path, *, on_bytes: OnBytes = ignore_bytes) -> str:
            self.pulled.append(path)
            return super().pull(path, destination, on_bytes=on_bytes)

    transport = Watched(gpu1.machine)
    take_snapshot(
        transport,
        gpu1.places,
        tmp_path / "in",
        number=1,
        with_optimizer=True,
        trainer_runs=False,
        settings=SNAPSHOTS,
        refused=RefusedStates(),
    )
    assert len(transport.pulled) == len(PARTS) + 1
    assert not [path for path in transport.pulled if "data.dat" in path]


def test_a_trainer_that_saves_all_the_time_still_gives_one_consistent_set(
    gpu1: TrainingMachine, tmp_path: Path
) -> None:
    gpu1.options = ["--save-every", "2.5", "--file-delay", "0.05", "--iteration-s", "0.05"]
    gpu1.start()
    until(lambda: gpu1.state()["iter"] > 20_000, "a save")
    for number in range(3):
        snapshot = take_snapshot(
            LocalTransport(gpu1.machine),
            gpu1.places,
            tmp_path / "in",
            number=number,
            settings=SNAPSHOTS,
            refused=RefusedStates(),
        )
        taken = {part: file.sha256 for part, file in snapshot.files.items()}
        from tests.sync.rounds.test_rounds_ssh import history

        assert taken in [line["saved"] for line in history(gpu1) if "saved" in line], "exactly one save, as a whole"


def test_without_hard_links_a_save_during_the_pull_is_noticed_and_the_pull_repeated(
    gpu1: TrainingMachine, tmp_path: Path
) -> None:
    class NoLinks(LocalTransport):
        pulls = 0

        def hard_link(self, *_: str) -> bool:
            return False

        def pull(self, path: str, destination: Path, *, on_bytes: OnBytes = ignore_bytes) -> str:
            self.pulls += 1
            if self.pulls == 3:  # the trainer saves in between
                gpu1.write_model(seed=5, iteration=20_500)
                later = time.time() + 10
                for part in gpu1.folder.glob("alice*"):
                    os.utime(part, (later, later))
            return super().pull(path, destination, on_bytes=on_bytes)

    snapshot = take_snapshot(
        NoLinks(gpu1.machine),
        gpu1.places,
        tmp_path / "in",
        number=1,
        settings=replace(SNAPSHOTS, quiet_s=0.0),
        refused=RefusedStates(),
    )
    assert snapshot.iteration == 20_500
    for part, file in snapshot.files.items():
        assert file.path.read_bytes() == (gpu1.folder / MODEL.file_name(part)).read_bytes()


def test_a_file_that_vanishes_for_a_moment_is_tried_again(gpu1: TrainingMachine, tmp_path: Path) -> None:
    class Vanishing(LocalTransport):
        times = 2

        def pull(self, path: str, destination: Path, *, on_bytes: OnBytes = ignore_bytes) -> str:
            if self.times:
                self.times -= 1
                raise RemoteFileMissingError("between unlink and rename", machine=self.machine.name)
            return super().pull(path, destination, on_bytes=on_bytes)

    assert take_snapshot(
        Vanishing(gpu1.machine), gpu1.places, tmp_path / "in", number=1, settings=SNAPSHOTS, refused=RefusedStates()
    ).files


def test_a_broken_off_save_is_given_up_with_its_reason(gpu1: TrainingMachine, tmp_path: Path) -> None:
    (gpu1.folder / MODEL.file_name("encoder.npy.tmp")).write_bytes(b"half")
    with pytest.raises(SnapshotError, match=r"encoder.npy.tmp is there"):
        take_snapshot(
            LocalTransport(gpu1.machine),
            gpu1.places,
            tmp_path / "in",
            number=1,
            settings=replace(SNAPSHOTS, tries=2),
            refused=RefusedStates(),
        )


def test_iteration_0_is_no_model(gpu1: TrainingMachine, tmp_path: Path) -> None:
    gpu1.write_model(iteration=0)
    with pytest.raises(SnapshotError, match="iteration 0"):
        take_snapshot(
            LocalTransport(gpu1.machine),
            gpu1.places,
            tmp_path / "in",
            number=1,
            settings=replace(SNAPSHOTS, tries=1),
            refused=RefusedStates(),
        )


def test_a_snapshot_that_does_not_fit_here_is_refused_before_the_first_byte(
    gpu1: TrainingMachine, tmp_path: Path
) -> None:
    with pytest.raises(SnapshotError, match="must stay free"):
        take_snapshot(
            LocalTransport(gpu1.machine),
            gpu1.places,
            tmp_path / "in",
            number=1,
            settings=replace(SNAPSHOTS, tries=1, disk_reserve_bytes=2**60),
            refused=RefusedStates(),
        )
    assert not list((tmp_path / "in").iterdir())


def test_a_stop_ends_the_waiting(gpu1: TrainingMachine, tmp_path: Path) -> None:
    (gpu1.folder / MODEL.file_name("encoder.npy.tmp")).write_bytes(b"half")
    stop = threading.Event()
    stop.set()
    with pytest.raises(SnapshotError):
        take_snapshot(
            LocalTransport(gpu1.machine),
            gpu1.places,
            tmp_path / "in",
            number=1,
            settings=replace(SNAPSHOTS, tries=10_000, wait_s=1000.0),
            stop=stop,
            refused=RefusedStates(),
        )


def test_files_of_other_models_in_the_folder_do_not_count(gpu1: TrainingMachine) -> None:
    (gpu1.folder / "alice two_SAEHDx_encoder.npy.tmp").write_bytes(b"")
    (gpu1.folder / "alice_SAEHD_encoder.npy.tmp").write_bytes(b"")
    found = list_model(LocalTransport(gpu1.machine), gpu1.places)
    assert why_unsettled(found, PARTS) == ""
