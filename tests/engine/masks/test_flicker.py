"""Masks that flicker between neighbouring frames."""

from __future__ import annotations

from collections.abc import Sequence

from engine.masks.flicker import Flicker, PlacedMask, flickering


def track(
    areas: Sequence[float], *, source: str = "take", left: float = 100.0, turn: float = 0.0, step: int = 1
) -> list[PlacedMask]:
    """A face that moves to the right, one frame after the other."""
    return [
        PlacedMask(
            f"{source}-{left:g}-{place}.jpg", source, place * step, (left + place, 50.0, left + place + 80, 150.0),
            area, (turn * place, 0.0, 0.0),
        )
        for place, area in enumerate(areas)
    ]  # fmt: skip


def names(faces: Sequence[PlacedMask]) -> list[str]:
    return sorted(flickering(faces))


def test_a_mask_that_jumps_away_and_back_is_named_and_its_neighbours_are_not() -> None:
    faces = track([1.0, 1.05, 0.5, 1.0, 1.0])
    assert flickering(faces) == {"take-100-2.jpg": Flicker("take-100-1.jpg", (1.05 - 0.5) / 1.05)}


def test_where_a_mask_stays_changed_both_sides_of_the_step_are_named() -> None:
    assert names(track([1.0, 1.0, 0.6, 0.6])) == ["take-100-1.jpg", "take-100-2.jpg"]


def test_growing_and_shrinking_count_alike_and_a_third_is_no_flicker() -> None:
    assert names(track([0.6, 1.0])) == names(track([1.0, 0.6])) == ["take-100-0.jpg", "take-100-1.jpg"]
    assert names(track([1.0, 0.66, 1.0])) == []


def test_a_head_that_turns_may_change_its_mask() -> None:
    assert names(track([1.0, 0.5, 1.0], turn=5.0)) == []
    assert names(track([1.0, 0.5, 1.0], turn=4.9)) == ["take-100-1.jpg"]


def test_faces_of_other_footage_in_other_places_or_long_before_are_no_neighbours() -> None:
    assert names([*track([1.0]), *track([0.5], source="other")]) == []
    assert names([track([1.0])[0], track([0.5, 0.5], left=300)[1]]) == []
    assert names(track([1.0, 0.5], step=11)) == []
    assert names(track([1.0, 0.5], step=10)) != []


def test_two_people_in_the_same_frames_keep_apart_and_their_order_does_not_matter() -> None:
    calm, wild = track([0.6] * 4, left=300), track([1.0, 1.0, 0.4, 1.0])
    assert names([*calm, *wild]) == names([*reversed(wild), *calm]) == ["take-100-2.jpg"]


def test_an_empty_mask_beside_an_empty_one_does_not_flicker() -> None:
    assert names(track([0.0, 0.0])) == []
