"""Frames of one size: what DeepFaceLab's merger and video maker need of a clip that changes its size on the way.

Broadcasts, screen recordings and video calls do. A frame of another size than the first is fitted into that: scaled
with its shape kept, centred, black round it. Landmarks then lie in the frames as they are written. Images of a folder
keep their sizes: each is somebody's picture, and the merger takes them one by one; the change is reported.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from engine.frames.contract import DecodedFrame, Evidence, FrameReader, Region, height_for_width
from engine.types import Frame, Image


class OneSizeReader(FrameReader):
    """The frames of `reader`, each of the size of the first."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader
        self.info = reader.info
        self._change = ""
        """Where the size changed first, as a sentence."""

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self._reader.warnings, self._change) if self._change else self._reader.warnings

    def evidence(self) -> Evidence:
        return self._reader.evidence()

    def __next__(self) -> DecodedFrame:
        decoded = next(self._reader)
        self.packets_damaged, self.frames_decoded = self._reader.packets_damaged, self._reader.frames_decoded
        width, height = self.info.width, self.info.height
        if (decoded.width, decoded.height) == (width, height):
            return decoded
        sizes = f"from {width}x{height} to {decoded.width}x{decoded.height} px"
        if self.info.kind == "images":
            self._change = self._change or (
                f"the picture size changes {sizes} at {decoded.source_filename}: DeepFaceLab merges each image, but "
                "makes no video of images of several sizes"
            )
            return decoded
        self._change = self._change or (
            f"the picture size changes {sizes} at frame {decoded.index}: frames of another size are fitted into "
            f"{width}x{height} px, since DeepFaceLab merges frames of one size"
        )
        return FittedFrame(decoded, width, height)

    def close(self) -> None:
        self._reader.close()


class FittedFrame(DecodedFrame):
    """A frame shown whole within a picture of another size."""

    def __init__(self, decoded: DecodedFrame, width: int, height: int) -> None:
        self.index, self.pts, self.time_base = decoded.index, decoded.pts, decoded.time_base
        self.source_filename, self.packets_damaged = decoded.source_filename, decoded.packets_damaged
        self.nbytes = decoded.nbytes
        self.width, self.height = width, height
        self._decoded = decoded

    def luma(self, width: int) -> Image:
        height = height_for_width(width, (self.width, self.height))
        inner = self._inner_size(width, height)
        return _within(self._decoded.luma(inner[0]), inner, (width, height))

    def scaled(self, width: int) -> Image:
        height = height_for_width(width, (self.width, self.height))
        inner = self._inner_size(width, height)
        return _within(self._decoded.scaled(inner[0]), inner, (width, height))

    def to_frame(self, region: Region | None = None) -> Frame:
        del region  # of a frame that is scaled, all is converted
        frame = self._decoded.to_frame()
        size = (self.width, self.height)
        return replace(frame, pixels=_within(frame.pixels, self._inner_size(*size), size))

    def _inner_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the largest size of the frame's shape within width x height px."""
        scale = min(width / self._decoded.width, height / self._decoded.height)
        return max(1, round(self._decoded.width * scale)), max(1, round(self._decoded.height * scale))


def _within(pixels: Image, inner: tuple[int, int], outer: tuple[int, int]) -> Image:
    """Return the picture in the size `inner` (width, height), in the middle of a black one of the size `outer`."""
    shrinks = inner[0] * inner[1] < pixels.shape[0] * pixels.shape[1]
    if pixels.shape[1::-1] != inner:
        pixels = np.asarray(cv2.resize(pixels, inner, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))
    picture = np.zeros((outer[1], outer[0], *pixels.shape[2:]), np.uint8)
    x, y = (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
    picture[y : y + inner[1], x : x + inner[0]] = pixels
    return picture
