"""Errors of the engine: what can go wrong between a video and a workspace.

EngineError
├── InputError             the video, frame or photo handed in cannot be used
│   ├── PictureError           the bytes of one picture, which others may stand beside
│   └── InputUnavailableError  for a reason outside it, such as a failing disk (retryable)
├── ReferencePhotoError    no identity can be made of the reference photos
├── ModelError             model files missing, unloadable, or the wrong accelerator
├── FacesetError           a faceset cannot be used as it lies there
│   ├── PackedFacesetError     a faceset.pak hides it
│   └── FacesetInUseError      another program of dfld holds it (retryable)
├── OutputError            the workspace cannot be written; DiskFullError when space ran out (retryable)
└── SettingsError          options that contradict each other or leave their range
"""

from __future__ import annotations

from core.errors import DfldError


class EngineError(DfldError):
    """Anything that stops the engine."""


class InputError(EngineError):
    """The video, image folder or frame cannot be used: not a video, no video stream, zero frames, unreadable."""


class PictureError(InputError):
    """One image file cannot be decoded: damaged, of a format that dfld does not read, or without its library."""


class InputUnavailableError(InputError):
    """The input could not be read for a reason outside it: an I/O error, a lost network share, no memory."""

    retryable = True


class ReferencePhotoError(EngineError):
    """No identity can be made of the reference photos."""


class ModelError(EngineError):
    """A model is missing, cannot be loaded, or cannot run where it was asked to."""


class OutputError(EngineError):
    """The output folder or a file in it cannot be written."""


class DiskFullError(OutputError):
    """No space is left for an output file; the same work succeeds once there is space."""

    retryable = True


class FacesetError(EngineError):
    """A folder is no faceset, or one that cannot be used as it lies there."""


class PackedFacesetError(FacesetError):
    """A faceset.pak stands in front of the loose faces: DeepFaceLab reads it instead of them."""


class FacesetInUseError(FacesetError):
    """Another program of dfld works on a faceset at this moment."""

    retryable = True


class SettingsError(EngineError):
    """Options that contradict each other or leave their range."""
