"""What an extraction would see in some footage, without writing any of it: tracks and their similarity.

The same windows, looks and verdicts as engine.extract, but no face is filled in, aligned or written. Choosing a
threshold from what was seen is engine.tuning.threshold_curve.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from engine.backends.backend import Backend
from engine.clip.decide import Decision, decide
from engine.errors import InputError
from engine.extract import USUAL_RATE, require_same_recogniser
from engine.footage.video import open_frames
from engine.frames.contract import FrameForm
from engine.frames.prefetch import Prefetch
from engine.identity.same_person import Rule
from engine.reasons import NEGATIVE, REVIEW_OTHER_AGE
from engine.search.scout import Scout
from engine.search.windows import WindowReader, window_frames
from engine.tracks.verdicts import Gallery
from engine.tuning.threshold_curve import SeenTrack
from engine.types import Cursor, ExtractSettings, Identity


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

    `on_frames` is told after each window how many frames are done, of how many. Raise InputError for what cannot be
    read, SettingsError when identity and backend do not fit.
    """
    require_same_recogniser(identity, backend)
    default = backend.info.default_threshold
    rule = Rule(default, default)
    seen: dict[int, SeenTrack] = {}
    examined = 0
    form = FrameForm(tone_map=settings.tone_map)
    with open_frames(source, after=None, form=form) as reader:
        rate = min(max(float(reader.info.average_rate or USUAL_RATE), 1.0), 240.0)
        scout = Scout(backend, identity, rule, settings.min_confidence, rate_scale=rate / USUAL_RATE)
        gallery, accepted, shot = Gallery(), frozenset[int](), None
        after: Cursor | None = None
        with Prefetch(reader) as frames:
            windows = WindowReader(
                frames,
                scout,
                frame_skip=settings.frame_skip,
                frames_per_second=rate,
                each=lambda _decoded: None,
                stop=stop,
            )
            while (window := windows.next_window(shot)) is not None:
                decision = decide(
                    scout,
                    backend,
                    identity,
                    rule,
                    gallery=gallery,
                    accepted=accepted,
                    first_frame=window.first,
                    examined=window.examined,
                    frames=partial(window_frames, window, source, after, frame_skip=settings.frame_skip, form=form),
                )
                _note(seen, decision, scout.beside, default, settings.frame_skip + 1)
                scout.end_window()
                examined += window.examined
                after = Cursor(window.last.index + 1, window.last.pts)
                gallery, accepted, shot = decision.gallery, decision.accepted, window.shot
                on_frames(after.next_frame, reader.info.frames_estimate)
        warnings = tuple(reader.warnings)
    completed = not stop.is_set()
    if completed and not examined:
        raise InputError(f"{source}: not one frame could be decoded", hint="the file is damaged or empty")
    return Survey(tuple(seen[number] for number in sorted(seen)), examined, default, completed, warnings)


def _note(
    seen: dict[int, SeenTrack],
    decision: Decision,
    beside: Mapping[int, set[int]],
    default: float,
    step: int,
) -> None:
    """Add a window's tracks; one that went on from an earlier window counts once, with its latest verdict."""
    for track in decision.tracks:
        frames = [one.frame for one in track.sightings if one.frame >= decision.first_frame]
        if not frames:
            continue
        verdict = decision.verdicts[track.id]
        now = SeenTrack(
            id=track.id,
            similarity=verdict.similarity - (verdict.threshold - default),
            faces=(frames[-1] - frames[0]) // step + 1,
            first=frames[0],
            last=frames[-1],
            beside=frozenset(beside.get(track.id, ())),
            eligible=verdict.samples > 0 and verdict.reason not in (NEGATIVE, REVIEW_OTHER_AGE),
        )
        before = seen.get(track.id)
        if before is not None:
            now = replace(now, faces=before.faces + now.faces, first=before.first, beside=before.beside | now.beside)
        seen[track.id] = now
