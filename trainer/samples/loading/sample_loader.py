"""The batches of a training, one iteration after the other, made by processes ahead of it.

    plan of each side -> orders to the processes -> ring -> batches, in the order of the iterations

One thread uses a loader. What a batch consists of does not depend on how many processes there are, nor on which of
them is faster.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType

from trainer.errors import SampleError
from trainer.samples.batch_plan import OFFERED, BatchPlan, Side, TrainingPlace
from trainer.samples.loading.sample_ring import RingLayout, SampleRing
from trainer.samples.loading.sample_worker import WorkDone, WorkOrder, make_samples
from trainer.samples.sample_maker import FaceProblem, SamplePath, SampleRequest
from trainer.samples.settings import AnySample

_FEWEST_AHEAD = 3
"""Iterations in the ring: one that is trained on, one that is done, one that is made."""
_END_S = 5.0
"""How long a process gets to end once its pipe is closed."""
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

LeftOut = Callable[[str, FaceProblem], None]
"""Called with the name of a side and a face that no sample is made of, once for each file."""


@dataclass
class _Process:
    """One sample process."""

    process: SpawnProcess
    orders: Connection
    places: set[int] = field(default_factory=set)
    """Of the ring, which it is to fill."""


@dataclass(frozen=True)
class _Ordered:
    """What is being made for a place of the ring."""

    iteration: int
    side: int
    attempt: int


class SampleLoader:
    """Gives the batches of both sides for one iteration after the other. A context manager."""

    def __init__(
        self,
        sides: Sequence[Side],
        training: TrainingPlace,
        *,
        first_iteration: int,
        processes: int,
        path: SamplePath = "fast",
        on_left_out: LeftOut,
    ) -> None:
        """Start the processes, and have the first iterations made.

        Raise SampleError where a side has no face, or there is not enough memory.
        """
        if len({side.settings.resolution for side in sides}) != 1:
            raise SampleError("the sides of a training have samples of several sizes, expected one")
        self._plans = [BatchPlan(side, training) for side in sides]
        self._on_left_out = on_left_out
        self._reported: set[tuple[str, str]] = set()
        for plan in self._plans:
            self._report(plan.side, [FaceProblem(name, why, False) for name, why in plan.left_out.items()])
        self._ahead = max(_FEWEST_AHEAD, 1 + -(-2 * processes // len(sides)))
        layout = RingLayout(self._ahead * len(sides), training.batch_size, sides[0].settings.resolution, path)
        self._ring = SampleRing(layout)
        self._batches = [self._ring.samples(place) for place in range(layout.places)]
        self._ordered: dict[int, _Ordered] = {}
        self._next = first_iteration
        self._processes: list[_Process] = []
        try:
            self._start(processes, path)
            for iteration in range(first_iteration, first_iteration + self._ahead - 1):
                self._order_iteration(iteration)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SampleLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def face_counts(self) -> Mapping[str, int]:
        """Name of a side -> faces that it is trained on now."""
        return {plan.side.name: plan.face_count for plan in self._plans}

    def next_batches(self) -> tuple[int, tuple[AnySample, ...]]:
        """Return the next iteration and its batch for each side; they are good until the next call.

        Waits where the processes are behind. Raise SampleError where a process has ended, or no face is left.
        """
        iteration = self._next
        self._order_iteration(iteration + self._ahead - 1)
        places = [self._place(iteration, side) for side in range(len(self._plans))]
        while any(place in self._ordered for place in places):
            self._receive()
        self._next += 1
        return iteration, tuple(self._batches[place] for place in places)

    def close(self) -> None:
        """End the processes and let go of the memory. Batches that were returned stay as they are."""
        for one in self._processes:
            one.orders.close()
        for one in self._processes:
            one.process.join(_END_S)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            one.process.close()
        if self._processes:
            self._ring.close()
        self._processes = []

    def _start(self, count: int, path: SamplePath) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        sides = [plan.side for plan in self._plans]
        with _environment(_ONE_THREAD):
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=make_samples, args=(theirs, self._ring, sides, path), daemon=True)
                process.start()
                theirs.close()
                self._processes.append(_Process(process, ours))

    def _place(self, iteration: int, side: int) -> int:
        return iteration % self._ahead * len(self._plans) + side

    def _order_iteration(self, iteration: int) -> None:
        for side, plan in enumerate(self._plans):
            if plan.begins_epoch(iteration):
                self._renew(plan)
            self._order(_Ordered(iteration, side, attempt=0), plan.requests(iteration))

    def _order(self, ordered: _Ordered, requests: Mapping[int, SampleRequest]) -> None:
        """Have the least busy process make a batch, or some samples of it."""
        place = self._place(ordered.iteration, ordered.side)
        self._ordered[place] = ordered
        one = min(self._processes, key=lambda process: len(process.places))
        one.places.add(place)
        try:
            one.orders.send(WorkOrder(place, ordered.side, requests))
        except ConnectionError as problem:
            raise _ended(one) from problem

    def _receive(self) -> None:
        """Wait until a process has done something, and see what."""
        by_pipe = {one.orders: one for one in self._processes}
        for ready in wait(list(by_pipe)):
            one = next(process for pipe, process in by_pipe.items() if pipe is ready)
            try:
                done: WorkDone = one.orders.recv()
            except (EOFError, ConnectionError) as problem:
                raise _ended(one) from problem
            one.places.discard(done.place)
            self._accept(done)

    def _accept(self, done: WorkDone) -> None:
        ordered = self._ordered.pop(done.place)
        plan = self._plans[ordered.side]
        self._report(plan.side, [one for one in done.problems if not one.is_gone])
        if not done.missing:
            return
        if ordered.attempt * OFFERED > plan.face_count:
            raise SampleError(
                f"making samples of {plan.side.folder}: none of its {plan.face_count} faces can be read",
                hint="`python -m trainer samples` says of each file what is wrong with it",
            )
        if any(one.is_gone for one in done.problems):
            self._renew(plan)
        again = _Ordered(ordered.iteration, ordered.side, ordered.attempt + 1)
        self._order(again, {one: plan.request(again.iteration, one, again.attempt) for one in done.missing})

    def _renew(self, plan: BatchPlan) -> None:
        plan.renew()
        self._report(plan.side, [FaceProblem(name, why, False) for name, why in plan.left_out.items()])

    def _report(self, side: Side, problems: Sequence[FaceProblem]) -> None:
        for one in problems:
            if (side.name, one.name) not in self._reported:
                self._reported.add((side.name, one.name))
                self._on_left_out(side.name, one)


def _ended(one: _Process) -> SampleError:
    one.process.join(_END_S)
    return SampleError(
        f"a process that makes samples ended (exit code {one.process.exitcode}): it was killed, or memory ran out",
        hint="fewer processes need less memory",
    )


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that a starting process inherits, where the user has not set them."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            with suppress(KeyError):
                del os.environ[name]
