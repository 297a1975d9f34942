"""Graphs in half precision on a GPU: converted in memory, and taken only where they say what the file's own graph says.

The detector's check is in detector_session, with its batches; here are the recogniser's and the 68-point model's. Each
is run over the same pictures, as its file is and in half precision, several at once and one by one.

A similarity may not depend on how an identity was made: the same photos embedded in single precision (on a CPU) and in
half (on a GPU) must say the same of a face. The check therefore compares similarities in half precision, and between
half and single, with those in single, and lets none change by more than SIMILARITY_CHANGE_MAX.

That is of the same crop. A detector in half precision moves the five points that crops are cut by, too, by parts of a
pixel. Measured on two clips with both in half precision: the same 64 and 450 faces kept, similarities moved by up to
0.012; by up to 0.001 where the identity alone was made in half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from engine.models.accelerators import graph_errors, provider_options, runs_on, session_options
from engine.models.bound_session import BoundSession
from engine.models.onnx_session import BindableSession, Session
from engine.types import Image

if TYPE_CHECKING:
    from onnx import ModelProto

SIMILARITY_CHANGE_MAX = 0.005
"""Largest change of the similarity of any two probes that is let pass. Measured with a MobileFaceNet on 19 faces of 16
photographs, weights and all intermediate values rounded to half precision: a similarity changes by up to 0.0014. A JPEG
of quality 95 of the same crop changes it by up to 0.013, a quarter of a pixel's shift by up to 0.023."""
COSINE_MIN = 0.9995
"""Smallest cosine between a picture's two embeddings that is let pass; the same faces have 0.99995 and more. It bounds
what the probes do not show: with whatever face, no similarity changes by more than sqrt(2 - 2 COSINE_MIN) = 0.032."""
LANDMARK_MOVE_MAX_PX = 0.5
"""Farthest that a point may move, in px of the model's 192 px crop: a 256th of the face's longer side. The points of
one still face wander by more from frame to frame."""

PROBES = 8
"""28 pairs, whose similarities are compared; more would make opening a backend slow on a CPU, where tests do this."""
OCTAVES_PX = (2, 4, 8, 16, 32, 64)
"""Cells on a side of the grids of noise that a probe is summed from, coarse to fine."""
OCTAVE_CONTRAST = 100.0
"""Grey values; a grid of n x n cells varies by this over the root of n: what is fine is weaker, as in photographs."""

Answers = NDArray[np.floating]


@dataclass(frozen=True)
class Finding:
    """What came of comparing two sets of answers."""

    holds: bool
    words: str


class Model(Protocol):
    """What runs a graph through a session that may be changed for another one of the same graph."""

    session: Session


def choose_precision(
    model: Model,
    path: Path,
    providers: Sequence[str],
    *,
    run: Callable[[Sequence[Image]], Answers],
    side_px: int,
    judge: Callable[[Answers, Answers], Finding],
    device: str,
) -> str:
    """Let `model` run in half precision, its buffers bound to `device`, where that holds what `judge` asks.

    `path` is its file; `model.session`, a session of that as it is, is what others are held against and what stays
    where none fits or where it does not run on `device`. `run` asks the model for its answers to crops of `side_px`.
    Return, for the log, the precision, the largest difference found, and whether buffers are bound.
    """
    plain = model.session
    if not runs_on(plain, device):
        return "the file's own graph"
    wanted = _together_and_alone(run, side_px)
    why = ""
    for precision in ("half", "single"):
        try:
            # `plain` is ONNX Runtime's own, as this function asks.
            opened = open_graph(half_graph(path), providers) if precision == "half" else cast(BindableSession, plain)
            model.session = session = BoundSession(opened, device)
            finding = judge(wanted, _together_and_alone(run, side_px))
        except graph_errors() as problem:
            why += f"; {precision} precision failed: {type(problem).__name__}"
            continue
        if finding.holds:
            return f"{precision} precision, {finding.words}, {session.report}{why}"
        why += f"; {precision} precision refused: {finding.words}"
    model.session = plain
    return f"the file's own graph{why}"


def judge_embeddings(wanted: Answers, got: Answers) -> Finding:
    """Compare embeddings of the same pictures, (N, D) and unit length: cosines, and the similarities of all pairs."""
    if wanted.shape != got.shape:
        return Finding(False, f"it answers {got.shape}, expected {wanted.shape}")
    cosine = float(np.sum(wanted * got, axis=1).min())
    pairs = wanted @ wanted.T
    change = max(float(np.abs(got @ got.T - pairs).max()), float(np.abs(got @ wanted.T - pairs).max()))
    # Written so that a NaN, which half precision's overflows end in, does not hold.
    holds = cosine >= COSINE_MIN and change <= SIMILARITY_CHANGE_MAX
    return Finding(holds, f"similarities to the file's own graph's differ by up to {change:.1g} (cosine {cosine:.6f})")


def judge_landmarks(wanted: Answers, got: Answers) -> Finding:
    """Compare points of the same crops, (N, 68, 2) crop px."""
    if wanted.shape != got.shape:
        return Finding(False, f"it answers {got.shape}, expected {wanted.shape}")
    move = float(np.linalg.norm(wanted - got, axis=2).max())
    return Finding(move <= LANDMARK_MOVE_MAX_PX, f"points differ by up to {move:.1g} px from the file's own graph's")


def _together_and_alone(run: Callable[[Sequence[Image]], Answers], side_px: int) -> Answers:
    """Run the probes in one batch and one by one, and return all answers, the batch's first: (2 * PROBES, …)."""
    probes = probe_crops(side_px)
    return np.concatenate([run(probes), *(run([probe]) for probe in probes)])


def probe_crops(side_px: int) -> list[Image]:
    """Make pictures with the coarse and fine detail of photographs, always the same: (side, side, 3) uint8 BGR.

    Half precision changes the similarities of such pictures as much as those of faces, by up to 0.0014 with the
    MobileFaceNet above; those of white noise less, those of flat pictures more.
    """
    import cv2

    source = np.random.default_rng(0)
    crops = []
    for _ in range(PROBES):
        picture = np.full((side_px, side_px, 3), 127.0)
        for cells in OCTAVES_PX:
            grid = source.normal(size=(cells, cells, 3)) * (OCTAVE_CONTRAST / np.sqrt(cells))
            picture += cv2.resize(grid, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
        crops.append(np.clip(picture, 0, 255).astype(np.uint8))
    return crops


def half_graph(source: Path | ModelProto) -> ModelProto:
    """Return an ONNX graph, given as a file or loaded, in half precision; it still reads and answers float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(str(source)) if isinstance(source, Path) else source
    half: ModelProto = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    _drop_repeated_nodes(half)
    return half


def open_graph(model: ModelProto, providers: Sequence[str]) -> BindableSession:
    """Open a graph that is in memory for running."""
    import onnxruntime

    session: BindableSession = onnxruntime.InferenceSession(
        model.SerializeToString(),
        session_options(),
        providers=list(providers),
        provider_options=provider_options(providers),
    )
    return session


def _drop_repeated_nodes(model: ModelProto) -> None:
    """Mend what the converter does to a value that two nodes read: it casts it twice, under one name."""
    seen: set[tuple[str, ...]] = set()
    for node in list(model.graph.node):
        outputs = tuple(node.output)
        if outputs in seen:
            model.graph.node.remove(node)
        seen.add(outputs)
