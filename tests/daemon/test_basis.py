"""A half-done clip goes on across an upgrade that makes the same faces, and starts over where it would make others."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from daemon.worker import basis as basis_module
from daemon.worker.basis import BEFORE_REVISIONS, SETTINGS_BEFORE, FaceMakers, basis_of, is_of_equal_result
from engine.clip.resume_state import FORMAT
from engine.revision import EXTRACTION_REVISION
from engine.types import ExtractSettings

MAKERS = FaceMakers(
    settings=ExtractSettings(jpeg_quality=90),
    backend="insightface",
    models=[("detection", "d" * 64), ("recognition", "e" * 64)],
    photos={"references": ["a.jpg:1"], "negatives": [], "other_age": []},
    largest_face=False,
    role="src",
    stretch=(None, None),
)
OTHERS = (
    replace(MAKERS, settings=ExtractSettings()),
    replace(MAKERS, backend="dlib"),
    replace(MAKERS, models=[("detection", "d" * 64)]),
    replace(MAKERS, photos={**MAKERS.photos, "references": ["a.jpg:2"]}),
    replace(MAKERS, largest_face=True),
    replace(MAKERS, role="dst"),
    replace(MAKERS, stretch=(1.0, None)),
    replace(MAKERS, frame_order="other names"),
)


def basis_of_0_1_0(makers: FaceMakers, version: str = "0.1.0") -> str:
    """As dfld 0.1.0 made it, written out here once more: no part of the program makes it any longer."""
    values = {
        "program": version,
        "settings": asdict(makers.settings),
        "backend": makers.backend,
        "models": [list(model) for model in makers.models],
        "photos": {part: list(photos) for part, photos in makers.photos.items()},
        "largest_face": makers.largest_face,
        "role": makers.role,
        "stretch": list(makers.stretch),
    }
    if makers.frame_order:
        values["frames"] = makers.frame_order
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def test_another_version_of_dfld_is_no_other_basis() -> None:
    assert "version" not in {one.name for one in fields(FaceMakers)}
    assert basis_of(MAKERS) == basis_of(replace(MAKERS))


def test_whatever_makes_other_faces_makes_another_basis() -> None:
    assert len({basis_of(one) for one in (MAKERS, *OTHERS)}) == len(OTHERS) + 1
    for other in OTHERS:
        assert not is_of_equal_result(basis_of(MAKERS), other)


def test_a_raised_revision_and_another_format_of_the_carry_start_over(monkeypatch: pytest.MonkeyPatch) -> None:
    before = (basis_of(MAKERS), basis_of_0_1_0(MAKERS))
    assert all(is_of_equal_result(one, MAKERS) for one in before)
    for name, raised in (("revision_of", lambda _settings: EXTRACTION_REVISION + 1), ("FORMAT", FORMAT + 1)):
        with monkeypatch.context() as patch:
            patch.setattr(basis_module, name, raised)
            assert not any(is_of_equal_result(one, MAKERS) for one in before), name


@pytest.mark.parametrize("change", [{"keep": "varied"}, {"only_fit_to_train": True}])
def test_a_clip_whose_faces_sharpness_decides_starts_over_across_the_revision_that_measures_it_anew(
    change: dict[str, Any],
) -> None:
    makers = replace(MAKERS, settings=replace(MAKERS.settings, **change))
    assert is_of_equal_result(basis_of(makers), makers)
    assert not is_of_equal_result(basis_of_0_1_0(makers), makers)


@pytest.mark.parametrize("makers", [MAKERS, *OTHERS])
def test_a_clip_that_dfld_0_1_0_left_half_done_goes_on_with_the_same_faces_alone(makers: FaceMakers) -> None:
    assert is_of_equal_result(basis_of_0_1_0(makers), makers)
    assert not is_of_equal_result(basis_of_0_1_0(replace(makers, role="neither")), makers)
    assert not is_of_equal_result(basis_of_0_1_0(makers, "0.0.9"), makers)


def test_a_setting_that_has_its_default_is_no_part_of_the_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that an upgrade brings costs nobody who does not set it a half-done clip."""
    before = basis_of(MAKERS)
    settings = asdict(MAKERS.settings)
    monkeypatch.setattr(basis_module, "asdict", lambda one: asdict(one) | {"brought_later": 5})
    assert basis_of(MAKERS) == before
    assert is_of_equal_result(before, MAKERS)
    assert settings.keys() == set(SETTINGS_BEFORE), "what 0.1.0 had stays what it was"


def test_no_job_without_commits_and_none_that_is_to_be_done_again_goes_on() -> None:
    for basis in ("", "again", *BEFORE_REVISIONS):
        assert not is_of_equal_result(basis, MAKERS)
