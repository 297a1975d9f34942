"""One fused pass over the weights of several machines: read, combine, measure, write.

Chunks of 512 KiB per machine are read with pread into buffers that stay, combined (sync.averaging.average), measured
against the base, and written to every output's own layout. Memory depends on the number of threads and machines by
their buffers, never on the size of the model. Tensors are found by name, so machines may have different layouts. What
the numbers mean is decided in sync.averaging.compare; which files make a model, by the caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfl.weights import TensorSpan
from sync.averaging.average import (
    OUTGROWN_TIMES,
    AverageSettings,
    Floats,
    GramTable,
    TensorGram,
    combine,
    gram_of_rows,
    outer_nesterov,
)
from sync.averaging.tensor_file import TensorFile, TensorReader, TensorWriter
from sync.errors import AverageError, DisagreementError

CHUNK_ITEMS = 131_072
"""512 KiB of float32 per machine. With less, threads wait for each other's turn in the interpreter: four machines with
all measures take 1.3 times as long in chunks of 256 KiB, twice as long in 128 KiB; 1 MiB gains a twentieth more."""
ROUNDING = 1.01
"""Norms are summed in float32."""
THREADS = 2
"""Reading copies from the page cache; more threads than memory channels bring nothing."""


@dataclass(frozen=True)
class Output:
    """One file to be written: the average in the layout of `template`."""

    template: TensorFile
    path: Path
    """Appears complete and synced to disk, or not at all."""


@dataclass(frozen=True)
class PassPlan:
    """What one pass reads and writes. All tensors of the first machine's file are covered, found by name elsewhere."""

    name: str
    """How messages and measurements call the file: its part, `encoder.npy`."""
    machines: Mapping[str, TensorFile]
    machine_weights: Mapping[str, float]
    """Machine → weight; they sum to 1. A machine with weight 0 is measured only."""
    settings: AverageSettings = field(default_factory=AverageSettings)
    base: TensorFile | None = None
    """What every machine was given in the last round; needed for drift and for the outer step."""
    momentum: TensorFile | None = None
    """The outer step's momentum from the last round; None in its first round."""
    outputs: Sequence[Output] = ()
    momentum_output: Output | None = None


@dataclass(frozen=True)
class PassResult:
    """What a pass learnt and wrote."""

    grams: GramTable
    written: Mapping[Path, str]
    """Path → sha256 of the file as it was read back."""


def run_averaging_pass(
    plan: PassPlan,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> PassResult:
    """Average one file of several machines and write it to every output; return what was learnt about the deltas.

    Without outputs it only measures. Raise DisagreementError when tensors do not match, AverageError when `stop`
    is set, the disk is full or a written file does not read back as it should; nothing is then left behind.
    """
    check_plan(plan)
    with ExitStack() as stack:
        worker = _Worker(plan, stack, stop or threading.Event(), on_progress)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="average") as pool:
            parts = list(pool.map(worker.run, range(THREADS)))
        written = {writer.path: writer.verify() for writer in worker.all_writers}
        for writer in worker.all_writers:
            writer.place()
    tensors = tuple(
        TensorGram(
            plan.name,
            span.name,
            np.sum([part.grams[index] for part in parts], axis=0),
            np.sum([part.nonfinite[index] for part in parts], axis=0),
            np.max([part.largest[index] for part in parts], axis=0) if plan.base else None,
        )
        for index, span in enumerate(worker.spans)
    )
    return PassResult(GramTable(tuple(plan.machines), plan.base is not None, tensors), written)


def check_plan(plan: PassPlan) -> None:
    """Raise DisagreementError unless every file of the plan has the same tensors, shapes, types and orders."""
    if not plan.machines or set(plan.machines) != set(plan.machine_weights):
        raise DisagreementError(
            f"{plan.name}: weights are given for {sorted(plan.machine_weights)}, not {sorted(plan.machines)}"
        )
    if plan.settings.outer == "nesterov" and plan.base is None and plan.outputs:
        raise DisagreementError(f"{plan.name}: the outer step needs the weights that the machines were given last")
    first_name, first = next(iter(plan.machines.items()))
    others: list[tuple[str, TensorFile]] = list(plan.machines.items())
    others += [("base", plan.base)] if plan.base else []
    others += [("momentum", plan.momentum)] if plan.momentum else []
    others += [(f"template of {output.path.name}", output.template) for output in plan.outputs]
    for name, file in others:
        difference = describe_difference(first, file)
        if difference:
            raise DisagreementError(f"{plan.name}: {name} does not fit {first_name}: {difference}")


def describe_difference(first: TensorFile, second: TensorFile) -> str:
    """Say in one phrase how the tensors of two files differ; empty when they can be averaged with each other."""
    mine, other = first.layout.by_name, second.layout.by_name
    if mine.keys() != other.keys():
        missing, extra = sorted(mine.keys() - other.keys()), sorted(other.keys() - mine.keys())
        return f"{len(other)} tensors instead of {len(mine)}, missing {missing[:3]}, in excess {extra[:3]}"
    for name, span in mine.items():
        found = other[name]
        if span.shape != found.shape:
            return f"{name} has shape {found.shape}, expected {span.shape}"
        if (span.dtype, span.fortran) != (found.dtype, found.fortran):
            return f"{name} has type {found.dtype} (Fortran order: {found.fortran}), expected {span.dtype}"
    return ""


@dataclass
class _Part:
    """What one thread has summed up, per tensor."""

    grams: list[Floats]
    nonfinite: list[Floats]
    largest: list[Floats]
    base_largest: float = 0.0
    """Of all chunks so far."""


class _Worker:
    """The open files of a pass, shared by its threads; each thread has its own buffers and its own sums."""

    def __init__(
        self,
        plan: PassPlan,
        stack: ExitStack,
        stop: threading.Event,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self.plan = plan
        self.stop = stop
        self.on_progress = on_progress
        first = next(iter(plan.machines.values()))
        self.spans = [span for span in first.layout.tensors if span.averaged]
        self.machine_weights = [plan.machine_weights[machine] for machine in plan.machines]
        self.readers = [stack.enter_context(TensorReader(file)) for file in plan.machines.values()]
        self.base = stack.enter_context(TensorReader(plan.base)) if plan.base else None
        self.momentum = stack.enter_context(TensorReader(plan.momentum)) if plan.momentum else None
        self.writers = [stack.enter_context(TensorWriter(out.template, out.path)) for out in plan.outputs]
        self.momentum_writer: TensorWriter | None = None
        if plan.momentum_output and plan.settings.outer == "nesterov":
            out = plan.momentum_output
            self.momentum_writer = stack.enter_context(TensorWriter(out.template, out.path))
        self.all_writers = self.writers + ([self.momentum_writer] if self.momentum_writer else [])
        self.items_total = sum(span.count for span in self.spans)
        self.items_done = 0
        self.progress_lock = threading.Lock()

    def chunks(self, turn: int) -> Iterator[tuple[int, int, int]]:
        """Every THREADS-th chunk: a fixed deal, so that sums do not depend on which thread was quicker."""
        number = 0
        for index, span in enumerate(self.spans):
            for start in range(0, span.count, CHUNK_ITEMS):
                if number % THREADS == turn:
                    yield index, start, min(start + CHUNK_ITEMS, span.count)
                number += 1

    def run(self, turn: int) -> _Part:
        """Do this thread's chunks."""
        machines = len(self.readers)
        part = _Part(
            [np.zeros((machines + 1, machines + 1)) for _ in self.spans],
            [np.zeros(machines, np.int64) for _ in self.spans],
            [np.zeros(machines + 1) for _ in self.spans],
        )
        buffers = _Buffers(machines)
        with np.errstate(all="ignore"):
            for index, start, stop in self.chunks(turn):
                if self.stop.is_set():
                    raise AverageError(f"{self.plan.name}: averaging was stopped; nothing was written")
                self.one_chunk(index, start, stop, buffers, part)
                self.report(stop - start)
        return part

    def one_chunk(self, index: int, start: int, stop: int, buffers: _Buffers, part: _Part) -> None:
        """Read, combine, then turn the values into deltas in place and measure: what is touched stays in the cache."""
        span = self.spans[index]
        rows, average, converted = buffers.views(stop - start, span)
        self.read_rows(span, start, rows)
        if self.all_writers:
            values = rows[1:] if self.plan.settings.rule == "mean" else rows[1:].copy()
            combine(values, self.machine_weights, self.plan.settings, average)
        np.subtract(rows[1:], rows[0], out=rows[1:])
        chunk_gram = gram_of_rows(rows)
        if not np.isfinite(chunk_gram).all():
            self.read_rows(span, start, rows)
            part.nonfinite[index] += np.count_nonzero(~np.isfinite(rows[1:]), axis=1)
            chunk_gram = self.careful_gram(span, rows)
            np.subtract(rows[1:], rows[0], out=rows[1:])
        part.grams[index] += chunk_gram
        if self.base:
            self.note_largest(index, rows, chunk_gram, part)
        if self.plan.settings.outer == "nesterov" and self.writers:
            self.outer_step(span, start, average, rows[0])
        converts = converted.dtype.str == span.dtype
        if self.writers and converts:  # once for all, in a buffer that stays
            np.copyto(converted, average, casting="same_kind")
        for writer in self.writers:
            writer.write(span.name, start, converted if converts else average)

    def note_largest(self, index: int, rows: Floats, gram: Floats, part: _Part) -> None:
        """Note the base's largest value, and a machine's where it may be far above that; `rows` hold deltas.

        No value is further from the base's than the norm of the whole delta, which is known already: a healthy
        machine's values need not be read again.
        """
        largest = part.largest[index]
        here = float(max(rows[0].max(), -rows[0].min()))
        largest[0] = max(largest[0], here)
        part.base_largest = max(part.base_largest, here)
        bounds = here + ROUNDING * np.sqrt(np.diag(gram)[1:])
        for machine in np.flatnonzero(~(bounds <= OUTGROWN_TIMES * part.base_largest)):
            values = np.abs(rows[machine + 1] + rows[0])
            largest[machine + 1] = np.fmax(largest[machine + 1], np.fmax.reduce(values))

    def read_rows(self, span: TensorSpan, start: int, rows: Floats) -> None:
        """Row 0: the base, or the first machine where there is none; rows 1…: the machines."""
        for row, reader in zip(rows[1:], self.readers, strict=True):
            reader.read(span.name, start, row)
        if self.base:
            self.base.read(span.name, start, rows[0])
        else:
            rows[0] = rows[1]

    def outer_step(self, span: TensorSpan, start: int, average: NDArray[np.float64], base: Floats) -> None:
        """Turn `average` into the outer step's weights and write the new momentum."""
        velocity = np.zeros(len(average))
        if self.momentum:
            self.momentum.read(span.name, start, velocity)
        outer_nesterov(average, base, velocity, self.plan.settings)
        if self.momentum_writer:
            self.momentum_writer.write(span.name, start, velocity)

    def careful_gram(self, span: TensorSpan, rows: Floats) -> NDArray[np.float64]:
        """The Gram matrix again in float64, where float32 overflowed or a machine holds NaN."""
        reference = rows[0].astype(np.float64)
        if self.base and not np.isfinite(reference).all():
            raise DisagreementError(f"{self.plan.name}: the base holds NaN or infinity in {span.name}")
        reference[~np.isfinite(reference)] = 0  # without a base the reference is a machine, which is counted as such
        return gram_of_rows(np.vstack([reference, rows[1:].astype(np.float64) - reference]))

    def report(self, items: int) -> None:
        if self.on_progress:
            with self.progress_lock:
                self.items_done += items
                self.on_progress(self.items_done, self.items_total)


class _Buffers:
    """One thread's memory for one chunk of all machines, in float32 or float64."""

    def __init__(self, machines: int) -> None:
        self.machines = machines
        self.average = np.empty(CHUNK_ITEMS, np.float64)
        self.by_type: dict[str, tuple[Floats, Floats]] = {}

    def views(self, items: int, span: TensorSpan) -> tuple[Floats, NDArray[np.float64], Floats]:
        """Rows (1 + machines, items), average (items,) float64, values to be written (items,), for this type."""
        kind = "<f8" if span.dtype == "<f8" else "<f4"
        if kind not in self.by_type:
            self.by_type[kind] = np.empty((self.machines + 1, CHUNK_ITEMS), kind), np.empty(CHUNK_ITEMS, kind)
        rows, written = self.by_type[kind]
        return rows[:, :items], self.average[:items], written[:items]
