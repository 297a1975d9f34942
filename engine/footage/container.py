"""Opening an untrusted video file: checks, safe options, and FFmpeg's errors as sentences.

`open_source` opens the file itself, once, as core.opening does; `open_container` hands FFmpeg that very file by its
descriptor, however often, so a name that is swapped meanwhile changes nothing. Hands back an open container and the
one stream that is the video. Decodes nothing (engine.footage.video does).
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from core.opening import RefusedFileError, open_regular, path_of
from engine.errors import InputError, InputUnavailableError
from engine.footage.formats import FOOTAGE_FORMATS, kind_of
from engine.footage.signatures import HEAD_BYTES
from engine.frames.contract import MAX_FRAME_PX, PASSING_TROUBLES

CONTAINER_OPTIONS = {
    "format_whitelist": ",".join(FOOTAGE_FORMATS),  # asked before a format's reader runs
    "protocol_whitelist": "file",  # nothing in a file reaches the network
    "max_pixels": str(MAX_FRAME_PX),  # the decoder refuses before it allocates
}

_STILL_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails
_MP4_FAMILY_FIRST_BOXES = (b"ftyp", b"mdat", b"wide", b"free", b"skip")
_LEAST_BOX_BYTES = 8
_MAX_BOXES = 1_000  # top-level boxes looked at in search of moov; real files have a handful, fragmented ones more
_NOT_THIS_FILE = "put the video itself there; this file can be left out"
_COPY_AGAIN = "copy or download the file again; a recording that was cut off can sometimes be mended with untrunc"


def open_source(path: Path, *, within: Sequence[Path] | None) -> io.FileIO:
    """Open the file `path` (absolute) itself, for `open_container`; the caller closes it.

    `within`: folders that it must lie in, also where `path` is a link; None = anywhere. Raise InputError for what is
    missing, unreadable, empty, no regular file or elsewhere; InputUnavailableError where that may pass.
    """
    try:
        file = open_regular(path, within=within, follow_links=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file or folder", hint="check the path") from error
    except RefusedFileError as error:
        raise InputError(f"{path}: {error.strerror}", hint="expected a video file or a folder of images") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read by this user", hint="change its owner or mode") from error
    except OSError as error:
        if error.errno in PASSING_TROUBLES or isinstance(error, BlockingIOError):  # a file server holds a lease on it
            raise InputUnavailableError(
                f"{path}: cannot be opened: {error.strerror}", hint="check the disk or network share it lies on"
            ) from error
        raise InputError(f"{path}: cannot be opened: {error.strerror}", hint="check its permissions") from error
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise InputError(f"{path}: the file is empty", hint="the copy may have failed; copy it again")
    return file


def open_container(
    file: io.FileIO, path: Path, *, decode_threads: int | None, on_gpu: bool = False
) -> tuple[InputContainer, VideoStream]:
    """Open `file` and pick its video stream; the caller closes the container. `path` is what messages call it.

    Raise InputError when it is no video, of no format that is footage, without a video stream or with a codec that
    no decoder here knows; InputUnavailableError when reading failed for a reason outside the file. With `on_gpu`
    (NVIDIA's decoder or none, never silently another) it is FFmpeg's own error.
    """
    chip = HWAccel(device_type="cuda", allow_software_fallback=False) if on_gpu else None
    try:
        container = _open_any(path_of(file), path.suffix, chip)
    except av.FFmpegError as error:
        if on_gpu:
            raise
        raise explained(error, path, "opening it", *_why_not_opened(file, path)) from error
    try:
        return container, _video_stream(container, path, decode_threads)
    except BaseException:
        container.close()
        raise


def _open_any(place: str, suffix: str, chip: HWAccel | None) -> InputContainer:
    """Open by content; where that says nothing, by the name's ending, which FFmpeg cannot see in `place`."""
    try:
        return av.open(place, options=CONTAINER_OPTIONS, metadata_errors="replace", hwaccel=chip)
    except av.InvalidDataError:
        named = _format_of_suffix(suffix)
        if named is None:
            raise
        return av.open(place, format=named, options=CONTAINER_OPTIONS, metadata_errors="replace", hwaccel=chip)


@cache
def _format_of_suffix(suffix: str) -> str | None:
    """Return the one format of footage whose files end so; None where there is none, or several, as FFmpeg decides."""
    ending = suffix.removeprefix(".").lower()
    formats = (name for name in FOOTAGE_FORMATS if name in av.formats_available)
    found = [name for name in formats if ending in av.ContainerFormat(name, "r").extensions]
    return found[0] if len(found) == 1 else None


def explained(error: av.FFmpegError, path: Path, doing: str, message: str = "", hint: str = "") -> InputError:
    """Translate FFmpeg's error into ours: `message` and `hint` where the file is at fault, retryable where the machine
    is."""
    if is_passing(error):
        return InputUnavailableError(
            f"{path}: {doing} failed: {os.strerror(error.errno or 0)}; the file itself may be sound",
            hint="check the disk or network share it lies on",
        )
    if message:
        return InputError(message, hint=hint)
    return InputError(f"{path}: {doing} failed: {error.strerror}", hint="check that it plays, or convert it to MP4")


def is_passing(error: av.FFmpegError) -> bool:
    """Return whether the trouble is the machine's (I/O, memory, too many files), so that the same may work later."""
    return error.errno in PASSING_TROUBLES


def moving_streams(container: InputContainer) -> list[VideoStream]:
    """Return the streams of moving pictures; cover art and thumbnails are none."""
    return [stream for stream in container.streams.video if not stream.disposition & _STILL_PICTURE]


def _video_stream(container: InputContainer, path: Path, decode_threads: int | None) -> VideoStream:
    moving = moving_streams(container)
    if not moving:
        kinds = ", ".join(sorted({stream.type for stream in container.streams}))
        if not kinds:
            raise InputError(f"{path} holds no stream at all", hint=_COPY_AGAIN)
        raise InputError(f"{path} has no video stream, only {kinds} (cover art is not video)", hint=_NOT_THIS_FILE)
    best = container.streams.best("video")
    stream = next((stream for stream in moving if best is not None and stream.index == best.index), moving[0])
    if stream.codec_context is None:
        raise InputError(
            f"{path}: no decoder for its video codec is built in", hint="convert it, for example: ffmpeg -i IN OUT.mp4"
        )
    stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PX)}
    stream.thread_type = "AUTO"
    if decode_threads is not None:
        stream.thread_count = decode_threads
    return stream


def _why_not_opened(file: io.FileIO, path: Path) -> tuple[str, str]:
    """Return sentence and remedy for a file that FFmpeg did not open: an MP4 without its index, or no video at all."""
    if _lacks_moov(file):
        lack = "the index (moov) of this MP4 or MOV is missing: the copy or the recording was cut short"
        return f"{path}: {lack}", _COPY_AGAIN
    kind = kind_of(os.pread(file.fileno(), HEAD_BYTES, 0))
    if kind:
        return f"{path} is not a video but {kind}", _NOT_THIS_FILE
    return f"{path} is not a video of a format that dfld reads, or its beginning is damaged", _COPY_AGAIN


def _lacks_moov(file: io.FileIO) -> bool:
    """Walk the top-level boxes (ISO/IEC 14496-12 §4.2: 32-bit size, type, optional 64-bit size) looking for moov."""
    end = os.fstat(file.fileno()).st_size
    if end < _LEAST_BOX_BYTES:
        return False  # too short to say what it was to become
    position, boxes = 0, 0
    while position + _LEAST_BOX_BYTES <= end and boxes < _MAX_BOXES:
        header = os.pread(file.fileno(), 16, position)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if boxes == 0 and kind not in _MP4_FAMILY_FIRST_BOXES:
            return False
        if kind in (b"moov", b"moof"):
            return False
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < _LEAST_BOX_BYTES:  # 0: the box reaches to the end of the file
            return True
        position, boxes = position + size, boxes + 1
    return True
