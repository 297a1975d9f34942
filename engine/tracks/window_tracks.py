"""The tracks of one window: every track that it saw, and who was seen in one frame with whom. A value; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine.tracks.same_frame import apart, beside_parts
from engine.tracks.track import Track


@dataclass(frozen=True, eq=False)
class WindowTracks:
    """What a window's looks saw, as tracks."""

    tracks: Mapping[int, Track] = field(default_factory=dict)
    """Every track with a sighting in this window, by id."""
    beside: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Who was seen in one frame with whom, in this window."""
    taken_over: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Tracks whose place somebody else turned out to have: between the last sample and that look, nobody was asked."""

    def with_look(self, seen: Sequence[Track]) -> WindowTracks:
        """Return the tracks after a look that saw these, each as it is now."""
        tracks, beside = dict(self.tracks), dict(self.beside)
        for track in seen:
            tracks[track.id] = track
            beside[track.id] = beside.get(track.id, frozenset()) | apart(track, seen)
        return replace(self, tracks=tracks, beside=beside)

    def with_taken_over(self, displaced: Sequence[Track], frame: int) -> WindowTracks:
        """Return the tracks with note that these lost their place to somebody else, as the look at `frame` showed."""
        if not displaced:
            return self
        taken_over = dict(self.taken_over)
        for track in displaced:
            taken_over.setdefault(track.id, (track.samples[-1].frame, frame))
        return replace(self, taken_over=taken_over)

    def with_track(self, track: Track) -> WindowTracks:
        """Return the tracks with one in place of its earlier self."""
        return replace(self, tracks={**self.tracks, track.id: track})

    def with_parts(self, old: int, parts: Sequence[Track]) -> WindowTracks:
        """Return the tracks with the parts of a split one in place of it."""
        tracks = {number: track for number, track in self.tracks.items() if number != old}
        tracks.update({part.id: part for part in parts})
        return replace(self, tracks=tracks, beside=beside_parts(self.beside, old, parts, tracks))
