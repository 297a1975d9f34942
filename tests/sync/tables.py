"""A configuration for `dfld run` with training machines: folders on this computer, or real sshd on loopback."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from sync.types import Machine
from tests.sync.fleet import Fleet
from tests.sync.sshd import SshMachine
from tests.sync.training import MODEL, TrainingMachine

IN_TABLES = ("name", "address", "model_dir", "port", "user", "key", "known_hosts", "control", "status", "transfer")


def ssh_fleet(machines: Sequence[SshMachine], folder: Path) -> Fleet:
    """Return machines with a model each, whose trainers rest; dfld reaches them over SSH."""
    made = []
    for seed, one in enumerate(machines):
        model_dir = one.fresh_folder() / "model"
        model_dir.mkdir()
        training = TrainingMachine(one.machine(model_dir=str(model_dir), status="false"))
        training.write_model(seed=seed)
        made.append(training)
    return Fleet(made, folder / "state")


def sync_tables(fleet: Fleet, *, every_iterations: int = 50, poll_every: str = "1s") -> str:
    """Return the [[machine]] and [[sync]] tables of a fleet."""
    names = [one.machine.name for one in fleet.machines]
    return "".join(_machine_table(one.machine) for one in fleet.machines) + (
        f'[[sync]]\nname = "{MODEL.name}"\nmachines = {json.dumps(names)}\npoll_every = "{poll_every}"\n'
        f'[[sync.stage]]\nname = "early"\nevery_iterations = {every_iterations}\n'
    )


def _machine_table(machine: Machine) -> str:
    values = {field.name: getattr(machine, field.name) for field in fields(machine) if field.name in IN_TABLES}
    values["address"] = machine.address or "localhost"
    lines = [
        f"{name} = {json.dumps(str(value) if isinstance(value, Path) else value)}\n"
        for name, value in values.items()
        if value not in (None, "")
    ]
    return "[[machine]]\n" + "".join(lines)
