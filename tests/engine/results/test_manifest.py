"""Manifests on people's disks stay readable, whatever dfld writes into new ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.results.manifest import (
    Manifest,
    lines_of,
    manifest_of,
    manifest_path,
    read_manifest,
    write_manifest,
)
from engine.results.manifest_lines import (
    CHANGE_KINDS,
    LINES,
    ManualChange,
    RunNote,
    WrittenFace,
    WrittenFile,
    line_bytes,
    lines_in,
)
from engine.same_face import FaceTrace
from engine.workspace.file_names import output_layout

OF_0_1_0 = """\
{"hand":{"kind":"renamed","trace":{"frame":"00000003","box":[1,2,30,40],"mark":"aa"},"content":"5 6","file":"aligned/1.jpg","sha256":"","mask":"00000003_0_mask.png"}}
{"run":{"source":"clip.mp4","content":"5 6","basis":"bb"}}
{"mask":{"name":"00000004_0_mask.png","sha256":"cc","size":9,"mtime_ns":8}}
{"face":{"folder":"review","number":4,"name":"00000004_0.jpg","sha256":"dd","size":7,"mtime_ns":6,"frame":"00000004","box":[-1,2,30,40],"mark":"ee"}}
{"accepted":"00000004_0.jpg"}
{"frame":{"name":"00000004.png","sha256":"ff","size":5,"mtime_ns":4}}
{"committed":5}
not a line
{"face":{"folder":"elsewhere","number":4,"name":"x","sha256":"dd","size":7,"mtime_ns":6,"frame":"x","box":[],"mark":""}}
{"mask":{"name":"../../x","sha256":"cc","size":9,"mtime_ns":8}}
{"committed":Infinity}
{"added later":[1]}
{"finished":true}
"""  # noqa: E501 -- lines as they stand on disks
"""As dfld 0.1.0 wrote them, before faces had ids, with lines that say nothing. Never edit them."""
MASK = WrittenFile("00000004_0_mask.png", "cc", 9, 8)
MEANT = Manifest(
    RunNote("clip.mp4", "5 6", "bb"),
    {
        "00000004_0.jpg": WrittenFace(
            WrittenFile("00000004_0.jpg", "dd", 7, 6),
            "aligned",
            4,
            FaceTrace("00000004", (-1, 2, 30, 40), "ee"),
            MASK,
            was_in_review=True,
        )
    },
    {MASK.name: MASK},
    {"00000004.png": WrittenFile("00000004.png", "ff", 5, 4)},
    committed=5,
    finished=True,
    changes=(
        ManualChange(
            "renamed", FaceTrace("00000003", (1, 2, 30, 40), "aa"), "5 6", "aligned/1.jpg", "", "00000003_0_mask.png"
        ),
    ),
)


def test_a_manifest_of_0_1_0_says_what_it_said(tmp_path: Path) -> None:
    layout = output_layout(tmp_path)
    layout.debug.mkdir()
    manifest_path(layout).write_text(OF_0_1_0)
    found = read_manifest(layout)
    assert found == MEANT
    write_manifest(layout, found)
    assert read_manifest(layout) == MEANT


def test_lines_keep_every_key_that_0_1_0_reads() -> None:
    """Going back to an older dfld loses no face and no manual change: it passes over what it does not know."""
    known = {next(iter(line)): line for line in map(json.loads, OF_0_1_0.splitlines()[:7])}
    for line in lines_of(MEANT):
        kind, value = next(iter(json.loads(line_bytes(line)).items()))
        if isinstance(value, dict):
            assert value.keys() >= known[kind][kind].keys()
    assert {"deleted", "moved", "renamed", "edited", "packed", "mask_deleted", "added"} == set(CHANGE_KINDS)


def test_every_line_comes_back_and_stands_as_it_always_did() -> None:
    text = "\n".join(line for line in OF_0_1_0.splitlines() if "elsewhere" not in line)
    lines = list(lines_in(text.encode()))
    assert b"".join(map(line_bytes, lines)).decode().splitlines() == [
        *OF_0_1_0.splitlines()[:7],
        OF_0_1_0.splitlines()[-1],
    ]
    later = replace(MEANT, clearing=True, discarding=True, discarded="7")
    name = "00000004_0.jpg"
    for after_its_run in (True, False):
        face = replace(MEANT.faces[name], dropped=True, dropped_later=after_its_run, mask_dropped=True)
        later = replace(later, faces={name: face})
        assert manifest_of(lines_in(b"".join(map(line_bytes, lines_of(later))))) == later
    assert {line.key for line in lines_of(later)} == LINES.keys()


boxes = st.tuples(*[st.integers(-1000, 9000)] * 4)
traces = st.builds(FaceTrace, st.text(max_size=9), boxes, st.text(max_size=5), st.text(max_size=5), boxes)
changes = st.builds(
    ManualChange, st.sampled_from(CHANGE_KINDS), traces, st.text(max_size=5), is_unlisted=st.booleans(),
    lost_mask=st.text(max_size=5)
)  # fmt: skip


@given(found=st.lists(changes, max_size=4))
def test_changes_come_back_as_they_were_noted(found: list[ManualChange]) -> None:
    written = b"".join(map(line_bytes, lines_of(Manifest(changes=tuple(found)))))
    assert manifest_of(lines_in(written)).changes == tuple(found)
