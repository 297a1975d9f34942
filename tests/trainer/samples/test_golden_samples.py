"""The exact path makes DeepFaceLab's samples: golden numerics/v2, samples and colour transfer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dfl.image import read_metadata
from trainer.samples.colour_transfer.iterative import idt, sot
from trainer.samples.colour_transfer.statistics import lct, mkl, rct
from trainer.samples.exact import exact_sample
from trainer.samples.geometry import draw_geometry, draw_warp, warp_map
from trainer.samples.settings import FACE_TYPE_OPTIONS, SampleSettings

CASES = 20
PICTURE_TOLERANCE = 1.4e-5
OTHER_TOLERANCE = {("half_eyebrow_xseg", "em"): 3e-3}
"""`mask != 0` after a cubic resize depends on the version of OpenCV, as the golden README says."""
MAP_TOLERANCE_PX = 1e-5
EVERY_PX = {"r256": 5}
"""Of this case, every fifth pixel is stored."""


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden"


@pytest.fixture(scope="module")
def cases(golden: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((golden / "numerics" / "v2" / "samples.json").read_text())
    assert len(found) == CASES
    return found


@pytest.fixture(scope="module")
def arrays(golden: Path) -> dict[str, NDArray[np.generic]]:
    with np.load(golden / "numerics" / "v2" / "samples.npz") as stored:
        return dict(stored)


def settings_of(case: dict[str, Any]) -> SampleSettings:
    return SampleSettings(
        case["resolution"],
        FACE_TYPE_OPTIONS[case["face_type"]],
        random_warp=case["warp"],
        random_flip=case["random_flip"],
        hsv_power=case["hsv_power"],
        colour_transfer=case["ct_mode"] or "none",
        scale_range=case["scale_range"][1],
    )


def pixels_of(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_the_geometry_of_every_case_is_drawn_bit_for_bit(
    cases: dict[str, dict[str, Any]], arrays: dict[str, NDArray[np.generic]]
) -> None:
    draws = np.random.RandomState(3)
    for name, case in cases.items():
        settings, seed = settings_of(case), case["sample_seed"]
        geometry, shift = draw_geometry(
            draws,
            seed,
            settings.resolution,
            random_flip=settings.random_flip,
            scale_range=settings.scale_range,
            hsv_power=settings.hsv_power,
        )
        np.testing.assert_array_equal(geometry.mat, case["rmat"], err_msg=name)
        assert (geometry.flip, shift is not None) == (case["flip"], case["hsv_power"] > 0), name
        noise = draw_warp(draws, seed, settings.resolution)
        assert noise.cell_px == case["cell_size"], name
        if f"{name}/mapx" in arrays:
            np.testing.assert_array_equal(noise.first, arrays[f"{name}/noise1"], err_msg=name)
            np.testing.assert_array_equal(noise.second, arrays[f"{name}/noise2"], err_msg=name)
            columns, step = warp_map(noise, settings.resolution), EVERY_PX.get(name, 1)
            for made, stored in ((columns, "mapx"), (columns.T, "mapy")):
                if f"{name}/{stored}" not in arrays:
                    continue
                np.testing.assert_allclose(
                    made[::step, ::step], arrays[f"{name}/{stored}"], rtol=0, atol=MAP_TOLERANCE_PX, err_msg=name
                )


def test_the_pictures_and_masks_of_every_case_are_met(
    cases: dict[str, dict[str, Any]], arrays: dict[str, NDArray[np.generic]], golden: Path
) -> None:
    compared = 0
    for name, case in cases.items():
        path = golden / "dflimg" / case["sample"]
        reference = None if case["ct_sample"] is None else pixels_of(golden / "dflimg" / case["ct_sample"])
        made = exact_sample(
            pixels_of(path),
            read_metadata(path.read_bytes()),
            settings_of(case),
            case["sample_seed"],
            reference=reference,
        )
        outputs = {"warped": made.warped, "target": made.target, "mask": made.masks[0], "em": made.masks[1]}
        step = EVERY_PX.get(name, 1)
        for output, values in outputs.items():
            if f"{name}/{output}" in arrays:
                stored = arrays[f"{name}/{output}"].squeeze() / 65535
                tolerance = OTHER_TOLERANCE.get((name, output), PICTURE_TOLERANCE)
                np.testing.assert_allclose(
                    values[::step, ::step], stored, rtol=0, atol=tolerance, err_msg=f"{name}/{output}"
                )
                compared += 1
    assert compared >= 3 * CASES


def test_every_colour_transfer_is_met(golden: Path) -> None:
    with np.load(golden / "numerics" / "v2" / "color_transfer.npz") as stored:
        arrays = dict(stored)
    picture, reference = (arrays[name].astype(np.float32) / np.float32(255) for name in ("src_u8", "ref_u8"))
    for name, made, tolerance in (
        ("rct", rct(picture, reference), 2e-6),
        ("lct", lct(picture, reference), 0.0),
        ("mkl", mkl(picture, reference), 0.0),
        ("idt", idt(picture, reference, arrays["idt_rotations"]), 6e-5),
        ("sot", sot(picture, reference, arrays["sot_normals"]), 1.1e-5),
    ):
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, arrays[name], rtol=0, atol=tolerance, err_msg=name)
