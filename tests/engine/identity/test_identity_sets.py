"""Sets of real photos: who is in them, who must not be, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends.backend import Backend
from engine.backends.catalog import open_backend
from engine.errors import ReferencePhotoError
from engine.identity.identity import build_identity


@pytest.fixture(scope="module")
def backend(shared: Path) -> Backend:
    return open_backend("insightface", model_root=shared / "models", model_pack="insightface_mini", device="cpu")


@pytest.fixture(scope="module")
def photos(shared: Path) -> Path:
    return shared / "media" / "photos"


def test_photos_of_two_people_are_refused_by_name(backend: Backend, photos: Path) -> None:
    mixed = [photos / "obama" / "ref_1.jpg", photos / "obama" / "same_3.jpg", photos / "biden" / "ref_1.jpg"]
    with pytest.raises(ReferencePhotoError, match=r"2 people.*ref_1\.jpg, same_3\.jpg \| biden/ref_1\.jpg") as caught:
        build_identity(mixed, backend, name="obama")
    assert "--allow-mixed" in caught.value.hint
    identity, reports = build_identity(mixed, backend, name="obama", allow_mixed=True)
    assert len(identity.photos) == 3
    worst = min((report for report in reports if report.fits is not None), key=lambda report: report.fits or 0)
    assert worst.photo == "biden/ref_1.jpg"
    assert "hardly fits" in worst.detail


def test_photos_of_one_person_fit(backend: Backend, photos: Path) -> None:
    identity, reports = build_identity([photos / "obama"], backend, name="obama")
    assert len(identity.photos) == 6
    assert all(report.fits is not None and report.fits > 0.6 for report in reports)


def test_a_negative_that_shows_the_person_is_refused(backend: Backend, photos: Path) -> None:
    with pytest.raises(ReferencePhotoError, match=r"same_5\.jpg, given as a negative, shows obama as ref_"):
        build_identity(
            [photos / "obama" / "ref_1.jpg"], backend, name="obama", negatives=[photos / "obama" / "same_5.jpg"]
        )


def test_negatives_and_the_other_age_are_kept_apart(backend: Backend, photos: Path) -> None:
    identity, reports = build_identity(
        [photos / "obama" / "ref_1.jpg"],
        backend,
        name="obama",
        negatives=[photos / "biden"],
        other_age=[photos / "obama" / "same_5.jpg"],
    )
    assert identity.negatives is not None
    assert identity.other_age is not None
    assert (len(identity.embeddings), len(identity.negatives), len(identity.other_age)) == (1, 2, 1)
    assert [report.detail.split(":")[0] for report in reports[1:]] == ["negative", "negative", "other age"]


def test_the_same_photo_cannot_be_both_ages(backend: Backend, photos: Path) -> None:
    with pytest.raises(ReferencePhotoError, match="given as of the other age"):
        build_identity(
            [photos / "obama" / "ref_1.jpg"], backend, name="obama", other_age=[photos / "obama" / "ref_1.jpg"]
        )


def test_clear_photos_lie_far_from_the_blank(backend: Backend, photos: Path) -> None:
    identity, _ = build_identity([photos / "miranda"], backend, name="miranda")
    clear, blank = identity.blank_range
    assert clear < 0.35
    assert blank > 0.7
