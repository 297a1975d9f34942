"""Which mask a face gets, and the reasons that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dfl.image import MaskPolygon
from engine.errors import SettingsError
from engine.masks.choose import MaskMode, MaskSources, choose_mask
from engine.masks.hull import HullMasks
from engine.masks.source import FaceToMask, NoMask, PredictedMask
from tests.landmarked_faces import an_aligned_face

EMPTY = np.zeros((256, 256), np.bool_)


@dataclass
class Given:
    """A source that answers with what it is given, and counts how often it was asked."""

    name: str
    answer: NDArray[np.bool_] | str
    model_sha: str | None = "5ha"
    without_hair: NDArray[np.bool_] | None = None
    asked: list[int] = field(default_factory=list)

    def masks(self, faces: Sequence[FaceToMask]) -> Sequence[PredictedMask | NoMask]:
        self.asked.append(len(faces))
        if isinstance(self.answer, str):
            return [NoMask(self.name, self.answer) for _ in faces]
        mask = self.answer.astype(np.float32)
        return [PredictedMask(mask, self.name, self.model_sha, without_hair=self.without_hair) for _ in faces]


def hull_of(face: FaceToMask) -> NDArray[np.bool_]:
    (found,) = HullMasks().masks([face])
    return found.is_face


def upper(face: FaceToMask) -> NDArray[np.bool_]:
    """The hull without the chin."""
    mask = hull_of(face).copy()
    mask[round(face.metadata.landmarks[57, 1]) + 6 :] = False
    return mask


def polygon(include: bool) -> MaskPolygon:
    return MaskPolygon(include, np.array([[100, 100], [140, 100], [140, 140], [100, 140]], np.float32))


def with_polygons(*polygons: MaskPolygon) -> FaceToMask:
    face = an_aligned_face()
    return replace(face, metadata=replace(face.metadata, seg_ie_polys=polygons))


def test_auto_takes_the_own_xseg_and_asks_no_other() -> None:
    face = an_aligned_face()
    xseg, parser = Given("xseg", upper(face)), Given("parser", hull_of(face))
    choice = choose_mask(face, "auto", MaskSources(xseg, parser))
    assert choice.mask is not None
    assert (choice.mask.source, choice.mask.model_sha) == ("xseg", "5ha")
    assert all(check.passed for check in choice.checks)
    assert choice.checks
    assert (choice.refused, parser.asked) == ((), [])


def test_auto_falls_to_the_parser_and_then_to_the_hull_and_keeps_each_reason() -> None:
    face = an_aligned_face()
    choice = choose_mask(face, "auto", MaskSources(Given("xseg", EMPTY), Given("parser", hull_of(face))))
    assert choice.mask is not None
    assert choice.mask.source == "parser"
    assert choice.refused == (NoMask("xseg", "area 0.00 of the hull, expected 0.45 to 1.8", "area"),)
    choice = choose_mask(face, "auto", MaskSources(Given("xseg", "no source landmarks"), Given("parser", EMPTY)))
    assert choice.mask is not None
    assert choice.mask.source == "hull"
    assert [one.source for one in choice.refused] == ["xseg", "parser"]
    assert choice.refused[0].reason == "no source landmarks"
    assert choice.checks == ()


def test_auto_without_any_weights_is_the_hull() -> None:
    choice = choose_mask(an_aligned_face(), "auto", MaskSources())
    assert choice.mask is not None
    assert (choice.mask.source, choice.refused) == ("hull", ())


@pytest.mark.parametrize("mode", ["auto", "intersect", "union"])
def test_polygons_of_a_person_win_in_every_mix_and_no_network_is_asked(mode: MaskMode) -> None:
    face = with_polygons(polygon(True))
    xseg, parser = Given("xseg", hull_of(face)), Given("parser", hull_of(face))
    choice = choose_mask(face, mode, MaskSources(xseg, parser))
    assert choice.mask is not None
    assert choice.mask.source == "polygons"
    assert choice.mask.is_face.sum() == 41 * 41
    assert xseg.asked == parser.asked == []


def test_polygons_that_only_exclude_are_cut_out_of_the_mask_that_is_taken() -> None:
    face = with_polygons(polygon(False))
    choice = choose_mask(face, "auto", MaskSources(Given("xseg", hull_of(face))))
    assert choice.mask is not None
    assert choice.mask.source == "xseg, cut by polygons"
    assert not choice.mask.is_face[100:141, 100:141].any()
    assert (
        choice.mask.is_face.sum() == (hull_of(face) & ~(np.pad(np.ones((41, 41)), ((100, 115), (100, 115))) > 0)).sum()
    )


@pytest.mark.parametrize("mode", ["xseg", "parser", "hull"])
def test_a_single_source_is_taken_as_it_is_with_its_checks_and_leaves_polygons_alone(mode: MaskMode) -> None:
    face = with_polygons(polygon(True))
    odd = EMPTY.copy()
    odd[:4, :4] = True
    choice = choose_mask(face, mode, MaskSources(Given("xseg", odd), Given("parser", odd)))
    assert choice.mask is not None
    assert choice.mask.source == mode
    assert choice.refused == ()
    assert any(not check.passed for check in choice.checks) == (mode != "hull")


def test_a_single_source_that_marks_nothing_is_not_taken() -> None:
    choice = choose_mask(an_aligned_face(), "xseg", MaskSources(Given("xseg", EMPTY)))
    assert choice.mask is None
    assert choice.refused == (NoMask("xseg", "it marks no pixel of the picture"),)


def test_intersect_keeps_what_both_take_and_union_what_one_takes() -> None:
    face = an_aligned_face()
    sources = MaskSources(Given("xseg", hull_of(face), "a"), Given("parser", upper(face), "b"))
    both, either = choose_mask(face, "intersect", sources).mask, choose_mask(face, "union", sources).mask
    assert both is not None
    assert either is not None
    np.testing.assert_array_equal(both.is_face, upper(face))
    np.testing.assert_array_equal(either.is_face, hull_of(face))
    assert (both.source, both.model_sha) == ("intersect of xseg and parser", "a, b")


@pytest.mark.parametrize("mode", ["intersect", "union"])
def test_where_one_of_two_is_broken_the_other_stands_alone(mode: MaskMode) -> None:
    face = an_aligned_face()
    choice = choose_mask(face, mode, MaskSources(Given("xseg", ~EMPTY), Given("parser", upper(face))))
    assert choice.mask is not None
    assert choice.mask.source == "parser"
    assert [one.source for one in choice.refused] == ["xseg"]


def test_hair_that_was_asked_for_is_not_held_against_the_hull() -> None:
    face = an_aligned_face("head")
    hairy = hull_of(face) | (np.arange(256)[:, None] < 120)
    refused = choose_mask(face, "auto", MaskSources(parser=Given("parser", hairy)))
    assert refused.mask is not None
    assert refused.mask.source == "hull"
    taken = choose_mask(face, "auto", MaskSources(parser=Given("parser", hairy, without_hair=hull_of(face))))
    assert taken.mask is not None
    np.testing.assert_array_equal(taken.mask.is_face, hairy)


def test_a_face_of_which_the_picture_shows_nothing_gets_no_mask() -> None:
    face = an_aligned_face()
    away = replace(face, metadata=replace(face.metadata, landmarks=face.metadata.landmarks + 5000.0))
    choice = choose_mask(away, "auto", MaskSources(Given("xseg", hull_of(face))))
    assert choice.mask is None
    assert [one.source for one in choice.refused] == ["xseg", "hull"]


@pytest.mark.parametrize("mode", ["xseg", "parser", "intersect", "union"])
def test_a_mode_without_its_source_is_refused_with_the_option_that_names_one(mode: MaskMode) -> None:
    with pytest.raises(SettingsError, match="which was not given") as refused:
        choose_mask(an_aligned_face(), mode, MaskSources())
    assert "--" in refused.value.hint
