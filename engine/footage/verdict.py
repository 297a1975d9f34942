"""Was a source read whole? The one verdict on it, from its container, its packets and its clock. Pure.

    whole           every picture that the file holds or promises was read
    lost footage    something is missing or damaged: the file is all that there is, so it is kept
    still growing   it became longer while it was read
    other content   it became another file while it was read

Only a whole source may be moved. To delete it, that is not enough: reading must have accounted for all that the file
holds. What was not read, or what nothing in the file proves, is `unread`: no alarm, but the original stays.
"""

from __future__ import annotations

from engine.frames.contract import Evidence
from engine.types import SourceVerdict

SHORT_BELOW = 0.98
"""Less than this part of what the header promises: the file was cut. Sound files are often off by a frame or two."""


def verdict_on(evidence: Evidence) -> SourceVerdict:
    """Given what reading a source has shown, say whether it was read whole, and how much is missing if not."""
    if evidence.replaced:
        return SourceVerdict("other content", "it became another file while it was read")
    if evidence.grew:
        return SourceVerdict("still growing", "it became longer while it was read")
    reasons = _reasons(evidence)
    if not reasons:
        return SourceVerdict("whole", unread=tuple(evidence.unread))
    missing_s, fraction = _missing(evidence)
    return SourceVerdict("lost footage", "; ".join(reasons), missing_s, fraction)


def _reasons(evidence: Evidence) -> list[str]:
    reasons = []
    if evidence.missing_bytes:
        reasons.append(f"it is truncated: it ends {evidence.missing_bytes} bytes before its container does")
    if evidence.trouble:
        reasons.append(f"it {evidence.trouble}")
    if not evidence.missing_bytes and _is_short(evidence):
        reasons.append(f"it is truncated: it ends after {evidence.frames} frames")
    elif evidence.broke_off and not evidence.missing_bytes:
        reasons.append(f"it is truncated: it cannot be read beyond frame {evidence.frames}")
    if evidence.damaged:
        reasons.append(f"{evidence.damaged} of its packets or pictures are damaged")
    if evidence.concealed:
        reasons.append(
            "its stream breaks its codec's rules, so that damage cannot be distinguished from sound pictures"
        )
    if evidence.unread_files:
        reasons.append(f"{evidence.unread_files} of its images are not read, because others have their names")
    return reasons


def _is_short(evidence: Evidence) -> bool:
    """Compare what came with what the container promised, where it does not prove by itself that it is complete."""
    if evidence.is_complete:
        return False
    few = evidence.frames_promised is not None and evidence.frames < SHORT_BELOW * evidence.frames_promised
    if evidence.promised_s is None or evidence.reached_s is None:
        return few
    return evidence.reached_s < SHORT_BELOW * evidence.promised_s and (few or evidence.frames_promised is None)


def _missing(evidence: Evidence) -> tuple[float | None, float | None]:
    """Return how much is missing: beyond the end by clock, count or bytes, whichever is known first; and damaged."""
    seconds = evidence.reached_s
    if seconds is None and evidence.frame_s is not None:
        seconds = evidence.frames * evidence.frame_s
    beyond: float | None = 0.0
    if evidence.missing_bytes or evidence.broke_off or _is_short(evidence) or evidence.trouble:
        beyond = _beyond_fraction(evidence, seconds)
    if evidence.unread_s is not None and seconds:
        beyond = evidence.unread_s / seconds
    inside = (evidence.damaged + evidence.unread_files) / max(1, evidence.frames + evidence.unread_files)
    if beyond is None:
        return None, None
    fraction = min(1.0, (beyond + min(1.0, inside)) / (1.0 + beyond))
    if not fraction:
        return (None, None) if evidence.concealed or evidence.trouble else (0.0, 0.0)
    return (None if seconds is None else seconds * (beyond + min(1.0, inside))), fraction


def _beyond_fraction(evidence: Evidence, seconds: float | None) -> float | None:
    """Return what is missing beyond the end as a multiple of what is there; None where it cannot be said."""
    if evidence.missing_bytes and not evidence.is_sized:
        return None  # what is stated is the length of the last fragment
    beyond = 0.0  # of a cut AVI, FFmpeg shortens the stated length, and not the stated number of frames
    if evidence.promised_s and seconds:
        beyond = evidence.promised_s / seconds - 1.0
    if evidence.frames_promised:
        beyond = max(beyond, evidence.frames_promised / max(1, evidence.frames) - 1.0)
    if beyond > 0:
        return beyond
    if evidence.missing_bytes and evidence.total_bytes:
        return evidence.missing_bytes / evidence.total_bytes
    return None
