from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from engine.facesets.coverage.document import coverage_document
from engine.facesets.coverage.grid import covered_cells
from engine.facesets.coverage.page import coverage_page
from engine.facesets.coverage.picture import coverage_picture
from engine.facesets.coverage.report import CoverageReport, coverage_of
from engine.facesets.coverage.tallies import tally_of, upscale_labels
from engine.facesets.coverage.thumbnails import THUMBNAIL_PX
from engine.facesets.coverage.words import cell_degrees, cell_words
from engine.facesets.curation.cells import PITCH_CELLS, YAW_CELLS, PoseCell, cells_of
from engine.facesets.features import Features
from tests.feature_rig import chosen, made_features

HOSTILE = '/faces/<script>alert(1)</script>"\x1b[2J\u202e'
ALL_CELLS = [PoseCell(yaw, pitch) for yaw in range(-6, 6) for pitch in range(-4, 4)]


def poses_of(features: Features) -> list[PoseCell]:
    cells = cells_of(features)
    return [cells.pose(row) for row in range(len(features))]


def without(features: Features, cell: PoseCell) -> Features:
    return chosen(features, [row for row, pose in enumerate(poses_of(features)) if pose != cell])


def report_of(here: Features, there: Features | None = None, name: str = "/faces/data_src/aligned") -> CoverageReport:
    return coverage_of(here, there, here_name=name, there_name=None if there is None else "/faces/data_dst/aligned")


def test_a_pose_that_is_left_out_is_the_one_that_is_named() -> None:  # benchmarks/curation.py: 100 seeds
    for seed in range(12):
        rng = np.random.default_rng(seed)
        cell = PoseCell(int(rng.integers(-3, 3)), int(rng.integers(-1, 1)))
        there, here = made_features(1500, seed), without(made_features(6000, seed + 1000), cell)
        sentences = [one.sentence for one in report_of(here, there).poses]
        needed = poses_of(there).count(cell)
        assert sentences[0] == f"{cell_words(cell)}: dst {needed}, src 0 ({cell_degrees(cell)})"
        alone = [one.sentence for one in report_of(here).poses]
        assert f"{cell_words(cell)}: src 0 ({cell_degrees(cell)})" in alone


def test_each_cell_has_words_of_its_own() -> None:
    words = {cell: cell_words(cell) for cell in ALL_CELLS}
    assert len(set(words.values())) == YAW_CELLS * PITCH_CELLS == len(ALL_CELLS)
    assert words[PoseCell(1, 1)] == "looking up, right"
    assert words[PoseCell(-1, 0)] == "looking slightly up, slightly left"
    assert words[PoseCell(5, -4)] == "looking steeply down, right profile"
    assert cell_degrees(PoseCell(-1, 1)) == "yaw -15 to 0, pitch 15 to 30"
    assert cell_degrees(PoseCell(4, 0)) == "yaw about 60 to 75, pitch 0 to 15"
    assert {cell.yaw for cell in ALL_CELLS if cell.is_about} == {-6, -5, 4, 5}


def test_every_face_is_counted_in_one_cell_and_the_sharpest_stands_for_it() -> None:
    here = made_features(900, 1)
    cells, poses = covered_cells(here, None), poses_of(here)
    assert [one.cell for one in cells][:2] == [PoseCell(-6, 3), PoseCell(-5, 3)]
    assert sum(one.here for one in cells) == 900
    for one in cells:
        rows = [row for row in range(900) if poses[row] == one.cell]
        assert one.here == len(rows)
        assert one.sharpest == (max((here.nf[row], here.name[row]) for row in rows)[1] if rows else None)


def test_a_cell_is_missing_only_where_enough_faces_need_it() -> None:
    needed = made_features(6, yaw=[20, 20, 20, 50, 50, -20], pitch=[20] * 6)
    here = made_features(4, yaw=[20, 20, -20, -20], pitch=[20] * 4)
    states = {one.cell: one.state for one in covered_cells(here, needed)}
    assert states[PoseCell(1, 1)] == "missing"
    assert states[PoseCell(3, 1)] == "empty"
    assert states[PoseCell(-2, 1)] == "unneeded"


def test_expressions_and_light_that_are_missing_are_named_too() -> None:
    count = 200
    shut = np.where(np.arange(count) < 30, 0.1, 0.3)
    there = made_features(count, eye_opening=shut, mouth_open=np.full(count, 0.25), light_x=np.full(count, 0.5))
    here = made_features(count, eye_opening=np.full(count, 0.3), mouth_open=np.zeros(count), light_x=np.zeros(count))
    assert [one.sentence for one in report_of(here, there).others] == [
        "eyes shut: dst 30, src 0",
        "mouth open: dst 200, src 0",
        "lit from the right: dst 200, src 0",
    ]
    assert report_of(there, here).others == ()


def test_the_advised_size_is_the_largest_that_half_of_the_faces_fill() -> None:
    for upscale, advised in ((0.5, 768), (1.0, 768), (1.4, 512), (2.0, 384), (2.9, 256), (9.0, 256)):
        assert tally_of(made_features(20, upscale=np.full(20, upscale))).advised_size_px == advised
    unknown = tally_of(made_features(20, upscale=np.full(20, np.nan)))
    assert (unknown.advised_size_px, unknown.upscale_median, sum(unknown.upscales)) == (None, None, 0)
    assert sum(tally_of(made_features(20)).upscales) == 20
    assert len(upscale_labels()) == len(unknown.upscales)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("there", [None, made_features(500, 2)], ids=["alone", "against dst"])
def test_the_page_has_no_script_loads_nothing_and_takes_names_as_text(there: Features | None) -> None:
    here = made_features(700, 1)
    report = coverage_of(
        here, there, here_name=HOSTILE, there_name=None if there is None else HOSTILE, aside=(("blurred", 3),)
    )
    thumbnails = {one.cell: np.full((THUMBNAIL_PX, THUMBNAIL_PX, 3), 90, np.uint8) for one in report.cells if one.here}
    page = coverage_page(report, thumbnails)
    tags = Tags()
    tags.feed(page)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "link", "iframe", "object", "a", "form"}
    assert not [name for _, values in tags.found for name in values if name.startswith("on")]
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "<script>alert" not in page
    sources = [values["src"] for tag, values in tags.found if tag == "img"]
    assert len(sources) == len(thumbnails)
    assert all(str(one).startswith("data:image/jpeg;base64,") for one in sources)
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page
    assert "about" in page
    assert re.search(r"Set aside: 3 faces", page)
    for one in (*report.poses, *report.others):
        assert f"<b>{one.words}:</b>" in page


def test_the_document_says_what_the_page_shows() -> None:
    here, there = without(made_features(900, 3), PoseCell(1, 0)), made_features(500, 4)
    report = report_of(here, there)
    document = json.loads(json.dumps(coverage_document(report), allow_nan=False))
    first = document["missing"][0]
    assert first["sentence"] == report.poses[0].sentence
    assert (first["words"], first["src"]) == ("looking slightly up, right", 0)
    assert sum(one["src"] for one in document["cells"]) == document["src"]["faces"] == len(here)
    assert sum(one["dst"] for one in document["cells"]) == document["dst"]["faces"] == 500
    assert {one["state"] for one in document["cells"]} <= {"covered", "missing", "unneeded", "empty"}


@pytest.mark.parametrize("count", [1, 40, 900])
def test_the_picture_holds_every_face_and_frames_what_is_missing(count: int) -> None:
    here, there = without(made_features(count, 5), PoseCell(0, 0)), made_features(800, 6)
    report = report_of(here, there, "/faces/Zoë ✨/" + "long/" * 60)
    red = np.zeros((THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)
    red[:, :, 1] = 255
    picture = coverage_picture(report, {one.cell: red for one in report.cells if one.here})
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    pure = (picture[:, :, 1] == 255) & (picture[:, :, 0] == 0) & (picture[:, :, 2] == 0)
    shown = [one for one in report.cells if one.here and one.state != "unneeded"]
    assert (cv2.connectedComponents(pure.astype(np.uint8))[0] - 1) >= len(shown)
    framed = np.all(picture == (0x5F, 0x5A, 0xFF), axis=2)  # the red of what is missing, as BGR
    assert framed.any() == bool(report.poses)


def test_without_another_set_gaps_are_named_and_an_empty_report_says_so() -> None:
    here = made_features(2000, yaw=np.linspace(-29, 29, 2000), pitch=np.full(2000, 5.0))
    assert report_of(here).nothing_lacks == "No gap between the poses"
    gap = without(here, PoseCell(0, 0))
    assert [one.sentence for one in report_of(gap).poses] == [
        "looking slightly up, slightly right: src 0 (yaw 0 to 15, pitch 0 to 15)"
    ]
    assert report_of(here, here).poses == ()
    assert "Nothing that dst needs is missing" in coverage_page(report_of(here, here), {})


def test_the_legend_of_the_counts_has_words_in_their_places_and_no_number_that_could_be_one() -> None:
    for there in (None, made_features(149, 2)):
        page = coverage_page(report_of(made_features(600, 1), there), {})
        legend = page.split('<div class="legend">')[1].split("</section>")[0]
        assert re.findall(r"\d+", re.sub(r"<[^>]*>", "", legend).replace("3 faces", "").replace("than 3", "")) == []
