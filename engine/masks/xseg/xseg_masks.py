"""The source `xseg`: a network that DeepFaceLab trained, applied as DeepFaceLab applies it.

    the face has the network's face type
        picture → 256 px (Lanczos) → network → clip, below 0.1 is 0 → the face's size (Lanczos)
    it has another one
        picture → the crop of the network's type (bilinear, black border) → 256 px (Lanczos) → network
        → clip, below 0.1 is 0 → the crop's size (Lanczos) → back into the face (Lanczos)

Source: DeepFaceLab commit 46fc239, mainscripts/XSegUtil.py (apply_xseg) and facelib/XSegNet.py (extract). That one crop
is bilinear, and that nothing is clipped after a Lanczos step, is so there: a mask reaches a little beyond 0..1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.face_tables import FACE_TYPES
from dfl.geometry import Matrix, face_mat, invert_mat, transform_points
from dfl.xseg_weights import DATA_NAME, SIDE_PX, WEIGHTS_NAME, read_xseg_training
from engine.errors import ModelError, SettingsError
from engine.masks.source import FaceToMask, NoMask, PredictedMask
from engine.masks.xseg.converted import XSegNetwork, open_network
from engine.masks.xseg.numpy_network import Array
from engine.models.accelerators import (
    CUDA_PROVIDER,
    Device,
    available_providers,
    check_device,
    choose_providers,
    naming,
)

LEAST_PROBABILITY = 0.1
"""Below it, DeepFaceLab takes a pixel for background before a mask is resized."""
PICTURES_A_RUN = {"cpu": 1, "cuda": 8}
"""On two cores, one picture a run takes 85 to 101 ms, eight 103 ms each."""


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What the network is shown of a face."""

    picture: Array
    """(256, 256, 3) float32 BGR, about 0..1."""
    mat: Matrix | None
    """Px of the face → px of the crop of the network's face type, which has the same side; None where both are one."""
    side_px: int


class XSegMasks:
    """The source `xseg`; see engine.masks.source.MaskSource. Open one with `open_xseg`."""

    name = "xseg"

    def __init__(self, network: XSegNetwork, face_type: str, *, pictures_a_run: int = 1) -> None:
        """`face_type`: a name of dfl.face_tables.FACE_TYPES, the crop that the network was trained on."""
        self._network = network
        self._face_type = face_type
        self._pictures_a_run = pictures_a_run

    @property
    def model_sha(self) -> str:
        return self._network.weights_sha256

    @property
    def face_type(self) -> str:
        """Return the crop that the network was trained on."""
        return self._face_type

    @property
    def was_converted(self) -> bool:
        """Say whether the network had to be converted first."""
        return self._network.was_converted

    def masks(self, faces: Sequence[FaceToMask]) -> Sequence[PredictedMask | NoMask]:
        """Return one answer for each face, in their order; see MaskSource."""
        inputs = [network_input(face, self._face_type) for face in faces]
        answers = self._run([one for one in inputs if isinstance(one, NetworkInput)])
        return [one if isinstance(one, NoMask) else self._mask_of(one, next(answers)) for one in inputs]

    def _run(self, inputs: Sequence[NetworkInput]) -> Iterator[Array]:
        for first in range(0, len(inputs), self._pictures_a_run):
            some = inputs[first : first + self._pictures_a_run]
            with naming(Path(WEIGHTS_NAME)):
                yield from self._network.probabilities(np.stack([one.picture for one in some]))

    def _mask_of(self, given: NetworkInput, probabilities: Array) -> PredictedMask:
        return PredictedMask(mask_in_face(probabilities, given), self.name, self.model_sha)


def open_xseg(model: Path, cache: Path, *, face_type: str | None = None, device: Device = "auto") -> XSegMasks:
    """Open the XSeg network that DeepFaceLab keeps in the folder `model`, converted into `cache` where it is not yet.

    `face_type`: the crop that it was trained on, a name of dfl.face_tables.FACE_TYPES; None = what its data.dat says.
    Raise SettingsError where neither says it; ModelError where the folder holds no network, one that has only been
    pretrained, or one that cannot be run; FormatError, naming the file, for what is no XSeg network; OutputError and
    InputUnavailableError as engine.masks.xseg.converted.
    """
    weights, data = model / WEIGHTS_NAME, model / DATA_NAME
    if not os.path.lexists(weights):
        raise ModelError(
            f"{model} holds no XSeg network: there is no {WEIGHTS_NAME}",
            hint=f"name the folder in which DeepFaceLab trained XSeg, or where its generic {WEIGHTS_NAME} lies",
        )
    chosen = face_type or _face_type_of(data)
    wanted = choose_providers(device, available_providers())
    network = open_network(weights, cache, wanted)
    used = network.session.get_providers()
    check_device(device, wanted, used)
    where = "cuda" if CUDA_PROVIDER in used else "cpu"
    return XSegMasks(network, chosen, pictures_a_run=PICTURES_A_RUN[where])


def network_input(face: FaceToMask, face_type: str) -> NetworkInput | NoMask:
    """Return what a network of `face_type` is shown of a face, or why it cannot be shown it. Pure."""
    picture = face.pixels.astype(np.float32) / np.float32(255)
    side, metadata = face.side_px, face.metadata
    mat = None
    if metadata.face_type != face_type:
        if FACE_TYPES[metadata.face_type].padding is None:
            return NoMask(
                XSegMasks.name, f"the face is no crop ({metadata.face_type}), so where the face lies is unknown"
            )
        if metadata.source_landmarks is None:
            return NoMask(XSegMasks.name, f"the face is {metadata.face_type} without the landmarks of its frame, "
                          f"from which the network's {face_type} would be cut")  # fmt: skip
        mat = _mat_between(metadata.source_landmarks, side, metadata.face_type, face_type)
        cut = cv2.warpAffine(picture, mat, (side, side), flags=cv2.INTER_LINEAR)
        picture = np.asarray(cut, np.float32)
    return NetworkInput(_resized(picture, SIDE_PX), mat, side)


def mask_in_face(probabilities: Array, given: NetworkInput) -> Array:
    """Given the network's (256, 256) answer, return the (S, S) float32 mask in the face that it was shown. Pure."""
    mask = np.clip(probabilities, 0.0, 1.0)
    mask[mask < np.float32(LEAST_PROBABILITY)] = 0.0
    mask = _resized(mask, given.side_px)
    if given.mat is not None:
        size = (given.side_px, given.side_px)
        flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LANCZOS4
        mask = np.asarray(cv2.warpAffine(mask, given.mat, size, flags=flags), np.float32)
    return mask


def _face_type_of(data: Path) -> str:
    if not os.path.lexists(data):
        raise SettingsError(
            f"the face type of the XSeg network is unknown: there is no {data}", hint="name it with --xseg-face-type"
        )
    training = read_xseg_training(data)
    if training.is_pretrained_only:
        raise ModelError(
            f"the XSeg network of {data.parent} has only been pretrained: it repeats pictures and finds no faces",
            hint="train it in DeepFaceLab with pretrain off",
        )
    if training.face_type is None:
        raise SettingsError(f"{data} does not say the network's face type", hint="name it with --xseg-face-type")
    return training.face_type


def _mat_between(landmarks_frame_px: NDArray[np.float64], side_px: int, given: str, wanted: str) -> Matrix:
    """Return the matrix px of the crop `given` → px of the crop `wanted`, both `side_px` wide.

    Through the corners in float32, as DeepFaceLab's: the crop's corners to those of a picture of the same side.
    """
    there = invert_mat(face_mat(landmarks_frame_px, side_px, wanted))
    corners = np.array([[0, 0], [side_px, 0], [side_px, side_px]], np.float64)
    seen = transform_points(transform_points(corners, there), face_mat(landmarks_frame_px, side_px, given))
    mat = cv2.getAffineTransform(seen.astype(np.float32), corners.astype(np.float32))
    return np.asarray(mat, np.float64)


def _resized(picture: Array, side_px: int) -> Array:
    if picture.shape[0] == side_px:
        return picture
    return np.asarray(cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_LANCZOS4), np.float32)
