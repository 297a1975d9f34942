"""The process that makes samples: one thread, until its pipe closes or the training ends.

    training -> WorkOrder -> samples into the ring -> WorkDone -> training

Runs in a process started by multiprocessing's `spawn`; both ends of the pipe are of this program.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import cv2

from trainer.samples.batch_plan import Side
from trainer.samples.loading.sample_ring import SampleRing
from trainer.samples.sample_maker import FaceProblem, SampleMaker, SamplePath, SampleRequest, sample_at

_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""


@dataclass(frozen=True)
class WorkOrder:
    """The batch of one side to make."""

    place: int
    """In the ring."""
    side: int
    requests: Mapping[int, SampleRequest]
    """Number in the batch -> the sample to make there."""


@dataclass(frozen=True)
class WorkDone:
    """What became of a WorkOrder."""

    place: int
    missing: tuple[int, ...]
    """Numbers of the samples for which no face could be read."""
    problems: tuple[FaceProblem, ...]


def make_samples(orders: Connection, ring: SampleRing, sides: Sequence[Side], path: SamplePath) -> None:
    """Do one order after the other, until the other end of the pipe is closed."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for one in (signal.SIGINT, signal.SIGTERM):  # the training is stopped, and stops its processes
        signal.signal(one, signal.SIG_IGN)
    cv2.setNumThreads(1)
    makers = [
        SampleMaker(side.folder, side.settings, path=path, reference_folder=side.reference_folder) for side in sides
    ]
    while True:
        try:
            order: WorkOrder = orders.recv()
            orders.send(_done(order, makers[order.side], ring))
        except (EOFError, ConnectionError):
            return


def _done(order: WorkOrder, maker: SampleMaker, ring: SampleRing) -> WorkDone:
    batch = ring.samples(order.place)
    missing: list[int] = []
    problems: list[FaceProblem] = []
    for number, request in order.requests.items():
        is_made, found = maker.make(request, sample_at(batch, number))
        missing += [] if is_made else [number]
        problems += found
    return WorkDone(order.place, tuple(missing), tuple(problems))
