"""Which samples a batch of one side consists of: which faces, which seeds. The list of faces is renewed between epochs.

Everything follows from (seed, rank, iteration, side) and the list of faces, so that a resume makes the batches that an
uninterrupted training would have made. Where faces came or went, the order is that of the new list from the next
epoch on, or at once where files are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.randomness import SamplePlace, derived_seed, sample_seed
from trainer.samples.faces.face_list import FaceList, TrainingFace, list_faces
from trainer.samples.faces.face_order import FaceOrder, ShuffledOrder, UniformYawOrder
from trainer.samples.sample_maker import SampleRequest
from trainer.samples.settings import SampleSettings

OFFERED = 4
"""Faces for one sample, the later ones for where those before them cannot be read."""


@dataclass(frozen=True)
class Side:
    """What one side is trained on."""

    name: str
    """src or dst: a part of every seed."""
    folder: Path
    settings: SampleSettings
    uniform_yaw: bool = False
    reference_folder: Path | None = None
    """Faces of the other side, whose colours are taken where `settings` say so."""


@dataclass(frozen=True)
class TrainingPlace:
    """Which training this is, and which part of it this process does."""

    seed: int
    batch_size: int
    """Of this rank, each side."""
    rank: int = 0
    ranks: int = 1

    def row_place(self, iteration: int, number: int) -> int:
        """Return where sample `number` of this rank's batch stands in the row of all samples of a side."""
        return (iteration * self.ranks + self.rank) * self.batch_size + number


class BatchPlan:
    """Plans the batches of one side. Lists its folders when it is made."""

    def __init__(self, side: Side, training: TrainingPlace) -> None:
        """Raise SampleError where there is no face to plan with."""
        self.side = side
        self._training = training
        self._faces = list_faces(side.folder, with_yaw=side.uniform_yaw)
        self._references: FaceList | None = None
        if side.settings.colour_transfer != "none" and side.reference_folder is not None:
            self._references = list_faces(side.reference_folder, with_yaw=False)
        self._set_orders()

    @property
    def left_out(self) -> Mapping[str, str]:
        """File name -> why no sample is made of it, as of the last listing."""
        return self._faces.left_out

    @property
    def face_count(self) -> int:
        return len(self._faces.faces)

    def begins_epoch(self, iteration: int) -> bool:
        """Say whether another epoch has begun since the batch before this iteration's."""
        first, last = (self._training.row_place(one, 0) // self._order.count for one in (iteration - 1, iteration))
        return iteration > 0 and first != last

    def renew(self) -> None:
        """List the folders again. Raise SampleError where no face is left."""
        self._faces = list_faces(self.side.folder, with_yaw=self.side.uniform_yaw, earlier=self._faces)
        if self._references is not None:
            self._references = list_faces(self._references.folder, with_yaw=False, earlier=self._references)
        self._set_orders()

    def requests(self, iteration: int) -> dict[int, SampleRequest]:
        """Return the samples of an iteration by their numbers in the batch."""
        return {number: self.request(iteration, number) for number in range(self._training.batch_size)}

    def request(self, iteration: int, number: int, attempt: int = 0) -> SampleRequest:
        """Return one sample of an iteration. Another attempt offers other faces for the same sample."""
        training, row = self._training, self._training.row_place(iteration, number)
        seed = sample_seed(SamplePlace(training.seed, training.rank, iteration, self.side.name, number))
        references: tuple[TrainingFace, ...] = ()
        if self._references is not None:
            references = _offered(self._references, self._reference_order.face_at(row), attempt)
        backgrounds: tuple[TrainingFace, ...] = ()
        if self.side.settings.random_background:
            backgrounds = _offered(self._faces, derived_seed("behind", seed) % self._order.count, attempt)
        return SampleRequest(seed, _offered(self._faces, self._order.face_at(row), attempt), references, backgrounds)

    def _set_orders(self) -> None:
        faces, seed, name = self._faces.faces, self._training.seed, self.side.name
        self._order: FaceOrder
        if self.side.uniform_yaw:
            self._order = UniformYawOrder([face.yaw for face in faces], seed, name)
        else:
            self._order = ShuffledOrder(len(faces), seed, name)
        if self._references is not None:
            self._reference_order = ShuffledOrder(len(self._references.faces), seed, f"{name} references")


def _offered(listed: FaceList, index: int, attempt: int) -> tuple[TrainingFace, ...]:
    """Return a face and those that follow it in the list."""
    count = len(listed.faces)
    first = index + attempt * OFFERED
    return tuple(listed.faces[(first + offset) % count] for offset in range(min(OFFERED, count)))
