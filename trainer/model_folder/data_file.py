"""data.dat: iteration, options, loss history and preview samples of a model, read whole and written again.

What is not changed is written as it was, byte for byte: in the file's protocol, with its keys in their order and its
numbers in their types. The preview samples show faces; they go nowhere but into this file. For what a machine's
data.dat says without its pictures, see dfl.training_state, which is faster and reads forks too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.opening import read_regular
from dfl.errors import FormatError, shown
from dfl.pickles.dumping import WRITTEN_PROTOCOLS, dump_for_dfl
from dfl.pickles.loading import PickleLimits, load_closed
from dfl.pickles.numpy_values import NUMPY_NAMES
from trainer.errors import ModelFolderError

MAX_DATA_BYTES = 2**30
"""Ten million iterations are about 230 MB."""
LIMITS = PickleLimits(size_bytes=MAX_DATA_BYTES, opcodes=120_000_000, expanded_bytes=8 * 2**30)
PYTHON_36_PROTOCOL = 3
"""The default there, which DeepFaceLab takes for data.dat."""

PreviewSamples = Sequence[Sequence[NDArray[np.generic]]]
"""For src and dst: warped, target, mask and eyes-mouth mask of one batch, float32."""


@dataclass(frozen=True, eq=False)
class DataFile:
    """What a data.dat holds. Change it with `changed`, which leaves everything else as it is."""

    content: Mapping[str, object]
    """The dict of the file."""
    protocol: int = PYTHON_36_PROTOCOL

    def __post_init__(self) -> None:
        iteration, options, losses = (self.content.get(key) for key in ("iter", "options", "loss_history"))
        if not isinstance(iteration, int | np.integer) or isinstance(iteration, bool) or iteration < 0:
            raise FormatError(f"iter is {shown(iteration)}, expected a number of iterations")
        if not isinstance(options, dict):
            raise FormatError(f"options is {shown(options)}, expected a dict of answers")
        if not isinstance(losses, list):
            raise FormatError(f"loss_history is {shown(losses)}, expected a list")

    @property
    def iteration(self) -> int:
        """Iterations trained."""
        value = self.content["iter"]
        assert isinstance(value, int | np.integer)
        return int(value)

    @property
    def options(self) -> dict[str, object]:
        """The model's options, numpy numbers as Python's."""
        options = self.content["options"]
        assert isinstance(options, dict)
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}

    @property
    def losses_recorded(self) -> int:
        """How many iterations the loss history has; DeepFaceLab dies where these are fewer than `iteration`."""
        losses = self.content["loss_history"]
        assert isinstance(losses, list)
        return len(losses)

    def changed(
        self,
        *,
        iteration: int | None = None,
        options: Mapping[str, object] | None = None,
        losses: Sequence[Sequence[float]] = (),
        preview_samples: PreviewSamples | None = None,
    ) -> DataFile:
        """Return the file with another iteration, some other options, further rows of losses, other preview samples."""
        content = dict(self.content)
        if iteration is not None:
            content["iter"] = iteration
        if options:
            content["options"] = {**_dict(content["options"]), **options}
        if losses:
            content["loss_history"] = [
                *_list(content["loss_history"]),
                *([float(one) for one in row] for row in losses),
            ]
        if preview_samples is not None:
            content["sample_for_preview"] = [list(one) for one in preview_samples]
        return DataFile(content, self.protocol)

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return dump_for_dfl(dict(self.content), protocol=self.protocol)


def _dict(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def read_data_file(path: Path) -> DataFile:
    """Read the data.dat at `path`; raise ModelFolderError, naming it, where it is none or cannot be read."""
    try:
        content = read_regular(path, within=None, follow_links=True, max_bytes=MAX_DATA_BYTES)
        return data_file_of(content)
    except OSError as problem:
        raise ModelFolderError(f"{path} cannot be read: {problem.strerror}") from problem
    except FormatError as error:
        hint = "a crash while saving leaves such a file: bring it back from a generation or an autobackup"
        raise ModelFolderError(f"{path.name} is no usable data.dat: {error.message}", hint=hint) from error


def data_file_of(content: bytes) -> DataFile:
    """Return what the bytes of a data.dat hold; raise FormatError where they are none."""
    value = load_closed(content, allowed=NUMPY_NAMES, limits=LIMITS)
    if not isinstance(value, dict):
        raise FormatError(f"its first object is {shown(value)}, expected a dict")
    protocol = content[1]
    return DataFile(value, protocol if protocol in WRITTEN_PROTOCOLS else PYTHON_36_PROTOCOL)
