"""Who is who in a window of painted faces: doubtful tracks are asked again, those of two are split, known ones last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from engine.clip.judge_window import Decision, judge_window, tracks_to_ask
from engine.clip.sample_doubtful import sample_doubtful
from engine.frames.contract import DecodedFrame
from engine.identity.same_person import Rule
from engine.reasons import ACCEPTED, ANOTHER_IN_FRAME
from engine.search.observer import Observer
from engine.search.scout import Scout, ScoutSettings, begin_shot
from engine.tracks.verdicts import Gallery, limit_of
from engine.types import Image
from tests.painted import ALICE, BOB, PaintedBackend, frames, identity_of, picture

RULE = Rule(0.4, 0.4)
SHORT = (142, 255, 40)
"""Colour whose similarity to ALICE's lies a little under the threshold."""


def judged(
    pictures: Sequence[Image],
    looks: Sequence[int],
    *,
    accepted: frozenset[int] = frozenset(),
    rule: Rule = RULE,
    wanted: tuple[int, int, int] = ALICE,
) -> tuple[Decision, Scout, list[int]]:
    """Scout at `looks`, decide; return the decision, the scout, and which frames were read a second time."""
    backend, identity = PaintedBackend(), identity_of(wanted)
    observer = Observer(backend, identity, 0.5)
    scout = begin_shot(Scout(ScoutSettings(identity, rule, backend.info.detection_side_px)))
    decoded = frames(pictures)
    for number in looks:
        whole_due = replace(scout, state=replace(scout.state, last_whole_look=None))
        scout = observer.end_stretch(whole_due, decoded[number], decoded[number].luma(32))
    again: list[int] = []

    def read() -> Iterator[DecodedFrame]:
        for one in decoded:
            again.append(one.index)
            yield one

    asked = tracks_to_ask(scout, Gallery(), first_frame=0, examined=len(pictures))
    if asked:
        scout = sample_doubtful(scout, asked, observer, read())
    decision, scout = judge_window(scout, Gallery(), accepted, 0)
    return decision, scout, again


def still(colour: tuple[int, int, int], count: int) -> list[Image]:
    return [picture([(colour, 100, 120, 30)])] * count


def test_the_person_is_accepted_and_a_stranger_rejected_without_a_second_reading() -> None:
    both = [picture([(ALICE, 80, 120, 30), (BOB, 240, 120, 30)])] * 24
    decision, _, again = judged(both, range(0, 24, 3))
    outcomes = {track.sightings[0].face.bbox[0] < 160: decision.verdicts[track.id] for track in decision.tracks}
    assert (outcomes[True].outcome, outcomes[True].reason) == ("accepted", ACCEPTED)
    assert outcomes[False].outcome == "rejected"
    assert again == []
    assert decision.gallery.positives
    assert decision.gallery.negatives, "who stood beside the person is known not to be the person"


def test_a_track_just_short_of_the_threshold_is_asked_in_more_frames() -> None:
    decision, scout, again = judged(still(SHORT, 32), [0, 31], rule=Rule(0.5, 0.4))
    (track,) = decision.tracks
    verdict = decision.verdicts[track.id]
    limit = limit_of(track, identity_of(ALICE), 0.5)
    assert limit - 0.15 <= verdict.similarity < limit, "the colour tests what it should"
    assert again
    assert len(scout.window.tracks[track.id].samples) >= 14
    assert [one.frame for one in scout.window.tracks[track.id].samples] == sorted(
        one.frame for one in scout.window.tracks[track.id].samples
    )


def test_a_change_of_person_between_two_checks_is_found_and_split_at_its_frame() -> None:
    changed = 24
    pictures = [*still(ALICE, changed), *still(BOB, 46)]
    decision, _, again = judged(pictures, [0, 4, 8, 12, 16, 20, 28, 36, 43, 52, 60, 69])
    assert again, "between two checks of one who was settled, nobody had been asked"
    for track in decision.tracks:
        outcome = decision.verdicts[track.id].outcome
        frames_seen = [one.frame for one in track.sightings]
        assert outcome == ("accepted" if frames_seen[0] < changed else "rejected")
        assert max(frames_seen) < changed or min(frames_seen) >= changed


def test_of_two_in_one_frame_only_the_more_similar_is_the_person() -> None:
    both = [picture([(ALICE, 80, 120, 30), ((255, 60, 40), 240, 120, 30)])] * 24
    decision, _, _ = judged(both, range(0, 24, 3))
    by_outcome = {decision.verdicts[track.id].outcome: decision.verdicts[track.id] for track in decision.tracks}
    assert by_outcome["accepted"].reason == ACCEPTED
    assert by_outcome["review"].reason == ANOTHER_IN_FRAME


def test_a_track_that_was_accepted_stays_so_through_a_weak_stretch_and_not_through_another_person() -> None:
    weak, _, _ = judged(still(SHORT, 16), [0, 8, 15], accepted=frozenset({0}), rule=Rule(0.5, 0.4))
    assert weak.verdicts[0].outcome == "accepted"
    assert weak.accepted == {0}
    fresh, _, _ = judged(still(SHORT, 16), [0, 8, 15], rule=Rule(0.5, 0.4))
    assert fresh.verdicts[0].outcome == "review"
    other, _, _ = judged(still(BOB, 16), [0, 8, 15], accepted=frozenset({0}))
    assert other.verdicts[0].outcome == "rejected"


def test_the_painted_colours_are_as_similar_as_these_tests_say() -> None:
    alice, short = identity_of(ALICE).mean, identity_of(SHORT).mean
    assert 0.36 <= float(np.dot(alice, short)) < 0.5
