"""Trainers: bringing one to save, to give its files free, to take new weights, and proof that it took them.

Not for moving files (push, snapshot) nor for when to do what (rounds). DeepFaceLab reads its files only at start and
writes from memory, so files pushed under a running trainer are silently overwritten: every way of control here ends
in "the trainer is down while files change, or changes them itself between two iterations". The ways: `control`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

from sync.places import RemotePlaces
from sync.trainers.commanded import CommandTrainer
from sync.trainers.contract import (
    RefusedStates,
    Trainer,
    TrainerSettings,
)
from sync.trainers.cooperating import CooperativeTrainer
from sync.trainers.uncontrolled import UncontrolledTrainer
from sync.transports.transport import Transport
from sync.types import Control


def trainer_of(
    transport: Transport,
    places: RemotePlaces,
    settings: TrainerSettings,
    stop: threading.Event,
    refused: RefusedStates,
) -> Trainer:
    """Return the control that the machine's settings name. `refused`: what is known of its data.dat."""
    return TRAINERS[transport.machine.control](transport, places, settings, stop, refused)


TRAINERS: Mapping[Control, type[CommandTrainer | CooperativeTrainer | UncontrolledTrainer]] = MappingProxyType(
    {kind.mode.name: kind for kind in (CommandTrainer, CooperativeTrainer, UncontrolledTrainer)}
)
"""The trainer of each way of control. A new way: its mode in `sync.trainers.control`, its class here."""
