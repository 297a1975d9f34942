"""Opening an untrusted video file: checks, safe options, and FFmpeg's errors as sentences.

Hands back an open container and the one stream that is the video. Decodes nothing (engine.footage.video does).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from engine.errors import InputError, InputUnavailableError
from engine.footage.contract import MAX_FRAME_PX, PASSING_TROUBLES, look_at_source

CONTAINER_OPTIONS = {
    "protocol_whitelist": "file",  # a playlist or a reference movie must not reach the network
    "max_pixels": str(MAX_FRAME_PX),  # the decoder refuses before it allocates
}
REFUSED_FORMATS = frozenset({"hls", "concat", "dash", "imf", "tty", "image2", "lavfi", "sdp", "rtsp", "ffmetadata"})
"""Demuxers that open other files by name, or make pictures out of text."""

_STILL_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails
_MP4_FAMILY_FIRST_BOXES = (b"ftyp", b"mdat", b"wide", b"free", b"skip")
_LEAST_BOX_BYTES = 8
_MAX_BOXES = 1_000  # top-level boxes looked at in search of moov; real files have a handful, fragmented ones more
_COPY_AGAIN = "copy or download the file again; a recording that was cut off can sometimes be mended with untrunc"


def open_container(
    path: Path, *, decode_threads: int | None, on_gpu: bool = False
) -> tuple[InputContainer, VideoStream]:
    """Open `path` (absolute) and pick its video stream; the caller closes the container.

    Raise InputError when the file is missing, unreadable, empty, no video, without a video stream or with a codec
    that no decoder here knows; InputUnavailableError when reading failed for a reason outside the file. With `on_gpu`
    (NVIDIA's decoder or none, never silently another) it is FFmpeg's own error.
    """
    _require_readable_file(path)
    try:
        chip = HWAccel(device_type="cuda", allow_software_fallback=False) if on_gpu else None
        container = av.open(str(path), options=CONTAINER_OPTIONS, metadata_errors="replace", hwaccel=chip)
    except av.FFmpegError as error:
        if on_gpu:
            raise
        raise explained(error, path, "opening it", _why_not_opened(path)) from error
    try:
        return container, _video_stream(container, path, decode_threads)
    except BaseException:
        container.close()
        raise


def explained(error: av.FFmpegError, path: Path, doing: str, message: str = "") -> InputError:
    """Translate FFmpeg's error into ours: `message` where the file is at fault, retryable where the machine is."""
    if is_passing(error):
        return InputUnavailableError(
            f"{path}: {doing} failed: {os.strerror(error.errno or 0)}; the file itself may be sound",
            hint="check the disk or network share it lies on",
        )
    if message:
        return InputError(message, hint=_COPY_AGAIN)
    return InputError(f"{path}: {doing} failed: {error.strerror}", hint="check that it plays, or convert it to MP4")


def is_passing(error: av.FFmpegError) -> bool:
    """Return whether the trouble is the machine's (I/O, memory, too many files), so that the same may work later."""
    return error.errno in PASSING_TROUBLES


def _require_readable_file(path: Path) -> None:
    status = look_at_source(path)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is a device, pipe or socket, expected a file or a folder of images")
    if status.st_size == 0:
        raise InputError(f"{path}: the file is empty", hint="the copy may have failed; copy it again")
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise InputError(f"{path}: may not be read by this user", hint="change its owner or mode") from error
    except OSError:
        return  # FFmpeg meets the same, and its error is explained there


def _video_stream(container: InputContainer, path: Path, decode_threads: int | None) -> VideoStream:
    if REFUSED_FORMATS & set(container.format.name.split(",")):
        raise InputError(
            f"{path}: not a video but a list or text ({container.format.long_name}); such files are not followed",
            hint="give the video file itself",
        )
    moving = [stream for stream in container.streams.video if not stream.disposition & _STILL_PICTURE]
    if not moving:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise InputError(f"{path}: has no video stream, only {kinds} (cover art is not video)")
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


def _why_not_opened(path: Path) -> str:
    """Return a sentence for a file that FFmpeg did not open: an MP4 without its index, or no video at all."""
    if _lacks_moov(path):
        return f"{path}: the index (moov) of this MP4 or MOV is missing: the copy or the recording was cut short"
    return f"{path}: is not a video that FFmpeg can read, or its beginning is damaged"


def _lacks_moov(path: Path) -> bool:
    """Walk the top-level boxes (ISO/IEC 14496-12 §4.2: 32-bit size, type, optional 64-bit size) looking for moov."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if end < _LEAST_BOX_BYTES:
            return False  # too short to tell what it was to become
        position, boxes = 0, 0
        while position + _LEAST_BOX_BYTES <= end and boxes < _MAX_BOXES:
            file.seek(position)
            header = file.read(16)
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
