"""The face in a box that a person gave, and who it is to the recogniser: an identity made of this one face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.errors import InputError
from engine.faces.boxes import centre, overlap
from engine.frames.contract import DecodedFrame
from engine.identity.embedding import embed_faces
from engine.search.looks import look_everywhere, look_near
from engine.types import Face, Identity, Image

SHOWN_MAX = 5
"""Faces of the frame that are named where none is in the box."""


def face_in_box(backend: Backend, decoded: DecodedFrame, box: NDArray[np.float64], confidence: float) -> Face:
    """Return the face that a box (4,) left, top, right, bottom, px, means: one that is found near it, else the one of
    the frame that shares most with it. Raise InputError, naming the faces of the frame, where there is none."""
    pixels = decoded.to_frame().pixels
    found = look_near(backend, pixels, Face(np.asarray(box, np.float32), 1.0), box, confidence)
    if found is not None and _is_meant(found, box):
        return found
    faces = look_everywhere(backend, pixels, confidence)
    meant = [face for face in faces if _is_meant(face, box)]
    if meant:
        return max(meant, key=lambda face: overlap(face.bbox, box))
    raise InputError(
        f"no face is seen in the box {_box_text(box)} of frame {decoded.index}, which has {decoded.width}x"
        f"{decoded.height} px",
        hint=_hint(faces),
    )


def identity_of_face(backend: Backend, pixels: Image, face: Face, *, name: str) -> Identity:
    """Return who a face is, as it is known by itself."""
    info = backend.info
    (embedding,) = embed_faces(backend, [backend.recognition_crop(pixels, face)])
    return Identity(
        name=name,
        backend=info.name,
        model=info.recognition_model,
        metric=info.metric,
        embeddings=embedding[None, :],
        mean=embedding,
        photos=(name,),
    )


def _is_meant(face: Face, box: NDArray[np.float64]) -> bool:
    """Say whether a face lies in a box: the middle of the one in the other."""
    x, y = centre(face.bbox)
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[3])


def _hint(faces: Sequence[Face]) -> str:
    if not faces:
        return "no face at all is seen in this frame; give a time at which the face shows clearly"
    named = "; ".join(_box_text(face.bbox) for face in faces[:SHOWN_MAX])
    return f"faces are seen there at {named}"


def _box_text(box: NDArray[np.floating]) -> str:
    """Return a box as --box takes it."""
    left, top, right, bottom = (round(float(edge)) for edge in box)
    return f"{left},{top},{right - left},{bottom - top}"
