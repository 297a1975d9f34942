"""Face parsers: networks that say of each pixel whether it is skin, an eye, hair …; some of these make the mask.

    aligned face → a crop of the whole head → network → how likely each class is → the wanted ones → back into the face

Two families of ONNX files are known by their shapes: 19 classes as CelebAMask-HQ's (BiSeNet), and the 6 of MediaPipe's
selfie segmentation. Networks of CelebAMask-HQ know no hands: one on the face is skin to them. Beards are skin, long
fringes hair, and profiles are rare in what they learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.geometry import face_mat
from engine.errors import ModelError, SettingsError
from engine.masks.source import FaceToMask, PredictedMask
from engine.models.accelerators import (
    Device,
    available_providers,
    check_device,
    choose_providers,
    naming,
    open_session,
)
from engine.models.graph_facts import GraphFacts, Port, read_graph
from engine.models.onnx_session import Session
from engine.types import Image

CROP = "head"
"""The networks learned from pictures of whole heads. What an aligned face does not show of one repeats its border."""
DEFAULT_INCLUDE = ("glasses",)
"""Without the lenses there would be holes for the eyes."""
HAIR = ("hair", "hat")
"""Of what can be included: what lies beyond the landmarks."""
SHRINK_BELOW = 0.5
"""A crop smaller than the face by more than this is averaged first: bilinear interpolation would skip pixels."""
EYE_REACH = 0.10
"""Of the face's width: how far glasses reach around brows and eyes."""
EYES = (tuple(range(36, 42)), tuple(range(42, 48)))
LIPS = tuple(range(60, 68))


@dataclass(frozen=True)
class ParserFamily:
    """What is the same in all files of a kind."""

    name: str
    classes: int
    side_px: int
    """Of the picture that the network takes, where the file does not say so."""
    channels_last: bool
    """(1, H, W, channels) in and out; else (1, channels, H, W)."""
    mean: tuple[float, float, float]
    """Of red, green, blue in 0..1."""
    spread: tuple[float, float, float]
    face: tuple[int, ...]
    """Classes that always belong to the face."""
    options: Mapping[str, tuple[int, ...]]
    """Classes that can be included."""


CELEBAMASK = ParserFamily(
    name="19 classes of CelebAMask-HQ",
    classes=19,
    side_px=512,
    channels_last=False,
    mean=(0.485, 0.456, 0.406),
    spread=(0.229, 0.224, 0.225),
    # skin, brows, eyes, nose, inside of the mouth, lips
    face=(1, 2, 3, 4, 5, 10, 11, 12, 13),
    options=MappingProxyType({"glasses": (6,), "ears": (7, 8, 9), "hair": (17,), "hat": (18,)}),
)
"""In the order that zllrunning/face-parsing.PyTorch gave them, as every BiSeNet does (faceswap, facefusion)."""
SELFIE = ParserFamily(
    name="6 classes of MediaPipe",
    classes=6,
    side_px=256,
    channels_last=True,
    mean=(0.0, 0.0, 0.0),
    spread=(1.0, 1.0, 1.0),
    face=(3,),
    options=MappingProxyType({"glasses": (5,), "hair": (1,)}),
)
"""Background, hair, skin of the body, skin of the face, clothes, others: selfie_multiclass_256x256. Hands are skin of
the body, and so never the face's. Glasses are among the others, and count around the eyes alone."""
_BODY_SKIN = 2
FAMILIES = (CELEBAMASK, SELFIE)


class ParserMasks:
    """The source `parser`; see engine.masks.source.MaskSource. `open_parser` makes one."""

    name = "parser"

    def __init__(
        self,
        session: Session,
        family: ParserFamily,
        path: Path,
        *,
        side_px: int,
        model_sha: str,
        include: Sequence[str],
    ) -> None:
        """`path`: what errors name. `include`: what belongs to the mask beside the face. Raise SettingsError for what
        it cannot be."""
        for name in include:
            if name not in family.options:
                raise SettingsError(
                    f"include names {name!r}, which a parser of {family.name} does not know",
                    hint=f"it knows {', '.join(family.options)}",
                )
        self.family = family
        self.model_sha = model_sha
        self._session = session
        self._path = path
        self._side = side_px
        self._include = tuple(include)

    def masks(self, faces: Sequence[FaceToMask]) -> Sequence[PredictedMask]:
        """Return for each face how likely each of its pixels is of a wanted class; one run each. Raise ModelError for a
        network that fails at one, or answers with no numbers."""
        return [self._predicted(face) for face in faces]

    def _predicted(self, face: FaceToMask) -> PredictedMask:
        likely = self._likelihoods(face)
        core = self._summed(likely, face, [name for name in self._include if name not in HAIR])
        if not any(name in HAIR for name in self._include):
            return PredictedMask(core, self.name, self.model_sha)
        whole = PredictedMask(self._summed(likely, face, self._include), self.name, self.model_sha)
        return PredictedMask(whole.mask, self.name, self.model_sha, without_hair=core >= np.float32(whole.threshold))

    def _likelihoods(self, face: FaceToMask) -> NDArray[np.float32]:
        """Return (classes, S, S): how likely each class is at each pixel of the aligned face."""
        mat = face_mat(face.metadata.landmarks, self._side, CROP)
        crop = _cut(face.pixels, mat, self._side)
        with naming(self._path):
            scores = run_parser(self._session, self.family, crop)
        likely = _softmax(scores)
        side, flags = face.side_px, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.stack([np.asarray(cv2.warpAffine(one, mat, (side, side), flags=flags)) for one in likely])

    def _summed(self, likely: NDArray[np.float32], face: FaceToMask, include: Sequence[str]) -> NDArray[np.float32]:
        family = self.family
        mask = np.asarray(likely[list(family.face)].sum(axis=0))
        for name in include:
            wanted = likely[list(family.options[name])].sum(axis=0)
            if family is SELFIE and name == "glasses":
                wanted = np.where(_around_eyes(face), wanted, np.float32(0))
            mask = mask + wanted
        if family is SELFIE:
            mask = np.where(_eyes_and_lips(face) & (likely[_BODY_SKIN] < 0.5), np.float32(1), mask)
        return np.asarray(np.clip(mask, 0.0, 1.0), np.float32)


def open_parser(path: Path, *, include: Sequence[str] = DEFAULT_INCLUDE, device: Device = "cpu") -> ParserMasks:
    """Given an ONNX file of one of the families, open it and try it out on a grey picture.

    Raise ModelError, naming the file, for one that is none of them or does not answer as they do; SettingsError for
    `include` that it does not know. `device`: where it is to run; a GPU that was asked for and cannot be had is a
    ModelError, too.
    """
    _, facts = read_graph(path)
    family, side = family_of(facts, path)
    wanted = choose_providers(device, available_providers())
    session = open_session(path, wanted)
    check_device(device, wanted, session.get_providers())
    with naming(path):
        run_parser(session, family, np.full((side, side, 3), 128, np.uint8))
    return ParserMasks(session, family, path, side_px=side, model_sha=facts.sha256, include=include)


def family_of(facts: GraphFacts, path: Path) -> tuple[ParserFamily, int]:
    """Given what a graph says of itself, return its family and the side of its pictures, px. Raise ModelError."""
    picture = facts.inputs[0] if len(facts.inputs) == 1 else None
    answer = facts.outputs[0].shape if facts.outputs else ()
    for family in FAMILIES:
        if picture is None or len(picture.shape) != 4 or len(answer) != 4 or not picture.is_float:
            break
        place, sides = (3, picture.shape[1:3]) if family.channels_last else (1, picture.shape[2:4])
        sized = {side for side in sides if side is not None} or {family.side_px}
        if picture.shape[place] == 3 and answer[place] == family.classes and len(sized) == 1:
            if picture.shape[0] not in (None, 1):
                raise ModelError(
                    f"parser {path} takes {picture.shape[0]} pictures a run, expected 1 or any number",
                    hint="export it for one picture",
                )
            return family, _side_within_reason(sized.pop(), path)
    raise ModelError(
        f"{path} is no face parser of a known family: it takes {_shapes(facts.inputs)} and answers "
        f"{_shapes(facts.outputs)}; expected float (1, 3, 512, 512) → 19 classes, or (1, 256, 256, 3) → 6",
        hint="`dfld models list` names parsers that are read",
    )


def run_parser(session: Session, family: ParserFamily, crop: Image) -> NDArray[np.float32]:
    """Given a (side, side, 3) uint8 BGR picture, return (classes, side, side) scores.

    Raise ValueError for an answer of another shape or of no numbers.
    """
    rgb = crop[..., ::-1].astype(np.float32) / np.float32(255)
    values = (rgb - np.array(family.mean, np.float32)) / np.array(family.spread, np.float32)
    feed = values if family.channels_last else values.transpose(2, 0, 1)
    name = session.get_inputs()[0].name
    answer = session.run([session.get_outputs()[0].name], {name: np.ascontiguousarray(feed[None])})[0]
    expected = (1, *crop.shape[:2], family.classes) if family.channels_last else (1, family.classes, *crop.shape[:2])
    if answer.shape != expected or answer.dtype != np.float32 or not np.isfinite(answer).all():
        raise ValueError(
            f"it answers a picture of {crop.shape[1]} px with {answer.dtype} {answer.shape} or with no finite numbers, "
            f"expected float32 {expected}: networks that answer with a smaller picture number their classes otherwise"
        )
    scores = answer[0].transpose(2, 0, 1) if family.channels_last else answer[0]
    return np.ascontiguousarray(scores, np.float32)


def _side_within_reason(side: int, path: Path) -> int:
    if not 64 <= side <= 1024:
        raise ModelError(f"parser {path} takes pictures of {side} px, expected 64 to 1024")
    return side


def _shapes(ports: Sequence[Port]) -> str:
    return ", ".join(str(tuple("any" if one is None else one for one in port.shape)) for port in ports[:4])


def _cut(pixels: Image, mat: NDArray[np.float64], side: int) -> Image:
    """Cut the crop out of an aligned face; beyond its border the border goes on."""
    scale = float(np.sqrt(abs(np.linalg.det(mat[:, :2]))))
    if scale < SHRINK_BELOW:
        smaller = max(1, round(pixels.shape[0] * scale / SHRINK_BELOW))
        mat = np.hstack([mat[:, :2] * (pixels.shape[0] / smaller), mat[:, 2:]])
        pixels = np.asarray(cv2.resize(pixels, (smaller, smaller), interpolation=cv2.INTER_AREA), np.uint8)
    cut = cv2.warpAffine(pixels, mat, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.uint8)


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(scores - scores.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)


def _around_eyes(face: FaceToMask) -> NDArray[np.bool_]:
    """Return where glasses can be: (S, S) bool."""
    points = face.metadata.landmarks
    drawn = _filled(face.side_px, [points[[*range(17, 29), *range(36, 48)]]])
    reach = EYE_REACH * float(np.ptp(points[:27, 0]))
    away = cv2.distanceTransform(np.where(drawn, np.uint8(0), np.uint8(1)), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(away <= reach)


def _eyes_and_lips(face: FaceToMask) -> NDArray[np.bool_]:
    """Return the eyes and the inside of the mouth, which skin has no class for: (S, S) bool."""
    return _filled(face.side_px, [face.metadata.landmarks[list(part)] for part in (*EYES, LIPS)])


def _filled(side: int, parts: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    drawn = np.zeros((side, side), np.uint8)
    for points in parts:
        cv2.fillConvexPoly(drawn, cv2.convexHull(np.clip(np.rint(points), -(1 << 14), 1 << 14).astype(np.int32)), (1,))
    return drawn > 0
