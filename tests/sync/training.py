"""Machines that train: a model folder, a stand-in trainer, and the commands that steer it."""

from __future__ import annotations

import os
import pickle
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dfl.model_files import ModelName
from sync.model_files.push import put_in_place, stage
from sync.places import RemotePlaces, places_of
from sync.trainers.contract import Exchange, RefusedStates, Trainer, TrainerSettings
from sync.trainers.cooperating import hook_line, install_hook
from sync.trainers.trainer import trainer_of
from sync.transports.local import LocalTransport
from sync.types import Machine
from tests.sync.standin_trainer import SHAPES, write_model

PROGRAM = Path(__file__).with_name("standin_trainer.py")
MODEL = ModelName("alice two", "SAEHD")
DEADLINE_S = 60.0

QUICK = TrainerSettings(command_s=20, stop_s=20, answer_s=20, alive_s=60, poll_s=0.05, proof_s=30, save_period_s=1)


def until(happened: Callable[[], Any], what: str) -> Any:
    """Wait for a condition; fail with `what` when it does not come."""
    ends_at = time.monotonic() + DEADLINE_S
    while not (value := happened()):
        assert time.monotonic() < ends_at, f"waited {DEADLINE_S:.0f} s for {what}"
        time.sleep(0.02)
    return value


@dataclass
class TrainingMachine:
    """One machine: its way in, its model folder, and its trainer."""

    machine: Machine
    options: list[str] = field(default_factory=list)
    """More arguments for the stand-in."""

    @property
    def folder(self) -> Path:
        return Path(self.machine.model_dir)

    @property
    def places(self) -> RemotePlaces:
        return places_of(self.machine.model_dir, MODEL)

    @property
    def pid_file(self) -> Path:
        return self.folder.parent / f"{self.machine.name}.pid"

    def command_line(self) -> str:
        arguments = [
            sys.executable, str(PROGRAM), "--model-dir", str(self.folder), "--force-model-name", MODEL.name,
            "--pid-file", str(self.pid_file), "--iteration-s", "0.002", "--save-every", "0.4", *self.options,
        ]  # fmt: skip
        return shlex.join(arguments)

    def commanded(self) -> TrainingMachine:
        """Let dfld stop and start the trainer by commands, as with a unit of systemd."""
        pid = shlex.quote(str(self.pid_file))
        self.machine = replace(
            self.machine,
            control="command",
            start=f"{self.command_line()} --background",
            stop=f"kill -INT $(cat {pid}) && while test -e {pid}; do sleep 0.02; done",
            status=f"test -e {pid} && kill -0 $(cat {pid})",
            pid=f"cat {pid}",
        )
        return self

    def start(self) -> None:
        subprocess.run([*shlex.split(self.command_line()), "--background"], check=True)

    def pid(self) -> int:
        return int(self.pid_file.read_text(encoding="utf-8")) if self.pid_file.exists() else 0

    def runs(self) -> bool:
        pid = self.pid()
        if not pid:
            return False
        try:
            with Path(f"/proc/{pid}/stat").open(encoding="utf-8") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def kill(self) -> None:
        """End the trainer without a save, if it runs."""
        if self.runs():
            os.kill(self.pid(), signal.SIGKILL)
            until(lambda: not self.runs(), "the trainer's end")
        self.pid_file.unlink(missing_ok=True)

    def interrupt(self) -> None:
        os.kill(self.pid(), signal.SIGINT)
        until(lambda: not self.runs(), "the trainer's last save")
        self.pid_file.unlink(missing_ok=True)

    def weights(self) -> dict[str, dict[str, np.ndarray]]:
        """What lies in the model folder now."""
        return {part: pickle.loads((self.folder / MODEL.file_name(part)).read_bytes()) for part in SHAPES}

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = pickle.loads((self.folder / MODEL.file_name("data.dat")).read_bytes())
        return found

    def write_model(self, **changes: Any) -> None:
        write_model(self.folder, MODEL.name, **changes)


def trainer_on(gpu1: TrainingMachine, settings: TrainerSettings = QUICK) -> Trainer:
    return trainer_of(LocalTransport(gpu1.machine), gpu1.places, settings, threading.Event(), RefusedStates())


def new_weights(gpu1: TrainingMachine, folder: Path) -> dict[str, Path]:
    """Whole other weights, in files of their own."""
    folder.mkdir()
    other = TrainingMachine(replace(gpu1.machine, model_dir=str(folder)))
    other.write_model(seed=7)
    return {part: folder / MODEL.file_name(part) for part in gpu1.weights()}


def exchange_for(gpu1: TrainingMachine, files: dict[str, Path], number: int = 5) -> Exchange:
    transport = LocalTransport(gpu1.machine)
    staged = stage(transport, gpu1.places, number, files)
    return Exchange(
        number,
        tuple(MODEL.file_name(part) for part in files),
        lambda: put_in_place(transport, gpu1.places, number, staged, files),
    )


def cooperating(gpu1: TrainingMachine) -> TrainingMachine:
    gpu1.machine = replace(gpu1.machine, control="cooperative")
    install_hook(LocalTransport(gpu1.machine), gpu1.places)
    flag, seconds, code = shlex.split(hook_line(gpu1.places))
    assert (flag, seconds) == ("--execute-program", "-1")
    gpu1.options = [flag, "-0.02", code, "--save-every", "1000"]
    return gpu1
