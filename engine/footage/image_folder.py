"""Folders of images -> frames, in the order of the numbers in their names (engine.pictures.sequence).

For frames extracted earlier by other tools. Subfolders, other files, hidden ones and symbolic links are left alone: an
inbox must not lead out of itself. Not for reference photos (engine.identity.identity reads those).

A frame's index is the image's place in the sequence, unreadable images included. Which formats are read, and how they
become upright 8-bit BGR: engine.pictures.decoding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from core.opening import RefusedFileError, read_regular
from engine.errors import InputError, InputUnavailableError, PictureError
from engine.frames.contract import (
    PASSING_TROUBLES,
    DecodedFrame,
    Evidence,
    FrameReader,
    Region,
    VideoInfo,
    height_for_width,
    luma_height,
    refuse_oversize,
)
from engine.pictures.decoding import decode_picture, picture_format
from engine.pictures.image_header import IMAGE_SUFFIXES, image_size
from engine.pictures.sequence import SequenceNames, sequence_names
from engine.pictures.whole_picture import account_for
from engine.steps import Step, no_step
from engine.types import Cursor, Frame, Image

MAX_IMAGE_BYTES = 512 * 1024 * 1024
"""A larger file is not read: beyond any still photograph, and it would not fit a worker's memory."""
REASONS_NAMED = 3
"""So many images that could not be read are named with their reasons; a folder may hold thousands."""
SUFFIXES_BEFORE = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""What was taken as frames, in the order of plain names, by the dfld that had no other order."""
NO_CLOCK = Fraction(1, 1)
"""Images have no time; their pts is None and this unit says nothing."""


def image_files(folder: Path) -> tuple[list[Path], SequenceNames]:
    """Return the frames of a folder in their order, and their names with what is odd about them.

    Raise InputError when the folder cannot be listed.
    """
    sequence = sequence_names(entry.name for entry in _entries(folder))
    return [folder / name for name in sequence.names], sequence


def changed_order(folder: Path) -> str:
    """Return "" where a folder's frames are those, in that order, that dfld took before numbers counted as numbers.

    Else a hash of their names in order: work that began under another order must not go on under this one. Raise
    InputError when the folder cannot be listed.
    """
    entries = _entries(folder)
    before: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.suffix.lower() in SUFFIXES_BEFORE:
            before.setdefault(entry.stem, entry.name)
    now = sequence_names(entry.name for entry in entries).names
    if now == tuple(before.values()):
        return ""
    return hashlib.sha256("\0".join(now).encode(errors="surrogateescape")).hexdigest()


def _entries(folder: Path) -> list[Path]:
    """Return the regular files of a folder, no links. Raise InputError when it cannot be listed."""
    try:
        return [entry for entry in folder.iterdir() if entry.is_file() and not entry.is_symlink()]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}", hint="check its permissions") from error


class DecodedImage(DecodedFrame):
    """One image of a folder, already BGR: image files have no cheaper form."""

    def __init__(self, pixels: Image, *, index: int, name: str, packets_damaged: int) -> None:
        self.index = index
        self.pts = None
        self.time_base = NO_CLOCK
        self.source_filename = name
        self.packets_damaged = packets_damaged
        self.height, self.width = pixels.shape[:2]
        self.nbytes = pixels.nbytes
        self._pixels = pixels

    def luma(self, width: int) -> Image:
        small = self._resized(width, luma_height(width, (self.width, self.height)))
        return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)

    def scaled(self, width: int) -> Image:
        return self._resized(width, height_for_width(width, (self.width, self.height)))

    def _resized(self, width: int, height: int) -> Image:
        return np.asarray(cv2.resize(self._pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    def to_frame(self, region: Region | None = None) -> Frame:
        del region  # the pixels are there already
        return Frame(self.index, self.pts, self.time_base, self._pixels, self.source_filename)


class ImageFolderReader(FrameReader):
    """Frames of one folder. Its list of images is fixed when it is opened."""

    def __init__(
        self, folder: Path, *, after: Cursor | None, within: Sequence[Path] | None = None, step: Step = no_step
    ) -> None:
        """`within`: folders that every image must lie in; None = where it really lies is the operator's affair."""
        self._within = within
        self._files, self._sequence = image_files(folder)
        if not self._files:
            raise InputError(
                f"{folder}: holds no images, expected {', '.join(sorted(IMAGE_SUFFIXES))}",
                hint="subfolders and symbolic links are not followed",
            )
        self._start = after.next_frame if after is not None else 0
        self._step = step
        self._unread: list[str] = []
        """Of the images that could not be read, the first few, each with its reason."""
        self._damage, self._more = _Named(), _Named()
        """Images that give a frame and are not whole; and such that hold more than the picture that is read."""
        first = next((image for image in map(self._decode, self._files) if image is not None), None)
        if first is None:
            raise InputError(f"{folder}: none of its {len(self._files)} images can be read: {'; '.join(self._unread)}")
        self._unread.clear()
        self.info = VideoInfo(
            path=folder,
            kind="images",
            width=first.shape[1],
            height=first.shape[0],
            frames_estimate=len(self._files),
            average_rate=None,
            time_base=NO_CLOCK,
            codec="images",
            pixel_format="bgr24",
            warnings=self._sequence.notes(),
        )
        self._images = self._walk()

    @property
    def warnings(self) -> tuple[str, ...]:
        warnings = self.info.warnings
        if self._unread:
            more = ", among them" if self.packets_damaged > len(self._unread) else ""
            failed = f"{self.packets_damaged} of {len(self._files)} images could not be read{more}"
            warnings += (f"{failed}: {'; '.join(self._unread)}",)
        if self._damage.count:
            warnings += (f"{self._damage} of {len(self._files)} images are damaged, and taken all the same",)
        if self._more.count:
            warnings += (f"{self._more} of {len(self._files)} images hold more than the picture that is read",)
        return warnings

    def evidence(self) -> Evidence:
        """Every image is its own file: those that cannot be read, or are passed over for their names, are missing.

        An image that is damaged and gives a frame all the same is lost footage; one that holds more than its picture
        is not, but it is not read whole. Images before the cursor are looked at for that once more.
        """
        for _ in self._images:  # behind a stretch
            self._step()
        for file in self._files[: self._start]:
            self._decode(file, account=True)
            self._step()
        self._start = 0
        return Evidence(
            len(self._files),
            self.packets_damaged,
            trouble=f"has damaged images: {self._damage}" if self._damage.count else "",
            unread_files=len(self._sequence.left_out),
            unread=(f"not all of its images was read: {self._more}",) if self._more.count else (),
        )

    def __next__(self) -> DecodedFrame:
        return next(self._images)

    def close(self) -> None:
        self._images = iter(())

    def _walk(self) -> Iterator[DecodedFrame]:
        for index, file in enumerate(self._files[self._start :], self._start):
            pixels = self._decode(file, account=True)
            if pixels is None:
                self.packets_damaged += 1
                self._step()
                continue
            self.frames_decoded += 1
            yield DecodedImage(pixels, index=index, name=file.name, packets_damaged=self.packets_damaged)

    def _decode(self, file: Path, *, account: bool = False) -> Image | None:
        """Return an image; None when it cannot be used, with the reason among `_unread`.

        `account`: note whether it is whole, too.
        """
        try:
            data = _read_bytes(file, self._within)
            pixels = decode_picture(data, file.name, partial(refuse_oversize, file))
        except InputUnavailableError:
            raise
        except InputError as problem:
            if len(self._unread) < REASONS_NAMED:
                self._unread.append(problem.message)
            return None
        if account:
            size = image_size(data) or (pixels.shape[1], pixels.shape[0])
            found = account_for(data, picture_format(data) or "", size)
            self._damage.add(file.name, found.damage)
            self._more.add(file.name, found.unread)
        return pixels


class _Named:
    """How many images something is said of, and of the first few what. As text: `3 (a.jpg: it …; b.jpg: it …)`."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, name: str, said: str) -> None:
        """Count an image, unless nothing is said of it."""
        self.count += bool(said)
        if said and len(self._first) < REASONS_NAMED:
            self._first.append(f"{name}: {said}")

    def __str__(self) -> str:
        more = "; …" if self.count > len(self._first) else ""
        return f"{self.count} ({'; '.join(self._first)}{more})"


def read_image(file: Path, *, within: Sequence[Path] | None = None) -> Image:
    """Read an image file as (H, W, 3) uint8 BGR, upright, without its transparency; `within`: see core.opening.

    Raise PictureError when it cannot be read or decoded, InputError when it is larger than dfld takes,
    InputUnavailableError when reading failed for a reason outside it.
    """
    return decode_picture(_read_bytes(file, within), file.name, partial(refuse_oversize, file))


def _read_bytes(file: Path, within: Sequence[Path] | None) -> bytes:
    try:
        return read_regular(file, within=within, max_bytes=MAX_IMAGE_BYTES)
    except RefusedFileError as error:
        raise PictureError(f"{file.name} {error.strerror}") from error
    except OSError as error:
        if error.errno in PASSING_TROUBLES or isinstance(error, BlockingIOError):  # a file server holds a lease on it
            raise InputUnavailableError(
                f"{file}: reading it failed: {error.strerror}", hint="check the disk or network share it lies on"
            ) from error
        raise PictureError(f"{file.name} cannot be read: {error.strerror}") from error
