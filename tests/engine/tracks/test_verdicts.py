from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from engine.errors import ModelError
from engine.faces.quality import FaceQuality
from engine.identity.same_person import Rule, blankness, corrected_threshold, similarity
from engine.reasons import (
    ACCEPTED,
    ACCEPTED_IN_VIDEO,
    ANOTHER_IN_FRAME,
    NEGATIVE,
    NO_MATCH,
    REVIEW,
    REVIEW_OTHER_AGE,
    REVIEW_UNCLEAR,
)
from engine.tracks.track import Sample, Sighting, Track
from engine.tracks.verdicts import Gallery, TrackVerdict, is_settled, judge_together, judge_track, learn, limit_of
from engine.types import Embedding, Face, Identity, Metric


def identity_of(rows: list[list[float]], mean: list[float], metric: Metric) -> Identity:
    return Identity("alice", "test", "model", metric, np.array(rows), np.array(mean), tuple(map(str, range(len(rows)))))


def test_cosine_similarity_is_one_along_the_mean_and_minus_one_against_it() -> None:
    person = identity_of([[1.0, 0.0]], [1.0, 0.0], "cosine")
    found = similarity(np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]]), person)
    np.testing.assert_allclose(found, [1.0, 0.0, -1.0, np.sqrt(0.5)], atol=1e-12)


def test_similarity_by_distance_is_one_minus_the_distance() -> None:
    person = identity_of([[0.3, 0.4]], [0.3, 0.4], "one_minus_distance")
    np.testing.assert_allclose(similarity(np.array([[0.3, 0.4], [0.0, 0.0]]), person), [1.0, 0.5], atol=1e-7)


def test_similarity_blends_the_best_centre_with_the_three_most_similar_photos() -> None:
    rows = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    person = replace(identity_of(rows, [0.6, 0.8], "cosine"), centres=np.array([[1.0, 0.0], [0.0, 1.0]]))
    # Best centre 1; photos 1, 1, 0.
    np.testing.assert_allclose(similarity(np.array([[1.0, 0.0]]), person), [(1 + 2 / 3) / 2], atol=1e-7)


def test_no_faces_have_no_similarities() -> None:
    person = identity_of([[1.0, 0.0]], [1.0, 0.0], "cosine")
    assert similarity(np.zeros((0, 2)), person).shape == (0,)


def test_embeddings_of_another_size_are_refused_by_name() -> None:
    person = identity_of([[1.0, 0.0]], [1.0, 0.0], "cosine")
    with pytest.raises(ModelError, match="cannot be compared with the identity alice"):
        similarity(np.zeros((4, 512)), person)


QUALITY = FaceQuality(100, 0, 0)
RULE = Rule(threshold=0.40, same_person=0.40)
DIMENSIONS = 64
ALICE, BOB, CAROL = np.eye(3, DIMENSIONS, dtype=np.float32)


def person(**more: object) -> Identity:
    return replace(Identity("alice", "test", "model", "cosine", ALICE[None], ALICE, ("a.jpg",)), **more)  # type: ignore[arg-type]


def like(
    value: float, seed: int, who: Embedding = ALICE, *, also: Embedding | None = None, by: float = 0.0
) -> Embedding:
    """An embedding whose similarity to `who` is `value` and to `also` is `by`, elsewhere noise of its own."""
    rest = np.random.default_rng(seed).normal(size=DIMENSIONS)
    rest[:3] = 0
    rest *= np.sqrt(max(0.0, 1 - value**2 - by**2)) / np.linalg.norm(rest)
    return np.asarray(value * who + (by * also if also is not None else 0.0) + rest, np.float32)


def views(
    value: float, count: int, seed: int, who: Embedding = ALICE, *, also: Embedding | None = None, by: float = 0.0
) -> list[Embedding]:
    """So many views of one face in one light: each as `like`, and all the same but for a little noise."""
    face = like(value, seed, who, also=also, by=by)
    return [np.asarray(face + like(0.0, seed + 1 + number) * 0.02, np.float32) for number in range(count)]


def track(number: int, *embeddings: Embedding, clarity: float = 1.0) -> Track:
    face = Face(np.array([0, 0, 100, 100]), 0.9)
    sightings = tuple(Sighting(frame * 8, face) for frame in range(max(1, len(embeddings))))
    return Track(number, 0, sightings, tuple(Sample(i * 8, e, clarity, QUALITY) for i, e in enumerate(embeddings)))


def steady(number: int, value: float, **more: object) -> Track:
    return track(number, *views(value, 8, number * 100), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "outcome", "reason"),
    [
        (0.70, "accepted", ACCEPTED),
        (0.41, "accepted", ACCEPTED),
        (0.38, "review", REVIEW),
        (0.31, "review", REVIEW),
        (0.25, "rejected", NO_MATCH),
    ],
)
def test_a_track_is_accepted_reviewed_or_rejected_by_its_similarity(value: float, outcome: str, reason: str) -> None:
    verdict = judge_track(steady(1, value), person(), RULE, Gallery())
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert verdict.similarity == pytest.approx(value, abs=0.005)


def test_the_best_views_decide_and_weak_ones_do_not_hurt() -> None:
    seen = [*views(0.6, 4, 1), *views(0.1, 6, 50)]
    assert judge_track(track(1, *seen), person(), RULE, Gallery()).outcome == "accepted"


def test_noise_that_differs_from_frame_to_frame_cancels_out() -> None:
    noisy = [like(0.33, seed) for seed in range(8)]
    verdict = judge_track(track(1, *noisy), person(), RULE, Gallery())
    assert verdict.outcome == "accepted", "compressed to bits, but its centre is the person"
    stranger = [like(0.0, seed, BOB) for seed in range(8)]
    assert judge_track(track(1, *stranger), person(), RULE, Gallery()).similarity < 0.05


def test_one_lucky_view_of_a_stranger_does_not_decide() -> None:
    seen = [like(0.55, 1), *views(0.15, 9, 50)]
    assert judge_track(track(1, *seen), person(), RULE, Gallery()).outcome != "accepted"


def test_clear_views_weigh_more_than_unclear_ones() -> None:
    blurred = track(1, *views(0.8, 6, 1), clarity=0.1)
    clear = track(1, *views(0.2, 6, 50))
    both = replace(clear, samples=(*blurred.samples, *clear.samples))
    assert judge_track(both, person(), RULE, Gallery()).outcome == "rejected"


def test_without_a_clear_view_a_person_must_look() -> None:
    verdict = judge_track(steady(1, 0.7, clarity=0.1), person(), RULE, Gallery())
    assert (verdict.outcome, verdict.reason) == ("review", REVIEW_UNCLEAR)


def test_a_track_that_was_never_asked_is_rejected() -> None:
    verdict = judge_track(track(1), person(), RULE, Gallery())
    assert (verdict.outcome, verdict.samples) == ("rejected", 0)


def test_a_single_view_needs_more_than_many() -> None:
    assert judge_track(track(1, like(0.41, 1)), person(), RULE, Gallery()).outcome == "review"
    assert judge_track(track(1, like(0.44, 1)), person(), RULE, Gallery()).outcome == "accepted"


def test_more_clusters_of_references_cost_threshold() -> None:
    limits = [corrected_threshold(0.4, clusters) for clusters in (1, 2, 3, 4)]
    assert limits[0] == 0.4
    assert limits == sorted(limits)
    assert limits[-1] < 0.42


def test_somebody_as_like_a_negative_is_rejected() -> None:
    seen = views(0.5, 8, 1, also=BOB, by=0.47)
    verdict = judge_track(track(1, *seen), person(negatives=BOB[None]), RULE, Gallery())
    assert (verdict.outcome, verdict.reason) == ("rejected", NEGATIVE)
    kept = judge_track(track(1, *seen), person(negatives=CAROL[None]), RULE, Gallery())
    assert kept.outcome == "accepted"


def test_the_person_at_the_other_age_goes_to_review() -> None:
    seen = views(0.5, 8, 1, also=BOB, by=0.6)
    verdict = judge_track(track(1, *seen), person(other_age=BOB[None]), RULE, Gallery())
    assert (verdict.outcome, verdict.reason) == ("review", REVIEW_OTHER_AGE)


def test_two_faces_in_one_frame_are_two_people() -> None:
    tracks = [steady(1, 0.7), steady(2, 0.36), steady(3, 0.45), steady(4, 0.36)]
    verdicts = {one.id: judge_track(one, person(), RULE, Gallery()) for one in tracks}
    beside = {1: frozenset({2, 3}), 2: frozenset({1}), 3: frozenset({1}), 4: frozenset[int]()}
    final = judge_together(tracks, verdicts, beside)
    assert final[1].outcome == "accepted"
    assert (final[2].outcome, final[2].reason) == ("rejected", ANOTHER_IN_FRAME)
    assert (final[3].outcome, final[3].reason) == ("review", ANOTHER_IN_FRAME), "a mirror, a poster or a mistake"
    assert final[4].outcome == "review", "nobody was beside it"


def learned_from(sure: Track, stranger: Track) -> Gallery:
    verdicts = {one.id: judge_track(one, person(), RULE, Gallery()) for one in (sure, stranger)}
    return learn(Gallery(), [sure, stranger], verdicts, {sure.id: frozenset({stranger.id})}, person(), RULE.threshold)


def test_a_track_short_of_the_threshold_is_accepted_when_the_video_knows_it() -> None:
    scene = np.eye(DIMENSIONS, dtype=np.float32)[10]
    sure = track(1, *views(0.6, 6, 1, also=scene, by=0.6))
    gallery = learned_from(sure, track(2, *views(0.0, 6, 20, BOB)))
    short = track(3, *views(0.36, 6, 60, also=scene, by=0.65))
    verdict = judge_track(short, person(), RULE, gallery)
    assert (verdict.outcome, verdict.reason) == ("accepted", ACCEPTED_IN_VIDEO)
    assert judge_track(short, person(), RULE, Gallery()).outcome == "review"
    stranger = track(4, *views(0.15, 6, 80, also=scene, by=0.8))
    assert judge_track(stranger, person(), RULE, gallery).outcome == "rejected", "light and clothes are no identity"


def test_somebody_seen_beside_the_person_is_a_negative_afterwards() -> None:
    neighbour = track(2, *views(0.2, 6, 1, also=BOB, by=0.9))
    gallery = learned_from(steady(1, 0.7), neighbour)
    assert len(gallery.negatives) == 1
    again = track(3, *views(0.41, 6, 60, also=BOB, by=0.8))
    verdict = judge_track(again, person(), RULE, gallery)
    assert (verdict.outcome, verdict.reason) == ("rejected", NEGATIVE)


@pytest.mark.parametrize("clear", range(5))
def test_the_limit_alone_says_from_which_similarity_a_track_is_accepted(clear: int) -> None:
    """Whoever needs the limit asks for it: a verdict says what was found, not by which rule."""
    rule = corrected_threshold(RULE.threshold, 1)
    limit = limit_of(track(1, *views(0.4, clear, 1)), person(), RULE.threshold)
    assert limit == rule + {0: 0.03, 1: 0.03, 2: 0.015}.get(clear, 0.0)
    if clear:
        for value, outcome in ((limit + 0.01, "accepted"), (limit - 0.01, "review")):
            one = track(1, *[like(value, 1)] * clear)
            assert judge_track(one, person(), RULE, Gallery()).outcome == outcome
            assert limit_of(one, person(), RULE.threshold) == limit
    assert "threshold" not in {field.name for field in fields(TrackVerdict)}


def test_a_mirror_image_does_not_become_a_negative() -> None:
    assert learned_from(steady(1, 0.7), steady(2, 0.65)).negatives == ()


def test_a_verdict_is_settled_only_far_from_the_threshold_and_on_enough_views() -> None:
    def settled(value: float, count: int) -> bool:
        one = track(1, *views(value, count, 1))
        verdict = judge_track(one, person(), RULE, Gallery())
        return is_settled(verdict, limit_of(one, person(), RULE.threshold))

    assert settled(0.7, 8)
    assert settled(0.05, 8)
    assert not settled(0.7, 3)
    assert not settled(0.36, 8)


def test_blankness_runs_from_the_clear_photos_to_unrecognisable_faces() -> None:
    asked = person(blank=BOB, blank_range=(0.1, 0.9))
    assert blankness(like(0.1, 1, BOB), asked) == pytest.approx(0.0, abs=1e-6)
    assert blankness(like(0.9, 1, BOB), asked) == pytest.approx(1.0, abs=1e-6)
    assert blankness(ALICE, person()) == 0.0
