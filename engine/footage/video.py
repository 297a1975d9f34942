"""Videos -> decoded frames: probe a file, read it in order, go on at a cursor.

For anything FFmpeg's libraries open (through PyAV), and for folders of images, which engine.footage.image_folder reads.
Not for finding shots (engine.frames.shots), and without any threads but the decoder's.

Indices. A frame's index counts the pictures the decoder put out; unsound ones (engine.footage.decoder) are dropped and
counted as damaged, but keep their index. A packet that decodes to nothing has none. So an index means the same frame in
every run over the same file. To make that true for damaged files too, decoding goes on with one thread from the first
damage: decoders race with themselves there. Streams that change their size keep each frame's own size, unless
`FrameForm.one_size` is asked for.

Timestamps are the stream's own (exact for variable rates); where a container has only decoding times (AVI), those
stand in, as FFmpeg's "best effort" timestamps do. Interlaced frames are left woven and said to be so.

The file is untrusted: see engine.footage.container. What can still hang or crash is the decoder's C code: run it in a
process that may die.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.video.stream import VideoStream

from engine.errors import InputError
from engine.footage.container import moving_streams, open_source
from engine.footage.decoder import Decoder, Picture
from engine.footage.hardware import as_software, try_on_gpu
from engine.footage.image_folder import ImageFolderReader
from engine.footage.seek import first_usable, places_to_start, read_timeline, retraces, seek_times, without_leading
from engine.footage.structure import NO_PROOF, SECOND_MOVIE, Structure, structure_of
from engine.frames.contract import (
    AS_SHOWN,
    DecodedFrame,
    Evidence,
    FrameForm,
    FrameReader,
    VideoInfo,
    look_at_source,
    refuse_oversize,
)
from engine.frames.one_size import OneSizeReader
from engine.frames.pixels import DecodedVideoFrame, Turns, hdr_in, turn_of
from engine.frames.shape import SQUARE_WITHIN, is_anamorphic, squared_size
from engine.frames.tone import TRANSFERS
from engine.steps import Step, no_step
from engine.types import Cursor

if TYPE_CHECKING:
    from engine.footage.decoder import Packets

__all__ = ["DecodedFrame", "FrameReader", "VideoInfo", "open_frames", "probe"]

STATES_ITS_LENGTH = frozenset({"mov", "matroska", "avi", "flv", "asf", "mxf"})
"""Containers, by FFmpeg's first name for them, whose header states how long the video lasts. Of others FFmpeg estimates
it from bit rates or from the last time stamp that it finds."""
RATES_MAX = 1_000
"""Frames a second: what a header states beyond is no rate (of DV streams FFmpeg guesses 60 000)."""
MILLISECONDS = Fraction(1, 1000)
"""Unit of time for streams that name none."""

_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive
_KEEPS_TIMES = frozenset({"mov", "matroska", "flv", "asf"})
"""Containers that keep a time for each frame, so that rates may vary; elsewhere the mean is a guess."""
_RATE_TOLERANCE = 0.01  # mean and nominal rate of a constant-rate file differ by rounding only


def probe(path: Path, *, within: Sequence[Path] | None = None) -> VideoInfo:
    """Given a file or a folder of images, return what it holds, decoding up to the first frame.

    `within` is as for `open_frames`. Raise InputError for anything that gives no frame, InputUnavailableError when
    reading failed for a reason outside the file (I/O error, too many open files).
    """
    with open_frames(path, within=within) as reader:
        return reader.info


def open_frames(
    path: Path,
    *,
    after: Cursor | None = None,
    decode_threads: int | None = None,
    on_gpu: bool = False,
    within: Sequence[Path] | None = None,
    form: FrameForm = AS_SHOWN,
    step: Step = no_step,
) -> FrameReader:
    """Open a video or a folder of images for reading, from its start or from where `after` says work ended.

    With `after`, indices, pts and pixels are those of an undisturbed run from frame `after.next_frame` on, and
    damage is counted from there. `decode_threads`: threads of the codec; None leaves it to FFmpeg (one a core);
    only tests set it. `on_gpu`: decode on the GPU where engine.footage.hardware finds that it gives the same pictures;
    `warnings` say where not. `within`: folders that the file must lie in, where strangers may have put it or a link to
    it; None = it was named by the operator. It is opened once: who swaps its name later changes nothing. `form`: what
    frames are made of what is stored. `step` is called, by whoever opens or iterates, for everything that is read and
    not handed out. Raise as `probe` does. The iteration raises InputUnavailableError when the disk fails under it, and
    InputError at its end when damage left no frame at all.
    """
    path = path.absolute()
    if stat.S_ISDIR(look_at_source(path).st_mode):
        folder = ImageFolderReader(path, after=after, within=within, step=step)
        return OneSizeReader(folder) if form.one_size else folder
    file = open_source(path, within=within)
    try:
        reader = VideoReader(
            file, path, after=after, decode_threads=decode_threads, on_gpu=on_gpu, form=form, step=step
        )
        return OneSizeReader(reader) if form.one_size else reader
    except BaseException:
        file.close()
        raise


class VideoReader(FrameReader):
    """Frames of one video file, which is closed with the reader; see engine.frames.contract.FrameReader."""

    def __init__(
        self,
        file: io.FileIO,
        path: Path,
        *,
        after: Cursor | None,
        decode_threads: int | None,
        on_gpu: bool = False,
        form: FrameForm = AS_SHOWN,
        step: Step = no_step,
    ) -> None:
        self._file = file
        self._form = form
        self._opened = os.fstat(file.fileno())
        self._path = path
        self._step = step
        self._threads = decode_threads
        self._conceal_errors = False
        self._has_holes = False
        self._next_index = 0
        self._turns = Turns()
        self._stored_size = self._squared = (0, 0)
        self._last_pts: int | None = None
        self._damaged_before = 0
        self._ended = False
        self._resumed = after is not None and after.next_frame > 0
        self._trial = try_on_gpu(file, path) if on_gpu else None
        self._on_gpu = self._trial is not None and not self._trial.why_not
        self._decoder = self._new_decoder()
        self._pictures: Iterator[Picture] = self._decoder.pictures(self._decoder.packets())
        try:
            first = self._first_picture()
            self._aspect = self._decoder.stream.sample_aspect_ratio
            self.info = _describe(path, self._decoder, first.decoded, form)
            self._pictures = chain([first], self._pictures)
            if after is not None and self._resumed:
                self._go_to(after)
        except BaseException:
            self._decoder.close()
            raise

    @property
    def warnings(self) -> tuple[str, ...]:
        found = list(self.info.warnings)
        if self._trial is not None and not self._on_gpu:
            why = self._trial.why_not or "it is damaged, and what is damaged the GPU may conceal"
            found.append(f"decoded by software: {why}")
        if self._conceal_errors:
            found.append(
                "the stream breaks its codec's rules: damage in it cannot be distinguished from sound pictures"
            )
        return tuple(found)

    def evidence(self) -> Evidence:
        if not self._ended:  # behind a stretch, or stopped: what is left is read as packets
            for _ in self._decoder.packets():
                self._step()
        structure, now, stream = structure_of(self._file), os.fstat(self._file.fileno()), self._decoder.stream
        rate = _rate(stream)
        frame_s = 1 / float(rate) if rate else None
        reached = None
        if self._ended and self._last_pts is not None:
            reached = float((self._last_pts - (stream.start_time or 0)) * self.info.time_base) + (frame_s or 0.0)
        promised = _stated_seconds(self._decoder) if self._ended else None
        stored = structure.pictures or (stream.frames if stream.frames > 0 else None)
        is_second = structure.begins_again and self._ended and self._next_index < (stored or 0)
        same_size = now.st_size == self._opened.st_size
        return Evidence(
            frames=self._next_index,
            damaged=self._decoder.damaged - self._damaged_before + (self._decoder.pictures_lost if self._ended else 0),
            total_bytes=now.st_size,
            missing_bytes=structure.missing_bytes,
            is_sized=structure.is_sized,
            is_complete=structure.is_complete,
            trouble=SECOND_MOVIE if is_second else structure.trouble,
            unread_s=structure.unread_s,
            broke_off=self._decoder.cut_off,
            concealed=self._conceal_errors,
            frames_promised=stored if self._ended else None,
            reached_s=reached,
            promised_s=promised,
            frame_s=frame_s,
            grew=now.st_size > self._opened.st_size,
            replaced=now.st_size < self._opened.st_size or (same_size and now.st_mtime_ns != self._opened.st_mtime_ns),
            unread=tuple(self._unread(structure, stored)),
        )

    def _unread(self, structure: Structure, stored: int | None) -> Iterator[str]:
        """Yield why it is not proven that all which the file holds was read, as engine.footage.verdict wants it."""
        ending = self._path.suffix
        if structure.unproven == NO_PROOF and ending:
            yield f"nothing in a {ending} like this proves that all of it is there"
        elif structure.unproven:
            yield structure.unproven
        if not self._ended:
            yield "it was not decoded to its end"
        elif stored is not None and self._next_index < stored:
            yield "it stores more pictures than it shows (an edit list, or frames left out), and those were not read"
        elif stored is None and structure.is_complete and structure.container == "mp4":
            yield "its tables do not say how many pictures it stores"
        if (
            self._decoder.met_new_streams
            or max(len(moving_streams(self._decoder.container)), structure.video_streams) > 1
        ):
            yield "it holds a second video stream that was not read"
        if self._has_holes or self._decoder.has_holes:
            yield "its pictures hold runs of zeros, which may be holes that a copy left"

    def __next__(self) -> DecodedFrame:
        while (picture := self._next_picture()) is not None:
            index = self._next_index
            self._next_index += 1
            self._last_pts = picture.pts
            self.packets_damaged = self._decoder.damaged - self._damaged_before
            if not picture.sound:
                self._step()
            else:
                refuse_oversize(self._path, picture.decoded.width, picture.decoded.height)
                self.frames_decoded += 1
                turn = self._turns.turn_of(picture.decoded)
                return DecodedVideoFrame(
                    as_software(picture.decoded, self._trial.pixel_format)
                    if self._on_gpu and self._trial
                    else picture.decoded,
                    index=index,
                    pts=picture.pts,
                    time_base=self.info.time_base,
                    packets_damaged=self.packets_damaged,
                    turn=turn,
                    squared=self._squared_size(picture.decoded.width, picture.decoded.height),
                    hdr=hdr_in(picture.decoded) if self._form.tone_map else None,
                )
        self.packets_damaged = self._decoder.damaged - self._damaged_before
        self._ended = True
        if not (self.frames_decoded or self._resumed):
            raise InputError(f"{self._path}: none of its {self._next_index} frames could be decoded without damage")
        raise StopIteration

    def close(self) -> None:
        self._pictures = iter(())
        self._decoder.close()
        self._file.close()

    def _squared_size(self, width: int, height: int) -> tuple[int, int]:
        """Return `squared_size`, worked out again only where the picture's size changes: fractions are slow."""
        if (width, height) != self._stored_size:
            self._stored_size = width, height
            self._squared = squared_size(width, height, self._aspect)
        return self._squared

    def _next_picture(self) -> Picture | None:
        """Return the next picture; at the first damage, go on behind the last one with a single thread."""
        picture = next(self._pictures, None)
        if self._decoder.damaged and (self._threads != 1 or self._on_gpu):
            self._threads, self._on_gpu = 1, False
            self._go_to(Cursor(self._next_index, self._last_pts))
            picture = next(self._pictures, None)
        return picture

    def _first_picture(self) -> Picture:
        """Return the first picture; where damage lets none through, fall back to one thread, then to concealment."""
        first = next(self._pictures, None)
        for conceal_errors in (False, True):
            if first is None and self._decoder.damaged:
                self._conceal_errors, self._threads, self._on_gpu = conceal_errors, 1, False
                self._restart()
                first = next(self._pictures, None)
        if first is None:
            codec = self._decoder.stream.name
            raise InputError(f"{self._path}: has a video stream ({codec}) but no frame could be decoded")
        refuse_oversize(self._path, first.decoded.width, first.decoded.height)
        return first

    def _go_to(self, cursor: Cursor) -> None:
        """Make the next picture the one after the cursor: seek where that is sure to be the same, else decode."""
        if not self._seek_to(cursor):
            self._restart()
            for _ in islice(self._pictures, cursor.next_frame):
                self._step()
        self._next_index = cursor.next_frame
        self._last_pts = cursor.last_pts
        self._damaged_before = self._decoder.damaged

    def _seek_to(self, cursor: Cursor) -> bool:
        """Seek to a key frame and decode up to the picture before the cursor; False where that cannot be trusted."""
        self._restart()
        timeline = read_timeline(self._stepping_packets(), cursor)
        places = places_to_start(timeline, cursor)
        for time in seek_times(timeline, places):
            if not (self._land_at(time) and retraces(self._stepping_packets(), timeline, cursor)):
                continue
            self._land_at(time)
            packets = self._stepping_packets()
            first = first_usable(packets, timeline, places)
            if first is None:
                continue
            self._pictures = self._decoder.pictures(without_leading(first, packets))
            if any(picture.sound for picture in self._pictures if picture.pts == cursor.last_pts):
                return True
        return False

    def _stepping_packets(self) -> Packets:
        for packet in self._decoder.packets():
            self._step()
            yield packet

    def _land_at(self, time: int) -> bool:
        self._restart()
        return self._decoder.seek(time)

    def _restart(self) -> None:
        self._has_holes = self._has_holes or self._decoder.has_holes
        self._decoder.close()
        self._decoder = self._new_decoder()
        self._pictures = self._decoder.pictures(self._decoder.packets())

    def _new_decoder(self) -> Decoder:
        return Decoder(
            self._file, self._path, threads=self._threads, conceal_errors=self._conceal_errors, on_gpu=self._on_gpu
        )


def _describe(path: Path, decoder: Decoder, first: av.VideoFrame, form: FrameForm) -> VideoInfo:
    stream, turn = decoder.stream, turn_of(first)
    width, height = squared_size(first.width, first.height, stream.sample_aspect_ratio)
    width, height = (height, width) if turn[0] else (width, height)
    seconds = _stream_seconds(decoder)
    rate = _rate(stream)
    frames = stream.frames or (round(seconds * rate) if seconds and rate else None)
    return VideoInfo(
        path=path,
        kind="video",
        width=width,
        height=height,
        frames_estimate=frames if frames and frames > 0 else None,
        average_rate=rate,
        time_base=stream.time_base or MILLISECONDS,
        codec=stream.name or "unknown",
        pixel_format=first.format.name,
        first_pts=first.pts if first.pts is not None else first.dts,
        warnings=tuple(_notes(decoder, first, form)),
    )


def _notes(decoder: Decoder, first: av.VideoFrame, form: FrameForm) -> Iterator[str]:
    stream = decoder.stream
    if first.color_trc in TRANSFERS:
        made = (
            "tone-mapped to SDR (BT.709)" if form.tone_map else "converted without tone mapping, colours will look flat"
        )
        yield f"HDR video ({TRANSFERS[first.color_trc]}): {made}"
    if first.interlaced_frame or stream.codec_context.field_order not in _PROGRESSIVE:
        yield "interlaced video: frames are used as they are, comb edges will show in motion"
    mean, nominal = stream.average_rate, stream.base_rate
    if (
        _container_name(decoder) in _KEEPS_TIMES
        and mean
        and nominal
        and abs(float(nominal / mean) - 1) > _RATE_TOLERANCE
    ):
        yield f"variable frame rate: {float(mean):.2f} frames/s on average; the exact time of each frame is kept"
    shape = stream.sample_aspect_ratio
    if shape and is_anamorphic(shape):
        width, height = squared_size(first.width, first.height, shape)
        yield (
            f"pixels are not square ({shape.numerator}:{shape.denominator}): pictures of {first.width}x{first.height} "
            f"px are made {width}x{height} px, as players show them"
        )
    elif shape and shape != 1 and not abs(shape - 1) < SQUARE_WITHIN:
        yield f"pixels of {shape.numerator}:{shape.denominator} are taken for a mistake in the header, and for square"


def _rate(stream: VideoStream) -> Fraction | None:
    """Return frames a second: on average, else as the stream's time base has it; None where neither is a rate."""
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return next((rate for rate in rates if rate and rate <= RATES_MAX), None)


def _container_name(decoder: Decoder) -> str:
    return decoder.container.format.name.partition(",")[0]


def _stated_seconds(decoder: Decoder) -> float | None:
    """Return how long the header says that the video lasts; None where that is only an estimate."""
    return _stream_seconds(decoder) if _container_name(decoder) in STATES_ITS_LENGTH else None


def _stream_seconds(decoder: Decoder) -> float | None:
    """Return how long the header says the video lasts; the container's length only when no other stream shares it."""
    container, stream = decoder.container, decoder.stream
    if stream.duration and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and container.duration > 0 and len(container.streams) == 1:
        return container.duration / av.time_base
    return None
