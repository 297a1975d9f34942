"""Errors of DeepFaceLab's formats, and how an untrusted value is shown in one."""

from __future__ import annotations

from core.errors import DfldError

_SHOWN_CHARACTERS = 60
"""Enough of a foreign text to know it again."""


class FormatError(DfldError):
    """Bytes that break the rules of a DeepFaceLab format, or ask for more than the format allows."""


def shown(value: object) -> str:
    """Given an untrusted value, return a few words for a message: its type and length, or its beginning.

    Never its whole text: a small pickle can hold a list that takes hours to print.
    """
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 1 << 128 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)):
        return repr(value[:_SHOWN_CHARACTERS]) + ("..." if len(value) > _SHOWN_CHARACTERS else "")
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"an array {shape} of {dtype}"
    return f"a {type(value).__name__}"
