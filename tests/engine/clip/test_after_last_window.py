from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from engine.clip.after_last_window import accept_known, drop_near_duplicates, revisions
from engine.extract import extract
from engine.face_record import FaceRecord
from engine.faces.quality import FaceQuality
from engine.reasons import ACCEPTED, ACCEPTED_IN_VIDEO, NOT_VARIED, REVIEW
from engine.results.manifest_lines import Folder, RunNote
from engine.results.manual_changes import survey
from engine.results.run_results import Results
from engine.same_face import FaceTrace
from engine.tracks.review_tracks import WAITING_MAX, ReviewTrack, still_waiting
from engine.tracks.track import Sample, Sighting, Track
from engine.tracks.verdicts import Gallery, TrackVerdict, limit_of
from engine.types import Commit, ExtractSettings, Face, Identity
from engine.workspace.align import encode_mask, encode_picture
from engine.workspace.file_names import Layout, output_layout
from engine.workspace.output_files import prepare_workspace
from tests.painted import ALICE as PAINTED
from tests.painted import PaintedBackend, identity_of, picture

ALICE, BOB = np.eye(2, 16, dtype=np.float32)


def layout_in(folder: Path) -> Layout:
    layout = output_layout(folder)
    prepare_workspace(layout)
    return layout


@contextmanager
def results_of(layout: Layout, records: Sequence[FaceRecord], seeds: Sequence[int] = ()) -> Iterator[Results]:
    """Write the faces of these records; yield what they were written through."""
    with Results(layout, RunNote("clip", "content", "basis"), resumes=False) as results:
        for place, one in enumerate(records):
            pixels = np.kron(
                np.random.default_rng(seeds[place] if seeds else 0).integers(0, 255, (16, 16)), np.ones((8, 8))
            ).astype(np.uint8)
            folder: Folder = "review" if one.reason == REVIEW else "aligned"
            trace = FaceTrace(f"{one.frame:08d}", (0, 0, 9, 9))
            results.write_face(folder, one.frame, 0, "jpg", encode_picture(pixels, "jpg"), encode_mask(pixels), trace)
        yield results


def record(frame: int, track: int, reason: str, *, sharpness: float = 0.1) -> FaceRecord:
    return FaceRecord(
        frame,
        None,
        0,
        (0, 0, 9, 9),
        0.9,
        0.3,
        reason == ACCEPTED,
        reason,
        f"{frame:08d}_0.jpg",
        track,
        0.3,
        0.0,
        sharpness,
    )


def test_a_review_track_that_later_shots_know_is_moved_to_aligned_and_twice_is_as_once(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    records = [record(1, 1, REVIEW), record(2, 1, REVIEW), record(3, 2, REVIEW), record(9, 3, ACCEPTED)]
    waiting = [ReviewTrack(1, ALICE, 0.35, 0.4), ReviewTrack(2, BOB, 0.35, 0.4)]
    with results_of(layout, records) as results:
        for _ in range(2):
            after = accept_known(records, waiting, Gallery(positives=(ALICE,)), "cosine", results)
            assert [one.reason for one in after] == [ACCEPTED_IN_VIDEO, ACCEPTED_IN_VIDEO, REVIEW, ACCEPTED]
            assert [one.kept for one in after] == [True, True, False, True]
            assert sorted(path.name for path in layout.review.iterdir()) == ["00000003_0.jpg"]
            assert len(list(layout.aligned.iterdir())) == 3
    assert survey(layout).changes == (), "dfld moved them itself"


def test_a_doubtful_face_that_a_hand_took_away_or_moved_meanwhile_stays_so(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    records = [record(1, 1, REVIEW), record(2, 1, REVIEW), record(9, 3, ACCEPTED)]
    with results_of(layout, records) as results:
        (layout.review / "00000001_0.jpg").unlink()
        (layout.review / "00000002_0.jpg").rename(layout.aligned / "00000002_0.jpg")
        accept_known(records, [ReviewTrack(1, ALICE, 0.35, 0.4)], Gallery(positives=(ALICE,)), "cosine", results)
    assert sorted(path.name for path in layout.aligned.iterdir()) == ["00000002_0.jpg", "00000009_0.jpg"]


def test_a_face_that_a_hand_changed_meanwhile_is_not_dropped_as_a_near_duplicate(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    records = [record(n, 1, ACCEPTED, sharpness=n / 10) for n in range(3)]
    with results_of(layout, records) as results:
        (layout.aligned / "00000001_0.jpg").write_bytes((layout.aligned / "00000001_0.jpg").read_bytes() + b"edited")
        after = drop_near_duplicates(records, layout, results)
    assert [one.reason for one in after] == [NOT_VARIED, ACCEPTED, ACCEPTED]
    assert (layout.aligned / "00000001_0.jpg").read_bytes().endswith(b"edited")


def test_what_a_person_put_in_the_place_of_faces_ends_no_run_and_stays(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    records = [record(n, 1, ACCEPTED, sharpness=n / 10) for n in range(5)]
    with results_of(layout, records) as results:
        for n in range(4):
            (layout.aligned / f"0000000{n}_0.jpg").unlink()
        (layout.aligned / "00000000_0.jpg").touch()
        (layout.aligned / "00000001_0.jpg").write_bytes(b"no picture")
        os.mkfifo(layout.aligned / "00000002_0.jpg")
        (layout.aligned / "00000003_0.jpg").mkdir()
        after = drop_near_duplicates(records, layout, results)
    assert after == records
    assert len(list(layout.aligned.iterdir())) == 5


def test_a_track_as_like_somebody_seen_beside_the_person_stays_in_review(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    records = [record(1, 1, REVIEW)]
    gallery = Gallery(positives=(ALICE,), negatives=(ALICE,))
    with results_of(layout, records) as results:
        assert accept_known(records, [ReviewTrack(1, ALICE, 0.35, 0.4)], gallery, "cosine", results) == records


def test_the_review_part_of_a_track_that_was_accepted_later_is_accepted(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    records = [record(1, 1, REVIEW), record(2, 1, ACCEPTED)]
    with results_of(layout, records) as results:
        assert all(one.kept for one in accept_known(records, (), Gallery(), "cosine", results))


def test_near_duplicates_are_dropped_with_their_masks_and_stay_in_the_records(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    records = [record(n, 1, ACCEPTED, sharpness=n / 10) for n in range(4)]
    with results_of(layout, records, seeds=(1, 1, 2, 1)) as results:
        after = drop_near_duplicates(records, layout, results)
        again = drop_near_duplicates(records, layout, results)
    assert [one.reason for one in after] == [NOT_VARIED, NOT_VARIED, ACCEPTED, ACCEPTED]
    assert [one.file for one in after] == [None, None, "00000002_0.jpg", "00000003_0.jpg"]
    assert len(list(layout.aligned.iterdir())) == len(list(layout.masks.iterdir())) == 2
    assert again == after, "a killed run comes to the same end"


def test_revisions_name_the_faces_that_end_otherwise_by_their_place() -> None:
    before = [record(1, 1, REVIEW), record(2, 2, ACCEPTED), record(3, 1, REVIEW)]
    after = [before[0], before[1], replace(before[2], kept=True)]
    assert revisions(before, after) == ((2, after[2]),)
    assert revisions(before, before) == ()


def test_the_commits_of_a_run_together_hold_every_face_as_the_log_has_it(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(12):
        cv2.imwrite(str(images / f"{number:03d}.png"), picture([(PAINTED, 100 + 5 * (number // 4), 100, 40)]))
    layout, commits = output_layout(tmp_path / "out"), list[Commit]()
    report = extract(
        images,
        layout,
        identity=identity_of(PAINTED),
        backend=PaintedBackend(),
        settings=ExtractSettings(output_size=64, keep="varied"),
        stop=threading.Event(),
        on_commit=commits.append,
    )
    records = [record for commit in commits for record in commit.records]
    for place, one in commits[-1].revised:
        records[place] = one
    assert report.reasons[NOT_VARIED] > 0
    assert Counter(one.reason for one in records) == report.reasons
    logged = json.loads(layout.log.read_text())["faces"]
    assert {(one["frame"], one["reason"], one["file"]) for one in logged} == {
        (one.frame, one.reason, one.file) for one in records
    }
    assert commits[-1].cursor == commits[-2].cursor, "nothing is read again for it"


def test_only_the_likeliest_review_tracks_wait() -> None:
    sample = Sample(0, ALICE, 1.0, FaceQuality(100, 0, 0))
    sightings = (Sighting(0, Face(np.array([0, 0, 9, 9]), 0.9)),)
    tracks = [Track(n, 0, sightings, (sample,)) for n in range(WAITING_MAX + 9)]
    person = Identity("alice", "test", "model", "cosine", ALICE[None], ALICE, ("a.jpg",))
    verdicts = {n: TrackVerdict("review", REVIEW, 0.3 + n / 1000, 1) for n in range(len(tracks))}
    waiting = still_waiting((), tracks, verdicts, person, 0.4)
    assert [one.track for one in waiting] == list(range(9, WAITING_MAX + 9))
    assert {one.limit for one in waiting} == {limit_of(tracks[0], person, 0.4)}
    assert still_waiting(waiting, (), {}, person, 0.4) == waiting
