"""What an inbox says about a person reaches the identity that its worker makes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.config.load import load_config
from daemon.jobs.orders import make_order
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger
from daemon.worker.extractor import EngineExtractor
from daemon.worker.messages import Failure, Order
from engine.errors import ReferencePhotoError

NOW = 1_000_000.0


@pytest.fixture
def job(tmp_path: Path) -> Job:
    arrival = Arrival(
        inbox="alice",
        path=b"clip.mp4",
        kind="video",
        identity="i1",
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


def order_of_inbox(folder: Path, job: Job, keys: str, shared: Path) -> Order:
    photos = shared / "media" / "photos"
    (folder / "photos").symlink_to(photos)
    path = folder / "config.toml"
    path.write_text(
        f'[service]\nstate_dir = "state"\n[models]\nroot = "{os.path.relpath(shared / "models", folder)}"\n'
        '[[inbox]]\nname = "alice"\npath = "inbox"\nworkspace = "ws"\nmodel_pack = "insightface_mini"\n' + keys
    )
    config = load_config(path)
    order = make_order(job, config.inboxes[0], config, now_s=NOW)
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
