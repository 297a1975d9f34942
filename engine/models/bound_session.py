"""An ONNX Runtime session whose inputs and outputs stay in buffers on the device, bound once for every shape.

`session.run` takes new memory on a GPU for each input and output of each run. Here a shape that comes again finds its
buffers: the input is written into them in place, the graph writes its answers into the ones that it filled before, and
those are copied to the host once. The copy itself is an ordinary one; ONNX Runtime hands out no page-locked host memory
to Python. What was run this way once is not different from `session.run` in a single bit, since the same kernels see
the same numbers; tests show that on the CPU, where `device` is the only thing that differs.

Not for graphs whose answers' shapes depend on the values of their inputs: these fall back to `session.run`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.models.accelerators import graph_errors
from engine.models.onnx_session import Arrays, BindableSession, Binding, DeviceArray, GraphValue

# Shapes whose buffers are kept. Detecting in two clips took 12 and 25 shapes, cut-outs and batches of all sizes; with 8
# kept 95 and 89 % of the runs find theirs, with 32 kept 95 and 92 %.
KEPT_SHAPES = 8
# Bytes of inputs whose buffers are kept, answers being a fraction of them (SCRFD: a fifth): 16 pictures of 640 x 640 px
# take 79 MB. One shape that is larger is kept alone. What is given up goes back to ONNX Runtime's arena.
KEPT_BYTES = 256 * 1024 * 1024

_Key = tuple[tuple[str, tuple[int, ...], str], ...]


@dataclass(frozen=True, eq=False)
class _Bound:
    """The buffers of one shape."""

    binding: Binding
    inputs: Mapping[str, DeviceArray]
    size_bytes: int


class BoundSession:
    """Stands in for an `onnxruntime.InferenceSession`: `run` goes through buffers on `device`.

    Where binding fails and `session.run` does not, `session.run` it is from then on, and `problem` says why. Answers
    are arrays of their own, which no later run overwrites. For one thread.
    """

    def __init__(
        self, session: BindableSession, device: str, *, kept_shapes: int = KEPT_SHAPES, kept_bytes: int = KEPT_BYTES
    ) -> None:
        """Bind to `device`, as ONNX Runtime calls it: `cuda` (the first GPU that the process sees) or `cpu`.

        `kept_shapes`, `kept_bytes`: for how many shapes of input, of how many bytes together, buffers are kept; only
        tests set them.
        """
        self._session = session
        self._device = device
        self._kept_shapes, self._kept_bytes = kept_shapes, kept_bytes
        self._kept: OrderedDict[_Key, _Bound] = OrderedDict()
        self._names = [output.name for output in session.get_outputs()]
        self.problem = ""
        """Why `session.run` runs instead; empty while binding works."""

    @property
    def report(self) -> str:
        """For the log, in a few words."""
        return f"no I/O binding ({self.problem})" if self.problem else "I/O binding"

    @property
    def kept(self) -> tuple[_Key, ...]:
        """Names, shapes and types of the inputs whose buffers are kept, the latest last."""
        return tuple(self._kept)

    def run(self, names: Sequence[str] | None, feed: Arrays, *options: object) -> list[NDArray[np.generic]]:
        """Answer as `session.run` does. What is wrong with `feed` is reported by the same exceptions."""
        if not self.problem:
            try:
                answers = dict(zip(self._names, self._run_bound(feed, *options), strict=True))
            except graph_errors() as problem:
                self._kept.clear()  # first, since it may have been memory that ran out
                plainly = list(self._session.run(names, feed, *options))
                self.problem = f"{type(problem).__name__}: {str(problem).partition(chr(10))[0][:200]}"
                return plainly
            return [answers[name] for name in (self._names if names is None else names)]
        return list(self._session.run(names, feed, *options))

    def _run_bound(self, feed: Arrays, *options: object) -> Sequence[NDArray[np.generic]]:
        arrays = {name: np.ascontiguousarray(value) for name, value in feed.items()}
        key = tuple((name, array.shape, array.dtype.str) for name, array in arrays.items())
        bound = self._kept.get(key) or self._bind(key, arrays)
        self._kept.move_to_end(key)
        for name, array in arrays.items():
            bound.inputs[name].update_inplace(array)
        # The two waits belong to the contract of bound runs: copies and kernels may be on streams of their own.
        bound.binding.synchronize_inputs()
        self._session.run_with_iobinding(bound.binding, *options)
        bound.binding.synchronize_outputs()
        return bound.binding.copy_outputs_to_cpu()

    def _bind(self, key: _Key, arrays: Arrays) -> _Bound:
        """Make and keep the buffers for one shape; give up those that were not used for longest."""
        import onnxruntime

        size_bytes = sum(array.nbytes for array in arrays.values())
        while self._kept and (
            len(self._kept) >= self._kept_shapes
            or size_bytes + sum(other.size_bytes for other in self._kept.values()) > self._kept_bytes
        ):
            self._kept.popitem(last=False)
        inputs = {
            name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type, self._device, 0)
            for name, array in arrays.items()
        }
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._names:
            binding.bind_output(name, self._device, 0)  # the first run makes the buffer, the next ones write into it
        self._kept[key] = _Bound(binding, inputs, size_bytes)
        return self._kept[key]

    def get_inputs(self) -> Sequence[GraphValue]:
        return self._session.get_inputs()

    def get_outputs(self) -> Sequence[GraphValue]:
        return self._session.get_outputs()

    def get_providers(self) -> Sequence[str]:
        return self._session.get_providers()
