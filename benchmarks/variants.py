"""The labelled clips as they arrive elsewhere: compressed hard, small, dark, mirrored, upside down, with their truth.

For the other programs of this folder; run by itself it does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from composed import write_footage
from truth import Case

from engine.footage.video import open_frames
from engine.types import Image


@dataclass(frozen=True)
class Variant:
    """Something that happens to footage on its way."""

    name: str
    change: Callable[[Image], Image]
    scale: float = 1.0
    turned: bool = False
    """Turned by half."""
    mirrored: bool = False
    crf: int = 18


def _as_it_is(picture: Image) -> Image:
    return picture


def _half(picture: Image) -> Image:
    return np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def _dark(picture: Image) -> Image:
    return np.asarray(picture * 0.2, np.uint8)


def _mirrored(picture: Image) -> Image:
    return np.ascontiguousarray(picture[:, ::-1])


def _turned(picture: Image) -> Image:
    return np.ascontiguousarray(picture[::-1, ::-1])


VARIANTS = (
    Variant("crf38", _as_it_is, crf=38),
    Variant("half", _half, scale=0.5),
    Variant("dark", _dark),
    Variant("mirrored", _mirrored, mirrored=True),
    Variant("upside_down", _turned, turned=True),
)


def variant_of(case: Case, variant: Variant, out: Path) -> Case:
    """Return the case in a variant of its clip, which `Case.make` writes below `out`."""
    clip = out / f"{case.clip.stem}_{variant.name}.mp4"
    return Case(
        clip, case.who, case.references, lambda path: write_footage(path, _frames(case, variant), crf=variant.crf)
    )


def _frames(case: Case, variant: Variant) -> Iterator[tuple[Image, dict[str, Any]]]:
    truths = json.loads(case.truth.read_text())["frames"]
    with open_frames(case.clip) as reader:
        for decoded, truth in zip(reader, truths, strict=False):
            picture = variant.change(decoded.to_frame().pixels)
            even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
            moved = [_moved(face, variant, decoded.width, decoded.height) for face in truth["faces"]]
            yield np.ascontiguousarray(even), truth | {"faces": moved}


def _moved(face: dict[str, Any], variant: Variant, width: int, height: int) -> dict[str, Any]:
    """Move a face's truth as the picture was. Mirrored points keep their order in the image, left first."""
    if "box" not in face:
        return face
    moved = dict(face)
    for key, points in (("box", np.reshape(face["box"], (2, 2))), ("kps", np.asarray(face.get("kps", []), float))):
        if not points.size:
            continue
        points = points * variant.scale
        if variant.turned or variant.mirrored:
            points[:, 0] = width - 1 - points[:, 0]
        if variant.turned:
            points[:, 1] = height - 1 - points[:, 1]
        if variant.mirrored and key == "kps":
            points = points[[1, 0, 2, 4, 3]]
        corners = [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
        moved[key] = corners if key == "box" else points.tolist()
    return moved
