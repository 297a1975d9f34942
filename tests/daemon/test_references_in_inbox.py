"""Reference photos that lie inside an inbox stay there: never footage, so never moved and never deleted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from daemon.arrivals.scan import ScanRules, unit_of_path
from daemon.config.load import read_config
from daemon.config.schema import InboxConfig
from daemon.errors import ConfigError
from daemon.events.event import Event
from daemon.inboxes.inbox_threads import Inboxes
from daemon.inboxes.plan import plan_inbox
from daemon.inboxes.references import inside
from daemon.ledger.ledger import Ledger
from tests.daemon_rig import InProcess, Rig, wait_until
from tests.fake_worker import fake_video

KEYS = [*(one.name for one in fields(InboxConfig) if "references" in one.name), "negatives", "other_age"]


def photos_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(b"face")
    return folder


def plan(rig: Rig) -> dict[str, tuple[str, str]]:
    rig.config.service.state_dir.mkdir(exist_ok=True)
    ledger = Ledger(rig.config.service.state_dir / "ledger.db")
    try:
        found = [one for inbox in rig.config.inboxes for one in plan_inbox(inbox, rig.config, ledger)]
    finally:
        ledger.close()
    return {one.path: (one.outcome, one.reason) for one in found}


@pytest.mark.parametrize("key", KEYS)
def test_photos_that_an_inbox_names_are_no_footage_and_stay(rig: Rig, key: str) -> None:
    photos = photos_in(rig.inbox / "day" / "photos")
    rig.inboxes["alice"] |= {key: [str(photos)], "on_done": "delete"}
    (rig.inbox / "day" / "clip.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["deleted"], "the clip is not dealt with")
        photos.joinpath("3.jpg").write_bytes(b"another")  # an event, too, makes no footage of it
        (rig.inbox / "day" / "later.mp4").write_bytes(fake_video(frames=6))
        rig.wait_for_states("done", "done")
    assert len(list(photos.iterdir())) == 4
    assert plan(rig)["day/photos"] == ("passed_over", "reference_photos")


def test_an_event_below_the_photos_leads_to_no_unit_not_even_a_video(tmp_path: Path) -> None:
    rules = ScanRules(references=frozenset({str(tmp_path / "photos")}))
    assert unit_of_path(tmp_path, "photos/clip.mp4", rules) is None
    assert unit_of_path(tmp_path, "photos of others/clip.mp4", rules) == ("photos of others/clip.mp4", "video")


def test_photos_of_one_inbox_in_another_are_no_footage_there(rig: Rig) -> None:
    photos = photos_in(rig.inbox / "photos of bob")
    rig.add_inbox("bob", references=[str(photos)])
    assert plan(rig)["photos of bob"] == ("passed_over", "reference_photos")


def test_photos_are_recognised_through_a_link(rig: Rig, tmp_path: Path) -> None:
    photos_in(rig.inbox / "photos")
    (tmp_path / "link").symlink_to(rig.inbox / "photos")
    rig.inboxes["alice"]["references"] = [str(tmp_path / "link")]
    assert plan(rig)["photos"] == ("passed_over", "reference_photos")


def test_a_folder_of_frames_that_holds_a_reference_photo_is_left_alone_and_a_clip_beside_it_is_taken(rig: Rig) -> None:
    frames = photos_in(rig.inbox / "frames")
    rig.inboxes["alice"]["references"] = [str(frames / "1.jpg")]
    assert plan(rig)["frames"][0] == "passed_over"
    (frames / "clip.mp4").write_bytes(fake_video(frames=5))
    assert plan(rig)["frames/clip.mp4"][0] == "would_settle"


def test_photos_that_a_sidecar_names_stay_also_when_it_has_gone_with_its_video(rig: Rig) -> None:
    photos = photos_in(rig.inbox / "young")
    rig.inboxes["alice"]["on_done"] = "move"
    (rig.inbox / "z clip.mp4.dfld.toml").write_text('references = ["young"]\n')  # behind them in every order
    (rig.inbox / "z clip.mp4").write_bytes(fake_video(frames=5))
    assert plan(rig)["young"] == ("passed_over", "reference_photos")
    with InProcess(rig):
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["moved"], "the clip is not moved")
        assert not (rig.inbox / "z clip.mp4.dfld.toml").exists()
    with InProcess(rig):  # it remembers nothing but the ledger
        (rig.inbox / "later.mp4").write_bytes(fake_video(frames=6))
        rig.wait_for_states("done", "done")
    assert plan(rig)["young"] == ("passed_over", "reference_photos")
    assert len(list(photos.iterdir())) == 3


@contextlib.contextmanager
def inboxes_of(rig: Rig, events: list[Event]) -> Iterator[Inboxes]:
    """The inboxes of a service without the service."""
    rig.config.service.state_dir.mkdir(exist_ok=True)
    ledger = Ledger(rig.config.service.state_dir / "ledger.db")
    inboxes = Inboxes(ledger, events.append, lambda _inbox, _path, _claim: None)
    inboxes.configure(rig.config)
    try:
        yield inboxes
    finally:
        inboxes.stop()
        ledger.close()


def test_a_sidecar_that_comes_while_its_photos_settle_is_in_time(rig: Rig) -> None:
    rig.tables["watch"] |= {"stable_for": "1h", "rescan_every": "1h"}
    events: list[Event] = []
    with inboxes_of(rig, events) as inboxes:
        wait_until(lambda: inboxes.wait_until_inspected(0) == [], "not looked")
        photos_in(rig.inbox / "young")
        wait_until(lambda: inboxes.statuses()["alice"].pending == 1, "the photos are not seen")
        (rig.inbox / "clip.mp4.dfld.toml").write_text('references = ["young"]\n')
        wait_until(lambda: inboxes.statuses()["alice"].pending == 0, "the photos go on settling")
    assert rig.jobs() == []


def test_a_reload_that_names_other_photos_looks_at_the_inbox_anew(rig: Rig) -> None:
    rig.tables["watch"] |= {"stable_for": "1h", "rescan_every": "1h"}
    photos = photos_in(rig.inbox / "photos of bob")
    with inboxes_of(rig, []) as inboxes:
        wait_until(lambda: inboxes.statuses()["alice"].pending == 1, "the pictures are not seen")
        rig.add_inbox("bob", references=[str(photos)])
        inboxes.configure(rig.config)
        wait_until(lambda: inboxes.statuses()["alice"].last_scan_s, "not scanned")
        assert inboxes.statuses()["alice"].pending == 0


def test_a_folder_of_pictures_that_are_not_read_is_reported_once(rig: Rig) -> None:
    (rig.inbox / "render").mkdir()
    for number in range(3):
        (rig.inbox / "render" / f"{number}.exr").write_bytes(b"v/1\x01picture")
    events: list[Event] = []

    def scans() -> int:
        return sum(event.kind == "inbox.scanned" for event in events)

    with inboxes_of(rig, events) as inboxes:
        wait_until(lambda: scans() == 1, "no scan")
        inboxes.scan_now()
        wait_until(lambda: scans() == 2, "no second scan")
    reports = [event for event in events if event.kind == "folder.not_read"]
    assert [event.level for event in reports] == ["warning"]
    assert "render: none of its pictures is of a kind that dfld reads (3 .exr" in reports[0].message
    assert rig.jobs() == []


# -- the check


@pytest.mark.parametrize("key", KEYS)
def test_photos_that_are_missing_are_reported(rig: Rig, key: str) -> None:
    rig.inboxes["alice"][key] = [str(rig.inbox.parent / "gone")]
    with pytest.raises(ConfigError) as refused:
        read_config(rig.config_path)
    assert [problem.key for problem in refused.value.problems] == [f"inbox[1].{key}[1]"]


@pytest.mark.parametrize("key", KEYS)
def test_photos_inside_an_inbox_are_warned_about(rig: Rig, key: str) -> None:
    rig.inboxes["alice"][key] = [str(photos_in(rig.inbox / "photos"))]
    (warning,) = [one for one in read_config(rig.config_path).warnings if key in one]
    assert warning.endswith("photos lies in inbox[1] " + str(rig.inbox) + ": nothing in it is taken as footage")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("place", [".", ".."])
def test_an_inbox_inside_its_own_photos_is_refused(rig: Rig, key: str, place: str) -> None:
    rig.inboxes["alice"][key] = [os.path.normpath(rig.inbox / place)]
    with pytest.raises(ConfigError) as refused:
        read_config(rig.config_path)
    assert f"inbox[1].{key}[1]" in {problem.key for problem in refused.value.problems}


def test_what_lies_inside_is_named_as_the_walk_names_it(tmp_path: Path) -> None:
    (tmp_path / "real" / "photos").mkdir(parents=True)
    (tmp_path / "inbox").symlink_to(tmp_path / "real")
    outside = tmp_path / "realistic"
    outside.mkdir()
    found = inside(tmp_path / "inbox", [tmp_path / "real" / "photos", outside, tmp_path, tmp_path / "inbox"])
    assert found == {str(tmp_path / "inbox" / "photos")}
