"""Decoding on the GPU: used where its pictures are those of the software decoder, to the last pixel, else not.

Chips decode some codecs, some bit depths and some chroma formats, and drivers have faults of their own. So each file is
tried: its first pictures are decoded both ways and compared as the rest of the pipeline will see them. Damaged streams
are not for hardware either: from the first damage on engine.footage.video decodes by software.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np

from engine.footage.decoder import Decoder, Picture
from engine.frames.pixels import to_bgr

PICTURES_COMPARED = 8
"""Enough to hold pictures predicted from both sides, few enough to cost nothing beside a clip."""


@dataclass(frozen=True)
class Trial:
    """What came of decoding a file's beginning on the GPU."""

    why_not: str
    """Why the software decodes it; empty where the GPU does."""
    pixel_format: str = ""
    """The software decoder's layout, which frames from the GPU are brought into."""


def try_on_gpu(file: io.FileIO, path: Path) -> Trial:
    """Decode the first pictures of a video on the GPU and by software, and compare them. Messages call it `path`.

    Raise InputError where not even the software can open the file.
    """
    wanted = _first_pictures(file, path, on_gpu=False)
    if not wanted:
        return Trial("its beginning is damaged")
    try:
        got = _first_pictures(file, path, on_gpu=True)
    except (av.FFmpegError, ValueError, RuntimeError, NotImplementedError) as problem:
        return Trial(f"the GPU cannot: {getattr(problem, 'strerror', '') or problem}")
    return Trial(disagreement(wanted, got), wanted[0].format.name)


def disagreement(wanted: list[av.VideoFrame], got: list[av.VideoFrame]) -> str:
    """Compare what two decoders made of the same packets, as BGR; return "" where it is the same, else what differs."""
    if len(wanted) != len(got):
        return f"the GPU decodes {len(got)} of its first pictures, the software {len(wanted)}"
    for number, (one, other) in enumerate(zip(wanted, got, strict=True)):
        if one.pts != other.pts or not np.array_equal(to_bgr(one), to_bgr(as_software(other, one.format.name))):
            return f"the GPU decodes picture {number} differently from the software"
    return ""


def as_software(frame: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
    """Return a frame that came from the GPU in the software decoder's layout: the same samples, planes rearranged."""
    if frame.format.name == pixel_format:
        return frame
    return frame.reformat(format=pixel_format)


def _first_pictures(file: io.FileIO, path: Path, *, on_gpu: bool) -> list[av.VideoFrame]:
    decoder = Decoder(file, path, threads=1, conceal_errors=False, on_gpu=on_gpu)
    try:
        pictures: Iterator[Picture] = decoder.pictures(decoder.packets())
        return [picture.decoded for picture in islice(pictures, PICTURES_COMPARED)]
    finally:
        decoder.close()
