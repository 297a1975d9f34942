"""Memory that the training and its sample processes share: a ring of places, each with the batch of one side.

Anonymous (memfd): it has no name that could stay behind with faces in it, it is not bounded by the size of /dev/shm,
and it goes when the last process that has it ends.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Protocol, cast

import numpy as np

from trainer.errors import SampleError
from trainer.samples.sample_maker import DTYPES, SamplePath
from trainer.samples.settings import AnySample, Sample

_CHANNELS = 3
_MASKS = 2


@dataclass(frozen=True)
class RingLayout:
    """What stands where in the memory."""

    places: int
    batch_size: int
    resolution: int
    path: SamplePath

    @property
    def _plane(self) -> int:
        return self.batch_size * self.resolution**2 * DTYPES[self.path].itemsize

    @property
    def place_bytes(self) -> int:
        return self._plane * (2 * _CHANNELS + _MASKS)

    def samples_in(self, memory: mmap.mmap, place: int) -> AnySample:
        """Return the batch of a place, as views of the memory; its arrays have a first axis of batch_size."""
        count, side, dtype = self.batch_size, self.resolution, DTYPES[self.path]
        start = place * self.place_bytes
        pictures = []
        for shape in ((count, side, side, _CHANNELS), (count, side, side, _CHANNELS), (count, _MASKS, side, side)):
            pictures.append(np.frombuffer(memory, dtype, int(np.prod(shape)), start).reshape(shape))
            start += pictures[-1].nbytes
        return cast(AnySample, Sample(*pictures))


class PassedDescriptor(Protocol):
    """What multiprocessing makes of a descriptor in the process that it was passed to."""

    def detach(self) -> int:
        """Return the descriptor."""


class SampleRing:
    """The memory, in one process. It is passed to a process that is being started as an argument of it."""

    def __init__(self, layout: RingLayout, descriptor: int | None = None) -> None:
        """Make the memory, or map what `descriptor` leads to. Raise SampleError where there is not enough."""
        self.layout = layout
        size = layout.places * layout.place_bytes
        try:
            self._descriptor = _new_memory(size) if descriptor is None else descriptor
            self._memory = mmap.mmap(self._descriptor, size)
        except OSError as problem:
            raise SampleError(
                f"samples need {size >> 20} MiB of shared memory: {problem.strerror}",
                hint="a smaller batch or fewer processes need less",
            ) from problem

    def samples(self, place: int) -> AnySample:
        """Return the batch of a place: views of the memory, which keep it alive."""
        return self.layout.samples_in(self._memory, place)

    def close(self) -> None:
        """Let go of the memory; views of it stay good."""
        os.close(self._descriptor)

    def __reduce__(self) -> tuple[Callable[..., SampleRing], tuple[object, ...]]:
        return _received, (self.layout, reduction.DupFd(self._descriptor))


def _new_memory(size: int) -> int:
    descriptor = os.memfd_create("samples", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, size)  # now or never: later it would be a bus error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _received(layout: RingLayout, passed: PassedDescriptor) -> SampleRing:
    return SampleRing(layout, passed.detach())
