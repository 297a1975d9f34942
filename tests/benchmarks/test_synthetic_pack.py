"""What the benchmark of extraction measures with where there is neither a real pack nor, here, a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest

from benchmarks.gpu_watch import GpuWatch
from benchmarks.synthetic_pack import detector, disc_clip
from engine.backends.insightface import ScrfdModel, _load
from engine.models.accelerators import CPU_PROVIDER
from tests.daemon_rig import wait_until


def test_the_synthetic_detector_finds_each_disc_once_and_where_it_is(tmp_path: Path) -> None:
    onnx.save(detector(), str(tmp_path / "detector.onnx"))
    model = cast(ScrfdModel, _load(tmp_path / "detector.onnx", [CPU_PROVIDER]))
    pictures = list(disc_clip(121, width=640, height=384))
    for number in (0, 60, 100, 120):
        picture = pictures[number]
        red = (picture[:, :, 2].astype(int) - picture[:, :, 1]) > 150
        boxes, points = model.detect(picture, input_size=(640, 384), det_thresh=0.5)
        assert len(boxes) == (2 if number >= 100 else 1)
        assert points is not None
        assert points.shape == (len(boxes), 5, 2)
        for x1, y1, x2, y2, _ in boxes:
            inside = red[max(0, round(y1)) : round(y2), max(0, round(x1)) : round(x2)]
            assert inside.sum() > 0.9 * np.pi * 48**2, "the whole disc, of 1.5 cells of 32 px"


def test_the_gpus_load_is_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    said = tmp_path / "said"
    program.write_text(
        f"#!/bin/sh\necho '40, 1000'\necho '[N/A], [N/A]'\necho '60, 3000'\ntouch {said}\nexec sleep 600\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with GpuWatch() as watch:
        wait_until(said.exists, "nvidia-smi was not asked")
    assert watch.result() == {"gpu_percent": 50.0, "gpu_percent_peak": 60.0, "gpu_memory_mib_peak": 3000.0}


def test_without_nvidia_smi_nothing_is_said_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with GpuWatch() as watch:
        pass
    assert watch.result() == {}
