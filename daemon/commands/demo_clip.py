"""Footage for `dfld demo` and the tests: a camera moving over the group photograph that insightface ships.

Real faces of six people, so that there is somebody to keep and somebody to reject, without any download.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.errors import DaemonError

if TYPE_CHECKING:
    from engine.backends.backend import Backend

CLIP_SIZE = (640, 360)
CLIP_FRAMES = 60
CLIP_RATE = Fraction(24)
REFERENCE_MARGIN = 0.6
"""Of the face's width, on each side: enough for every detector, too little for a neighbour's face."""


def group_photo() -> NDArray[np.uint8]:
    """Read the photograph from the installed insightface package, without importing the package: (H, W, 3) BGR."""
    spec = importlib.util.find_spec("insightface")
    folders = spec.submodule_search_locations if spec else None
    path = Path(next(iter(folders))) / "data" / "images" / "t1.jpg" if folders else None
    pixels = cv2.imread(str(path)) if path and path.is_file() else None
    if pixels is None:
        raise DaemonError(
            f"the demo's group photograph is not at {path}", hint="install dfld again: pip install --force-reinstall"
        )
    return np.asarray(pixels, np.uint8)


def camera_move(photo: NDArray[np.uint8], frames: int = CLIP_FRAMES) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of one pan over the photo, left to right in a gentle wave, (360, 640, 3) BGR."""
    width, height = CLIP_SIZE
    centre_y = 0.40 * photo.shape[0]
    for number in range(frames):
        part = number / max(1, frames - 1)
        x = width / 2 + part * (photo.shape[1] - width)
        y = centre_y + 0.06 * photo.shape[0] * math.sin(2 * math.pi * part)
        zoom = 1.0 + 0.12 * math.sin(math.pi * part)
        matrix = np.array([[zoom, 0, width / 2 - zoom * x], [0, zoom, height / 2 - zoom * y]])
        picture = cv2.warpAffine(photo, matrix, CLIP_SIZE, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        yield np.asarray(picture, np.uint8)


def write_clip(path: Path, pictures: Iterator[NDArray[np.uint8]]) -> None:
    """Encode the pictures, all of one size, as H.264."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=CLIP_RATE, options={"crf": "18", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            if not number:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def write_reference(path: Path, photo: NDArray[np.uint8], backend: Backend) -> None:
    """Cut out the person nearest the photo's middle, mirrored, as a reference photo that no frame repeats."""
    faces = backend.detect(photo)
    if not faces:
        raise DaemonError(f"{backend.info.name} finds no face in the demo's photograph", hint="please report this")
    middle = photo.shape[1] / 2
    face = min(faces, key=lambda found: abs((found.bbox[0] + found.bbox[2]) / 2 - middle))
    margin = REFERENCE_MARGIN * face.width_px
    left, top = (max(0, int(value - margin)) for value in face.bbox[:2])
    right, bottom = (int(value + margin) for value in face.bbox[2:])
    cv2.imwrite(str(path), photo[top:bottom, left:right][:, ::-1])
