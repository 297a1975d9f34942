"""Text from strangers, made safe to show: on one line of a log or terminal, steering nothing.

File names, names of machines and messages of other programs may hold control characters, or be no text at all.
"""

from __future__ import annotations

import re

# C0, DEL and C1 controls, line separators, marks that turn the writing direction, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escaped(text: str) -> str:
    """Return `text` on one line: every character that could forge a line or steer a terminal as `\\x1b`."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
