"""What an extraction would see in some footage, without writing any of it: tracks and their similarity.

The same windows, looks and verdicts as engine.extract, but no face is filled in, aligned or written. Choosing a
threshold from what was seen is engine.tuning.threshold_curve.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.backends.backend import Backend
from engine.clip.judge_window import Decision
from engine.clip.judged_windows import JudgedWindows
from engine.clip.windows import Footage
from engine.errors import InputError
from engine.footage.video import open_frames
from engine.frames.contract import FrameForm
from engine.frames.prefetch import Prefetch
from engine.identity.embedding import require_same_recogniser
from engine.identity.same_person import Rule
from engine.reasons import NEGATIVE, REVIEW_OTHER_AGE
from engine.tracks.verdicts import limit_of
from engine.tuning.threshold_curve import SeenTrack
from engine.types import ExtractSettings, Identity


@dataclass(frozen=True)
class Survey:
    """What was seen."""

    tracks: tuple[SeenTrack, ...]
    """By id."""
    frames: int
    """Examined."""
    default: float
    """The backend's own threshold, which "auto" means."""
    completed: bool
    """False when it was stopped from outside."""
    warnings: tuple[str, ...] = ()


def survey(
    source: Path,
    *,
    identity: Identity,
    backend: Backend,
    settings: ExtractSettings,
    stop: threading.Event,
    on_frames: Callable[[int, int | None], None],
) -> Survey:
    """Look through a video or image folder as `extract` does, and return the tracks it would judge.

    `on_frames` is called after each window with how many frames are done, of how many. Raise InputError for what
    cannot be read, SettingsError when identity and backend do not fit.
    """
    require_same_recogniser(identity, backend)
    default = backend.info.default_threshold
    rule = Rule(default, default)
    footage = Footage(source, settings.frame_skip, form=FrameForm(tone_map=settings.tone_map))
    seen: dict[int, SeenTrack] = {}
    examined = 0
    with open_frames(source, form=footage.form) as reader:
        with Prefetch(reader) as frames:
            windows = JudgedWindows(
                frames,
                footage,
                backend,
                identity,
                rule,
                min_confidence=settings.min_confidence,
                average_rate=reader.info.average_rate,
                stop=stop,
            )
            for judged in windows:
                _note(seen, judged.decision, identity, default, settings.frame_skip + 1)
                examined += judged.window.examined
                on_frames(judged.window.end.next_frame, reader.info.frames_estimate)
        warnings = tuple(reader.warnings)
    completed = not stop.is_set()
    if completed and not examined:
        raise InputError(f"{source}: not one frame could be decoded", hint="the file is damaged or empty")
    return Survey(tuple(seen[number] for number in sorted(seen)), examined, default, completed, warnings)


def _note(seen: dict[int, SeenTrack], decision: Decision, identity: Identity, default: float, step: int) -> None:
    """Add a window's tracks; one that went on from an earlier window counts once, with its latest verdict."""
    for track in decision.tracks:
        frames = [one.frame for one in track.sightings if one.frame >= decision.first_frame]
        if not frames:
            continue
        verdict = decision.verdicts[track.id]
        now = SeenTrack(
            id=track.id,
            similarity=verdict.similarity - (limit_of(track, identity, default) - default),
            faces=(frames[-1] - frames[0]) // step + 1,
            first=frames[0],
            last=frames[-1],
            beside=decision.beside.get(track.id, frozenset()),
            eligible=verdict.samples > 0 and verdict.reason not in (NEGATIVE, REVIEW_OTHER_AGE),
        )
        before = seen.get(track.id)
        if before is not None:
            now = replace(now, faces=before.faces + now.faces, first=before.first, beside=before.beside | now.beside)
        seen[track.id] = now
