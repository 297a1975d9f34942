"""A SCRFD graph opened for several pictures a run, in half precision on a GPU, checked against the file's own answers.

InsightFace's detectors are exported for one picture. Their convolutions take more; the batch axis is freed in memory.
What then fails in common re-exports is the end of the graph: its outputs are flattened cell by cell, with the pictures
of a batch side by side in each cell, so that whoever cuts the rows into equal parts mixes the pictures. Here the order
of the rows is found by comparing two pictures' answers, together and alone; where no order fits, or half precision
says something else, the file's own graph goes on, one picture a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.models.accelerators import graph_errors, runs_on
from engine.models.bound_session import BoundSession
from engine.models.half_precision import half_graph, open_graph
from engine.models.onnx_session import Arrays, BindableSession, GraphValue, Session

Answer = list[NDArray[np.float32]]
"""The graph's outputs for one picture: scores, boxes and points of each stride."""
Order = Literal["axis", "pictures", "cells"]
"""Where a picture's rows are in the output of a batch: along a first axis of its own, in one piece after another, or
beside those of the other pictures in every cell."""

ANCHORS = 2
"""Rows of one picture in one cell (SCRFD)."""
PROBE_PX = (96, 128)
"""Height and width of the pictures that are compared, where the graph takes any."""
DIFFERENCE_MAX = 0.02
"""Largest difference to the file's own answer that is let pass, where numbers are about 1 (scores) and up to 8 (boxes,
in cells): a picture's answer differs from another's by 0.7 and more, half precision by 0.005."""


@dataclass(frozen=True)
class CheckedSession:
    """What was opened, and what the check said."""

    session: Session
    order: Order | None
    """None where the graph takes one picture a run."""
    report: str
    """For the log: precision, pictures a run, and the largest difference found."""


def open_checked(path: Path, plain: Session, providers: Sequence[str], *, device: str = "cuda") -> CheckedSession:
    """Given a detector's file and a session of it as it is, open it for batches if that changes no answer.

    Where `plain` runs on `device`, half precision is tried first, and runs are bound to it (BoundSession).
    """
    on_device = runs_on(plain, device)
    why = ""
    for half in (True, False) if on_device else (False,):
        name = "half" if half else "single"
        try:
            opened = _open(path, providers, half=half)
            bound = BoundSession(opened, device) if on_device else None
            session: Session = bound or opened
            probes = _probes(plain)
            wanted = [_run(plain, probe) for probe in probes]
            order, difference = row_order(wanted, _run(session, np.concatenate(probes)))
        except graph_errors() as problem:
            why += f"; {name} precision in batches failed: {type(problem).__name__}"
            continue
        if order is not None:
            binding = f", {bound.report}" if bound else ""
            report = f"{name} precision in batches, largest difference to the file's own graph {difference:.1g}"
            return CheckedSession(session, order, f"{report}{binding}{why}")
        why += f"; {name} precision in batches differs by {difference:.1g}"
    return CheckedSession(plain, None, f"one picture a run{why}")


def row_order(wanted: Sequence[Answer], together: Answer) -> tuple[Order | None, float]:
    """Given answers to pictures alone and together, return the order of the rows and the largest difference it leaves.

    None where no order brings them within DIFFERENCE_MAX: the pictures leak into each other, or the graph differs.
    """
    best: tuple[Order | None, float] = None, float("inf")
    orders: tuple[Order, ...] = ("axis", "cells", "pictures")
    for order in orders:
        try:
            got = split_answers(together, len(wanted), order)
        except ValueError:
            continue
        difference = max(_difference(one, other) for one, other in zip(wanted, got, strict=True))
        if difference < best[1]:
            best = order, difference
    return best if best[1] <= DIFFERENCE_MAX else (None, best[1])


def split_answers(together: Answer, count: int, order: Order) -> list[Answer]:
    """Cut the outputs of a batch of `count` pictures into theirs. Raise ValueError where they cannot be."""
    rows: list[Answer] = [[] for _ in range(count)]
    for output in together:
        columns = output.shape[-1]
        if order == "axis":
            if output.ndim != 3 or len(output) != count:
                raise ValueError(f"an output of shape {output.shape}, expected ({count}, rows, {columns})")
            parts = output[:, None]
        elif order == "pictures":
            parts = output.reshape(count, -1, columns)
        else:
            parts = output.reshape(-1, count, ANCHORS, columns).swapaxes(0, 1).reshape(count, -1, columns)
        for number in range(count):
            rows[number].append(np.ascontiguousarray(parts[number]))
    return rows


class BatchSession:
    """Stands in for the session of insightface's SCRFD, which asks for one picture at a time.

    `prepare` runs a batch; the next `run`s hand out its answers in order. What the graph is, the session says.
    For one thread.
    """

    def __init__(self, checked: CheckedSession) -> None:
        self.checked = checked
        self._answers: list[Answer] = []

    def prepare(self, blobs: NDArray[np.float32]) -> None:
        """Run (N, 3, H, W) pictures at once."""
        assert self.checked.order is not None
        outputs = _run(self.checked.session, blobs)
        self._answers = split_answers(outputs, len(blobs), self.checked.order)[::-1]

    def run(self, names: Sequence[str] | None, feed: Arrays, *options: object) -> list[NDArray[np.generic]]:
        if self._answers:
            return list(self._answers.pop())
        return list(self.checked.session.run(names, feed, *options))

    def get_inputs(self) -> Sequence[GraphValue]:
        return self.checked.session.get_inputs()

    def get_outputs(self) -> Sequence[GraphValue]:
        return self.checked.session.get_outputs()

    def get_providers(self) -> Sequence[str]:
        return self.checked.session.get_providers()


def _open(path: Path, providers: Sequence[str], *, half: bool) -> BindableSession:
    import onnx

    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "pictures"
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return open_graph(half_graph(model) if half else model, providers)


def _probes(session: Session) -> list[NDArray[np.float32]]:
    """Two pictures that have nothing in common, (1, 3, H, W), as normalised as the detector expects."""
    *_, height, width = session.get_inputs()[0].shape
    size = tuple(
        side if isinstance(side, int) else usual for side, usual in zip((height, width), PROBE_PX, strict=True)
    )
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 1, 3, *size)).astype(np.float32)
    noise[1] = np.linspace(-1, 1, size[1], dtype=np.float32)
    return list(noise)


def _run(session: Session, blobs: NDArray[np.float32]) -> Answer:
    return [np.asarray(one, np.float32) for one in session.run(None, {session.get_inputs()[0].name: blobs})]


def _difference(one: Answer, other: Answer) -> float:
    if [a.reshape(-1, a.shape[-1]).shape for a in one] != [a.reshape(-1, a.shape[-1]).shape for a in other]:
        return float("inf")
    return max(float(np.abs(a.reshape(b.shape) - b).max()) for a, b in zip(one, other, strict=True))
