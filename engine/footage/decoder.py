"""One pass over a video file: packets in, pictures out, each marked sound or not.

Damage. Decoders are set to report errors, not to conceal them: concealed pictures are wrong pixels, and with several
threads not even the same in each run. After an error or a picture called corrupt, every picture up to the next sound
key frame is built on it and marked unsound. A pass may be set to conceal instead, for streams that break their
codec's rules in every packet; then every picture counts as sound.

Not for indices, cursors and what to do about damage (engine.footage.video).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av

from engine.footage.container import explained, is_passing, open_container

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    Packets = Iterator[Packet[VideoStream] | None]

MAX_READ_ERRORS_IN_A_ROW = 64
"""A cut-off MP4 fails once for each missing packet, for ever: so many failures without a packet are the end."""
MAX_PACKETS_TO_FIRST_PICTURE = 5_000
"""No decoder holds back its first picture for so long; a stream that shows none by then is not worth reading on."""
MAX_DOUBTFUL_PICTURES = 300
"""So many pictures after damage are unsound at most: longer than usual distances of key frames (x264: 250), and a bound
for streams that mark none after the first."""


ONE_PICTURE_A_PACKET = frozenset({"h264", "hevc", "mjpeg", "prores", "dnxhd", "ffv1", "dvvideo"})
"""Not those with packets that show nothing (VP8, VP9, packed MPEG-4) or hold a field (MPEG-2)."""
HOLE = bytes(128)
"""Compressed pictures hold no such run of zeros (DV, the most regular: 77); what a copy left out does."""
LEAST_HOLE = 8
"""Shorter packets of zeros may mean "as before"."""
PROGRESSIVE = (0, 1)
"""AVFieldOrder: unknown, progressive. Fields may come as packets of their own."""


class Picture(NamedTuple):
    """What the decoder put out, and whether neither it nor anything it is built on was damaged."""

    decoded: av.VideoFrame
    sound: bool

    @property
    def pts(self) -> int | None:
        """Time in the stream's unit; the decoding time where the container has no other."""
        return self.decoded.pts if self.decoded.pts is not None else self.decoded.dts


class Decoder:
    """An open file being decoded once. `threads` None leaves their number to FFmpeg: one a core."""

    def __init__(
        self, file: io.FileIO, path: Path, *, threads: int | None, conceal_errors: bool, on_gpu: bool = False
    ) -> None:
        """Decode `file`, which messages call `path`. Raise as `open_container`."""
        self.container, self.stream = open_container(file, path, decode_threads=threads, on_gpu=on_gpu)
        self.damaged = 0
        """Packets that could not be read or decoded, and unsound pictures, so far."""
        self.cut_off = False
        """True once reading ended with errors instead of the end of the file."""
        self.has_holes = False
        """True once a packet held a run of zeros: perhaps a picture, perhaps what a copy left out."""
        self.met_new_streams = False
        """True once reading ended because the container announced streams that were not there when it was opened."""
        self._packets = 0
        self._pictures = 0
        self._failed = 0
        self._path = path
        self._conceal_errors = conceal_errors
        self._doubtful = 0
        if not conceal_errors:
            self.stream.codec_context.options = {**self.stream.codec_context.options, "err_detect": "explode"}

    def close(self) -> None:
        self.container.close()

    @property
    def pictures_lost(self) -> int:
        """Packets of which neither a picture nor an error came, once the decoder was emptied: pictures that are lost.

        Counted from the first key frame on, for codecs that make one picture of each packet; 0 for others.
        """
        context, stream = self.stream.codec_context, self.stream
        if stream.name not in ONE_PICTURE_A_PACKET or context.field_order not in PROGRESSIVE:
            return 0
        return max(0, self._packets - self._pictures - self._failed)

    def seek(self, time: int) -> bool:
        """Make the next packet one of a key frame at or before `time`, as far as the container can; False if not."""
        try:
            self.container.seek(time, stream=self.stream)
        except av.FFmpegError:
            return False
        return True

    def packets(self) -> Packets:
        """Yield the stream's packets, then None, which empties the decoder. Unreadable stretches are stepped over."""
        failures = 0
        while failures < MAX_READ_ERRORS_IN_A_ROW:
            try:
                for packet in self.container.demux(self.stream):
                    if packet.size:  # an empty one would end decoding; demux itself sends one at the end
                        self.damaged += failures
                        failures = 0
                        self.has_holes = self.has_holes or _is_hole(bytes(packet))
                        yield packet
                break
            except IndexError:  # PyAV 18, at the end, where a damaged transport stream announced more streams meanwhile
                self.met_new_streams = True
                break
            except av.FFmpegError as error:
                if is_passing(error):
                    raise explained(error, self._path, "reading it") from error
                failures += 1
                self._doubt()
        self.cut_off = failures > 0
        yield None

    def pictures(self, packets: Packets) -> Iterator[Picture]:
        """Yield every picture that the packets decode to, in the order of presentation."""
        seen_any = False
        for count, packet in enumerate(packets):
            if packet is not None and (self._packets or packet.is_keyframe):
                self._packets += not packet.is_discard
            try:
                decoded = self.stream.decode(packet)
            except av.FFmpegError as error:
                if is_passing(error):
                    raise explained(error, self._path, "decoding it") from error
                self.damaged += 1
                self._failed += 1
                self._doubt()
                decoded = []
            self._pictures += len(decoded)
            for frame in decoded:
                yield self._judge(frame)
            seen_any = seen_any or bool(decoded)
            if not seen_any and count > MAX_PACKETS_TO_FIRST_PICTURE:
                return

    def _judge(self, frame: av.VideoFrame) -> Picture:
        if frame.is_corrupt:
            self._doubt()
        elif frame.key_frame:
            self._doubtful = 0
        sound = self._doubtful == 0
        if not sound:
            self._doubtful -= 1
            self.damaged += 1
        return Picture(frame, sound)

    def _doubt(self) -> None:
        """Take note that the pictures to come are built on something missing."""
        if not self._conceal_errors:
            self._doubtful = MAX_DOUBTFUL_PICTURES


def _is_hole(packet: bytes) -> bool:
    return HOLE in packet or (len(packet) >= LEAST_HOLE and not packet.strip(b"\0"))
