"""Footage of real faces, short and of many cuts: what the tests of kills and stops work on with the real engine.

Two or three frames a shot, each shot another view of one person of the group photograph: every shot is a window, and
every window a commit, so that a clip of seconds has as many places to be killed at as a film.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from daemon.commands.demo_clip import group_photo, write_reference
from engine.backends.catalog import open_backend
from tests.clips import Image, make_clip

FRAMES_A_SHOT = 3
SIZE = (320, 240)
FACE_AT = (515, 362)
"""The middle of the photograph's middle face."""
HEIGHTS_PX = (240, 276, 312)
"""Of the views: the face is then 97 to 126 px wide in the clip."""


def write_person(path: Path) -> Path:
    """Write the reference photo of the person whom the shots show."""
    write_reference(path, group_photo(), open_backend("dlib"))
    return path


def write_shots(path: Path, *, shots: int, first: int = 0) -> Path:
    """Encode the given number of shots as H.264; `first` numbers them, so that clips with other numbers differ."""
    photo = group_photo()

    def draw(frame: int) -> Image:
        return view(photo, first + frame // FRAMES_A_SHOT, frame % FRAMES_A_SHOT)

    options = {"crf": "20", "preset": "veryfast"}
    return make_clip(path, frames=shots * FRAMES_A_SHOT, size=SIZE, draw=draw, options=options)


def shot_of(frame: int) -> int:
    return frame // FRAMES_A_SHOT


def view(photo: Image, shot: int, step: int) -> Image:
    """Cut one frame out of the photo: the camera pans, and every other shot is mirrored, which no detector of cuts
    can miss."""
    height = HEIGHTS_PX[shot // 2 % len(HEIGHTS_PX)]
    width = height * SIZE[0] // SIZE[1]
    left = FACE_AT[0] - 20 + 10 * (shot % 5) + 3 * step - width // 2
    top = FACE_AT[1] - 18 + 6 * (shot % 7) - height // 2
    part = photo[top : top + height, left : left + width]
    if shot % 2:
        part = part[:, ::-1]
    return np.asarray(cv2.resize(part, SIZE, interpolation=cv2.INTER_AREA), np.uint8)
