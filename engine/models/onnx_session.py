"""What of ONNX Runtime's sessions is used here, as types: its own have none, and some of ours stand in for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]
"""The inputs of a graph, by name."""


class GraphValue(Protocol):
    """An input or output of a graph."""

    name: str
    shape: Sequence[int | str | None]
    """A text or None where any size goes."""


class Session(Protocol):
    """What runs a graph: an `onnxruntime.InferenceSession`, or what stands in for one."""

    def run(self, names: Sequence[str] | None, feed: Arrays, *options: object) -> list[NDArray[np.generic]]: ...

    def get_inputs(self) -> Sequence[GraphValue]: ...

    def get_outputs(self) -> Sequence[GraphValue]: ...

    def get_providers(self) -> Sequence[str]: ...


class DeviceArray(Protocol):
    """An `onnxruntime.OrtValue`."""

    def update_inplace(self, array: NDArray[np.generic]) -> None: ...


class Binding(Protocol):
    """An `onnxruntime.IOBinding`: inputs and outputs in buffers of a device."""

    def synchronize_inputs(self) -> None: ...

    def synchronize_outputs(self) -> None: ...

    def copy_outputs_to_cpu(self) -> Sequence[NDArray[np.generic]]: ...

    def bind_ortvalue_input(self, name: str, value: DeviceArray) -> None: ...

    def bind_output(self, name: str, device: str, number: int) -> None: ...


class BindableSession(Session, Protocol):
    """A session of ONNX Runtime itself, which can run through buffers of its device."""

    def io_binding(self) -> Binding: ...

    def run_with_iobinding(self, binding: Binding, *options: object) -> None: ...
