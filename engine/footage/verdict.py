"""Was a source read whole? The one verdict on it, from its container, its packets and its clock. Pure.

    whole           every picture that the file holds or promises was read
    lost footage    something is missing or damaged: the file is all that there is, so it is kept
    still growing   it became longer while it was read
    other content   it became another file while it was read

Only a whole source may be moved. To delete it, that is not enough: reading must have accounted for all that the file
holds. What was not read, or what nothing in the file proves, is `unread`: no alarm, but the original stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Word = Literal["whole", "lost footage", "still growing", "other content"]
WORDS: tuple[Word, ...] = ("whole", "lost footage", "still growing", "other content")

SHORT_BELOW = 0.98
"""Less than this part of what the header promises: the file was cut. Sound files are often off by a frame or two."""


@dataclass(frozen=True)
class Evidence:
    """What reading a source to its end has shown."""

    frames: int
    """Pictures that came, damaged ones included; images of a folder."""
    damaged: int = 0
    """Packets that could not be read or decoded and pictures built on them; images that cannot be read."""
    total_bytes: int = 0
    missing_bytes: int | None = None
    """Promised by the container beyond the end of the file; None where it promises nothing."""
    is_sized: bool = False
    """The missing bytes are those of the whole file, and not of one packet or page of many."""
    is_complete: bool = False
    """The container proves that it ends where it has to."""
    trouble: str = ""
    """What the container shows beside that, as the rest of a sentence that begins with the file."""
    unread_s: float | None = None
    """Length of a second movie that is not read, s."""
    unread_files: int = 0
    """Images of a folder that are not read, because another one has their name."""
    broke_off: bool = False
    """Reading ended with errors and not at the end."""
    concealed: bool = False
    """The stream breaks its codec's rules, so that damage in it cannot be told."""
    frames_promised: int | None = None
    reached_s: float | None = None
    """End of the last picture on the stream's clock, from its start, s."""
    promised_s: float | None = None
    """Length that the container states, s; None where it states none, or only an estimate."""
    frame_s: float | None = None
    """Mean time of one picture, s."""
    grew: bool = False
    replaced: bool = False
    unread: tuple[str, ...] = ()
    """What the source holds, or may hold, beside what was read: sentences without a capital. Empty only where it is
    proven that all of it was read."""


@dataclass(frozen=True)
class SourceVerdict:
    """The verdict, why, and how much is missing."""

    word: Word
    why: str = ""
    """The rest of a sentence that begins with the file; "" for a whole one."""
    missing_s: float | None = None
    """Of lost footage, s; None where it cannot be said."""
    missing_share: float | None = None
    """Of lost footage, 0 to 1 of what there should be; None where it cannot be said."""
    unread: tuple[str, ...] = ()
    """Why a whole source may be moved and not deleted, as in `Evidence`."""

    @property
    def is_deletable(self) -> bool:
        return self.word == "whole" and not self.unread

    @property
    def sentence(self) -> str:
        """Return the verdict as one sentence without its subject: `lost footage: it …; 3.2 s, 40.0% …`."""
        if self.word != "lost footage":
            return f"{self.word}: {self.why}" if self.why else self.word
        amounts = [] if self.missing_s is None else [f"{self.missing_s:.1f} s"]
        amounts += [] if self.missing_share is None else [f"{self.missing_share:.1%}"]
        amount = f"{', '.join(amounts)} of it is missing" if amounts else "how much is missing cannot be told"
        return f"lost footage: {self.why}; {amount}"


WHOLE = SourceVerdict("whole")


def verdict_on(evidence: Evidence) -> SourceVerdict:
    """Given what reading a source has shown, say whether it was read whole, and how much is missing if not."""
    if evidence.replaced:
        return SourceVerdict("other content", "it became another file while it was read")
    if evidence.grew:
        return SourceVerdict("still growing", "it became longer while it was read")
    reasons = _reasons(evidence)
    if not reasons:
        return SourceVerdict("whole", unread=tuple(evidence.unread))
    missing_s, share = _missing(evidence)
    return SourceVerdict("lost footage", "; ".join(reasons), missing_s, share)


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
        reasons.append("its stream breaks its codec's rules, so that damage cannot be told from sound pictures")
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
        beyond = _beyond_share(evidence, seconds)
    if evidence.unread_s is not None and seconds:
        beyond = evidence.unread_s / seconds
    inside = (evidence.damaged + evidence.unread_files) / max(1, evidence.frames + evidence.unread_files)
    if beyond is None:
        return None, None
    share = min(1.0, (beyond + min(1.0, inside)) / (1.0 + beyond))
    if not share:
        return (None, None) if evidence.concealed or evidence.trouble else (0.0, 0.0)
    return (None if seconds is None else seconds * (beyond + min(1.0, inside))), share


def _beyond_share(evidence: Evidence, seconds: float | None) -> float | None:
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
