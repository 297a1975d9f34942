"""A stretch of a video: only the frames from one time to another, as the sidecar of a file may ask for.

Wraps a reader; indices and pts stay those of the whole file. Times count from the first frame. What comes before the
stretch is decoded and dropped, since only decoding gives a frame's index.
"""

from __future__ import annotations

from dataclasses import replace

from engine.errors import InputError
from engine.frames.contract import DecodedFrame, Evidence, FrameReader, VideoInfo
from engine.steps import Step, no_step

FOLDER_RATE = 25.0
"""Images of a folder have no times; they count as so many a second."""


class StretchReader(FrameReader):
    """The frames of `reader` with start_s <= time < end_s. None = from the beginning, up to the end."""

    def __init__(
        self, reader: FrameReader, *, start_s: float | None, end_s: float | None, step: Step = no_step
    ) -> None:
        """Take over `reader`; `step` is called for each frame left out. Raise InputError for an empty stretch."""
        if start_s is not None and end_s is not None and end_s <= start_s:
            reader.close()
            raise InputError(
                f"{reader.info.path}: the stretch from {start_s:g} s to {end_s:g} s is empty",
                hint="end must be later than start",
            )
        self._reader = reader
        self._start_s = start_s
        self._end_s = end_s
        self._step = step
        self.info = reader.info

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._reader.warnings

    def evidence(self) -> Evidence:
        """As the reader's; what lies outside of the stretch was not looked at, so that the source is not used up."""
        evidence = self._reader.evidence()
        if self._start_s is None and self._end_s is None:
            return evidence
        return replace(evidence, unread=(*evidence.unread, "only a stretch of it was asked for"))

    def __next__(self) -> DecodedFrame:
        while True:
            decoded = next(self._reader)
            self.packets_damaged = self._reader.packets_damaged
            seconds = seconds_of(decoded, self.info)
            if self._end_s is not None and seconds >= self._end_s:
                raise StopIteration
            if self._start_s is None or seconds >= self._start_s:
                self.frames_decoded += 1
                return decoded
            self._step()

    def close(self) -> None:
        self._reader.close()


def seconds_of(decoded: DecodedFrame, info: VideoInfo) -> float:
    """Return the time of a frame, from the first one of its source, s."""
    if decoded.pts is None or info.first_pts is None:
        return decoded.index / float(info.average_rate or FOLDER_RATE)
    return float((decoded.pts - info.first_pts) * decoded.time_base)
