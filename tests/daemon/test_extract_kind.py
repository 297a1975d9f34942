"""What an inbox says about a person reaches the identity that its worker makes."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import daemon.worker.extractor as extractor_module
from core.opening import RefusedFileError
from daemon.config.load import read_config
from daemon.errors import SidecarError
from daemon.jobs.kinds.contract import Failure
from daemon.jobs.kinds.extract import ExtractRequest, extract_request
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger
from daemon.worker.extractor import EngineExtractor, reader_of
from engine.errors import ReferencePhotoError
from engine.types import Identity

NOW = 1_000_000.0


@pytest.fixture
def job(tmp_path: Path) -> Job:
    arrival = Arrival(
        inbox="alice",
        path=b"clip.mp4",
        kind="extract",
        source_kind="video",
        file_state="i1",
        sha256="c" * 64,
        size_bytes=5,
        arrived_s=NOW,
        workspace=str(tmp_path / "ws"),
        role="src",
        slugs=("clip",),
        priority=5,
    )
    ledger = Ledger(tmp_path / "ledger.db")
    try:
        made = ledger.write(
            lambda writer: claim(writer, arrival, now_s=NOW, on_duplicate="skip", earlier_is_there=True)
        )
        found = ledger.read(lambda reader: table.job_by_id(reader, made.job.id))
    finally:
        ledger.close()
    assert found is not None
    return found


def order_of_inbox(folder: Path, job: Job, keys: str, shared: Path) -> ExtractRequest:
    photos = shared / "media" / "photos"
    (folder / "photos").symlink_to(photos)
    path = folder / "config.toml"
    path.write_text(
        f'[service]\nstate_dir = "state"\n[models]\nroot = "{os.path.relpath(shared / "models", folder)}"\n'
        '[[inbox]]\nname = "alice"\npath = "inbox"\nworkspace = "ws"\nmodel_pack = "insightface_mini"\n' + keys
    )
    config = read_config(path).config
    order = extract_request(job, config.inboxes[0], config, now_s=NOW)
    assert not isinstance(order, Failure)
    return order


def test_the_other_age_of_an_inbox_is_part_of_its_identity_and_of_what_decides_the_faces(
    tmp_path: Path, job: Job, shared: Path
) -> None:
    order = order_of_inbox(
        tmp_path,
        job,
        'references = ["photos/obama/ref_1.jpg"]\nnegatives = ["photos/biden"]\n'
        'other_age = ["photos/obama/same_5.jpg"]\n',
        shared,
    )
    assert [Path(path).name for path in order.other_age] == ["same_5.jpg"]
    extractor = EngineExtractor()
    with_age, without = extractor.load(order), extractor.load(replace(order, other_age=()))
    assert with_age != without, "faces made without it are made again"
    first, second = extractor._identities.values()
    assert first.negatives is not None
    assert first.other_age is not None
    assert (len(first.negatives), len(first.other_age)) == (2, 1)
    assert second.other_age is None


def test_photos_are_hashed_once_and_the_faces_are_those_of_the_photos_that_the_basis_names(
    tmp_path: Path, job: Job, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of_inbox(tmp_path, job, 'references = ["photos/obama/ref_1.jpg"]\n', shared)
    extractor, used = EngineExtractor(), []
    extractor.load(order)

    def stop_at_extract(*_: object, identity: Identity, **__: object) -> None:
        used.append(identity)
        raise _StopHereError

    monkeypatch.setattr(extractor_module, "extract", stop_at_extract)
    monkeypatch.setattr(extractor_module, "_photo_hashes", None)
    with pytest.raises(_StopHereError):
        extractor.work(order, stop=threading.Event(), on_progress=lambda _: None, on_commit=lambda _: None, resume=None)
    assert used == list(extractor._identities.values())


class _StopHereError(Exception):
    """The extraction would begin now."""


def test_references_of_two_people_are_refused_unless_the_inbox_allows_it(
    tmp_path: Path, job: Job, shared: Path
) -> None:
    keys = 'references = ["photos/obama/ref_1.jpg", "photos/biden/ref_1.jpg"]\n'
    order = order_of_inbox(tmp_path, job, keys, shared)
    with pytest.raises(ReferencePhotoError, match="2 people") as refused:
        EngineExtractor().load(order)
    assert "allow_mixed = true" in refused.value.hint
    assert EngineExtractor().load(replace(order, allow_mixed=True))


def test_a_photo_of_two_is_used_when_the_inbox_says_that_the_largest_face_is_meant(
    tmp_path: Path, job: Job, shared: Path
) -> None:
    keys = 'largest_face = true\nallow_mixed = true\nreferences = ["photos/others/obama_left_biden_right.jpg"]\n'
    order = order_of_inbox(tmp_path, job, keys, shared)
    assert (order.largest_face, order.allow_mixed) == (True, True)
    assert EngineExtractor().load(order)
    with pytest.raises(ReferencePhotoError, match="faces of similar size"):
        EngineExtractor().load(replace(order, largest_face=False))


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Two inboxes, photos of their people, and more photos elsewhere."""
    for folder in ("inbox/alice", "inbox/bob", "people/alice/shoot", "people/bob", "more", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.jpg").write_bytes(b"x")
    os.mkfifo(tmp_path / "inbox/alice/pipe.jpg")
    (tmp_path / "inbox/alice/link.jpg").symlink_to(tmp_path / "people/bob/1.jpg")
    (tmp_path / "inbox/alice/folder").symlink_to(tmp_path / "people/bob")
    (tmp_path / "inbox/alice/huge.jpg").symlink_to("/dev/zero")
    return tmp_path


def order_with_sidecar(people: Path, job: Job, *named: str, alice: str = 'references = ["people/alice"]') -> Any:
    path = people / "config.toml"
    path.write_text(
        f'[[inbox]]\nname = "alice"\npath = "inbox/alice"\nworkspace = "ws/a"\n{alice}\n'
        '[[inbox]]\nname = "bob"\npath = "inbox/bob"\nworkspace = "ws/b"\nreferences = ["people/bob"]\n'
    )
    config = read_config(path).config
    sidecar = json.dumps({"references": [str(people / one) for one in named]})
    return extract_request(replace(job, sidecar=sidecar), config.inboxes[0], config, now_s=NOW)


@pytest.mark.parametrize(
    "named", ["inbox/alice/1.jpg", "inbox/alice", "people/alice", "people/alice/1.jpg", "people/alice/shoot"]
)
def test_a_sidecar_chooses_among_photos_of_its_inbox(people: Path, job: Job, named: str) -> None:
    order = order_with_sidecar(people, job, named)
    assert isinstance(order, ExtractRequest)
    assert order.references == (str(people / named),)
    assert order.references_within is not None


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("people/bob", "neither in the inbox nor among"),
        ("people/bob/1.jpg", "neither in the inbox nor among"),
        ("people", "neither in the inbox nor among"),
        ("people/alice/../bob/1.jpg", "neither in the inbox nor among"),
        ("inbox/bob/1.jpg", "neither in the inbox nor among"),
        ("elsewhere/1.jpg", "neither in the inbox nor among"),
        ("/dev/zero", "neither in the inbox nor among"),
        ("/etc/passwd", "neither in the inbox nor among"),
        ("inbox/alice/pipe.jpg", "is a pipe"),
        ("inbox/alice/link.jpg", "neither in the inbox nor among"),
        ("inbox/alice/folder", "neither in the inbox nor among"),
        ("inbox/alice/folder/1.jpg", "neither in the inbox nor among"),
        ("inbox/alice/huge.jpg", "neither in the inbox nor among"),
    ],
)
def test_a_sidecar_that_names_anything_else_ends_its_own_job(people: Path, job: Job, named: str, why: str) -> None:
    refused = order_with_sidecar(people, job, "inbox/alice/1.jpg", named)
    assert isinstance(refused, Failure)
    assert (refused.outlook, refused.reason) == ("file", "sidecar")
    assert why in refused.message


def test_another_inboxs_person_stays_out_of_reach_within_a_shared_folder_unless_configured(
    people: Path, job: Job
) -> None:
    shared = 'references = ["people"]'
    (people / "people" / "1.jpg").write_bytes(b"x")
    assert isinstance(order_with_sidecar(people, job, "people/alice/1.jpg", alice=shared), ExtractRequest)
    refused = order_with_sidecar(people, job, "people/bob/1.jpg", alice=shared)
    assert isinstance(refused, Failure)
    assert "references of another inbox" in refused.message
    for allowed in ('references = ["people"]\nsidecar_references = ["people/bob"]', 'references = ["people/bob"]'):
        assert isinstance(order_with_sidecar(people, job, "people/bob/1.jpg", alice=allowed), ExtractRequest)
    more = 'references = ["people/alice"]\nsidecar_references = ["more"]'
    assert isinstance(order_with_sidecar(people, job, "more/1.jpg", alice=more), ExtractRequest)


@pytest.mark.parametrize("target", ["people/bob/1.jpg", "/dev/zero", "pipe"])
def test_a_photo_that_is_swapped_after_the_look_is_not_read_by_the_worker(people: Path, job: Job, target: str) -> None:
    order = order_with_sidecar(people, job, "inbox/alice/1.jpg")
    photo = people / "inbox/alice/1.jpg"
    photo.unlink()
    if target == "pipe":
        os.mkfifo(photo)
    else:
        photo.symlink_to(people / target)
    with pytest.raises(RefusedFileError):
        reader_of(order)(photo)


def test_photos_that_the_configuration_names_may_be_links(people: Path, job: Job) -> None:
    order = order_with_sidecar(people, job)
    assert order.references_within is None
    (people / "people/alice/2.jpg").symlink_to(people / "elsewhere/1.jpg")
    assert reader_of(order)(people / "people/alice/2.jpg") == b"x"


def test_a_folder_whose_frames_come_in_another_order_than_before_begins_anew_and_others_go_on(
    tmp_path: Path, job: Job, shared: Path
) -> None:
    order = order_of_inbox(tmp_path, job, 'references = ["photos/obama/ref_1.jpg"]\n', shared)
    for name, numbers in (("padded", ("02", "10")), ("plain", ("2", "10"))):
        (tmp_path / name).mkdir()
        for number in numbers:
            (tmp_path / name / f"{number}.png").write_bytes(b"frame")
    extractor = EngineExtractor()
    of_a_video = extractor.load(order)
    assert extractor.load(replace(order, source=str(tmp_path / "padded"))) == of_a_video
    assert extractor.load(replace(order, source=str(tmp_path / "plain"))) != of_a_video


@pytest.mark.parametrize("target", ["people/bob/1.jpg", "/dev/zero"])
def test_a_photo_that_is_swapped_between_its_hash_and_its_face_is_left_out(
    people: Path, job: Job, target: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = shared / "media" / "photos"
    shutil.copy(photos / "obama" / "ref_1.jpg", people / "inbox/alice/1.jpg")
    shutil.copy(photos / "biden" / "ref_1.jpg", people / "people/bob/1.jpg")
    order = replace(
        order_with_sidecar(people, job, "inbox/alice/1.jpg"),
        backend="insightface",
        model_root=str(shared / "models"),
        model_pack="insightface_mini",
    )
    hashed = extractor_module._photos_of

    def swap_after_hash(order: ExtractRequest) -> extractor_module.Photos:
        found = hashed(order)
        (people / "inbox/alice/1.jpg").unlink()
        (people / "inbox/alice/1.jpg").symlink_to(people / target)
        return found

    monkeypatch.setattr(extractor_module, "_photos_of", swap_after_hash)
    with pytest.raises(SidecarError, match="is a symbolic link, which is not followed"):
        EngineExtractor().load(order)
