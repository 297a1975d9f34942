"""The machines of one model, reached: transport, places and trainer of each, and work done on all at once.

Connections are kept between rounds, so that a poll costs one request. Not for deciding what the work is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from core.errors import DfldError
from dfl.model_files import ModelName
from sync.failures import failing_alone
from sync.places import RemotePlaces, places_of
from sync.trainers.contract import RefusedStates, Trainer, TrainerSettings
from sync.trainers.trainer import trainer_of
from sync.transports.transport import Connect, Transport
from sync.types import Machine

T = TypeVar("T")


@dataclass(frozen=True)
class MachineLink:
    """One machine, ready to be worked on by one thread at a time."""

    machine: Machine
    transport: Transport
    places: RemotePlaces
    trainer: Trainer
    refused: RefusedStates
    """What both the round and the trainer found unreadable: one memory, so that nothing is parsed twice."""

    @property
    def name(self) -> str:
        return self.machine.name


def link_machines(
    machines: Iterable[Machine],
    model: ModelName,
    settings: TrainerSettings,
    connect: Connect,
    stop: threading.Event,
) -> dict[str, MachineLink]:
    """Return a link to every machine by name; nothing is connected yet."""
    links = {}
    for machine in machines:
        transport = connect(machine)
        places = places_of(machine.model_dir, model)
        refused = RefusedStates()
        trainer = trainer_of(transport, places, settings, stop, refused)
        links[machine.name] = MachineLink(machine, transport, places, trainer, refused)
    return links


def on_each(
    links: Mapping[str, MachineLink], names: Iterable[str], work: Callable[[MachineLink], T], *, bulk: bool = False
) -> tuple[dict[str, T], dict[str, DfldError]]:
    """Do `work` on the named machines, all at once, and return what each gave or why it failed.

    The boundary of a machine: whatever is raised while one is worked on, of any type, is that machine's failure, or
    this computer's (ComputerError), and the work on the others goes on.

    `bulk`: the work moves whole files. Machines whose transfers would only slow each other down (paramiko) then
    take turns.
    """
    chosen = [links[name] for name in names]
    done: dict[str, T] = {}
    failed: dict[str, DfldError] = {}
    turns = threading.Lock()

    def one(link: MachineLink) -> None:
        def fail(failure: DfldError) -> None:
            failed[link.name] = failure

        with failing_alone(f"machine {link.name}", fail, machine=link.name):
            if bulk and not link.transport.runs_beside_others:
                with turns:
                    done[link.name] = work(link)
            else:
                done[link.name] = work(link)

    if chosen:
        with ThreadPoolExecutor(len(chosen), thread_name_prefix="machine") as pool:
            for future in [pool.submit(one, link) for link in chosen]:
                future.result()
    # In the order of the names, whoever was first: what follows must not depend on who was quicker.
    return {link.name: done[link.name] for link in chosen if link.name in done}, failed
