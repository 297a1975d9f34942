"""XSeg: how long a conversion takes, and how many faces a second are masked.

usage: python benchmarks/xseg.py [--faces N] [--side PX] [--threads N]

A network of DeepFaceLab's size (base 32, 222 tensors, 70 MB) with random weights, which cost as much as trained ones.
  conversion  the first opening of a model folder: read, converted, checked, written; then the second, which only reads;
  faces       the source `xseg` and ONNX Runtime alone on what the network is shown of the same face, in pairs, in
              changing order; the ratio is the median of the pairs';
  folder      a whole faceset masked and written, a face against ONNX Runtime alone likewise;
  precision   the source against the network in plain numpy.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from dfl.face_tables import MEAN_FACE_3D  # noqa: E402
from dfl.image import AlignedMetadata, encode_aligned_jpeg  # noqa: E402
from engine.facesets.faceset_folder import faceset_folders  # noqa: E402
from engine.mask_faceset import MaskRequest, mask_faceset  # noqa: E402
from engine.masks.choose import MaskSources  # noqa: E402
from engine.masks.source import FaceToMask  # noqa: E402
from engine.masks.xseg.converted import self_check_picture  # noqa: E402
from engine.masks.xseg.numpy_network import probabilities  # noqa: E402
from engine.masks.xseg.onnx_graph import INPUT, onnx_bytes  # noqa: E402
from engine.masks.xseg.xseg_masks import NetworkInput, XSegMasks, network_input, open_xseg  # noqa: E402
from tests.xseg_rig import made_weights, write_model  # noqa: E402

DFL_BASE = 32
Made = TypeVar("Made")
CONVERSION_BAR_S, FACES_BAR, FACES_FLOOR, RATIO_BAR = 5.0, 8.0, 6.0, 1.1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", type=int, default=40)
    parser.add_argument("--side", type=int, default=512, help="of a face, px")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime alone; the source takes one a core")
    options = parser.parse_args()
    weights = made_weights(DFL_BASE)
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder) / "model", weights)
        kept = Path(folder) / "kept"
        first_s, masks = _timed(lambda: open_xseg(model, kept, device="cpu"))
        again_s, again = _timed(lambda: open_xseg(model, kept, device="cpu"))
    print(f"conversion  once {first_s:.2f} s (bar {CONVERSION_BAR_S:g}), later {again_s:.2f} s,", end=" ")
    print("no conversion runs" if masks.was_converted and not again.was_converted else "A CONVERSION RUNS AGAIN")
    alone = _session(onnx_bytes(weights), options.threads)
    pixels, metadata = _face(options.side)
    face = FaceToMask(pixels, metadata)
    given = network_input(face, masks.face_type)
    assert isinstance(given, NetworkInput)
    fed = {INPUT: np.ascontiguousarray(given.picture.transpose(2, 0, 1)[np.newaxis])}
    ours, theirs = _in_pairs(lambda: masks.masks([face]), lambda: alone.run(None, fed), options.faces)
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    rate = 1 / statistics.median(ours)
    print(f"faces       {1000 / rate:.0f} ms a face, {rate:.1f} faces/s (bar {FACES_BAR:g}, floor {FACES_FLOOR:g}); "
          f"ONNX Runtime alone {1000 * statistics.median(theirs):.0f} ms with {options.threads} threads; "
          f"{ratio:.3f} times (bar {RATIO_BAR:g})")  # fmt: skip
    folder_ms, whole_ratio = _whole_folder(masks, lambda: alone.run(None, fed), pixels, metadata, options.faces)
    print(
        f"folder      {folder_ms:.0f} ms a face, read, judged and written; {whole_ratio:.3f} times ONNX Runtime alone"
    )
    picture = self_check_picture()
    found = alone.run(None, {INPUT: picture.transpose(2, 0, 1)[np.newaxis]})[0][0, 0]
    difference = float(np.abs(found - probabilities(weights, picture)).max())
    print(f"precision   {difference:.1e} between ONNX and numpy, of probabilities with a spread of {found.std():.2f}")
    return 0 if first_s <= CONVERSION_BAR_S and rate >= FACES_FLOOR and ratio <= RATIO_BAR else 1


def _timed(work: Callable[[], Made]) -> tuple[float, Made]:
    begun = time.perf_counter()
    made = work()
    return time.perf_counter() - begun, made


def _in_pairs(ours: Callable[[], object], theirs: Callable[[], object], count: int) -> tuple[list[float], list[float]]:
    seconds: tuple[list[float], list[float]] = ([], [])
    works = (ours, theirs)
    for number in range(count + 2):
        for which in (0, 1) if number % 2 else (1, 0):
            took, _ = _timed(works[which])
            if number >= 2:  # the first runs make buffers
                seconds[which].append(took)
    return seconds


def _session(content: bytes, threads: int):  # type: ignore[no-untyped-def]
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _whole_folder(
    masks: XSegMasks,
    alone: Callable[[], object],
    pixels: NDArray[np.uint8],
    metadata: AlignedMetadata,
    count: int,
) -> tuple[float, float]:
    """Mask a faceset of `count` faces, ONNX Runtime alone after each; return ms a face, and the median ratio."""
    with tempfile.TemporaryDirectory() as root:
        aligned = Path(root) / "aligned"
        aligned.mkdir()
        data = encode_aligned_jpeg(pixels, metadata, 95)
        for number in range(count + 2):
            (aligned / f"{number:05d}.jpg").write_bytes(data)
        (folder,) = faceset_folders(aligned)
        ours: list[float] = []
        theirs: list[float] = []
        begun = time.perf_counter()

        def note(_done: int, _total: int) -> None:
            nonlocal begun
            ours.append(time.perf_counter() - begun)
            theirs.append(_timed(alone)[0])
            begun = time.perf_counter()

        request = MaskRequest("xseg", MaskSources(xseg=masks), "benchmark")
        report = mask_faceset(folder, request, stop=threading.Event(), on_progress=note)
        assert report.outcomes == {"masked": count + 2}
    ratio = statistics.median(one / other for one, other in zip(ours[2:], theirs[2:], strict=True))
    return 1000 * statistics.median(ours[2:]), ratio


def _face(side_px: int) -> tuple[NDArray[np.uint8], AlignedMetadata]:
    landmarks = np.array(MEAN_FACE_3D)[:, :2]
    landmarks = (landmarks - landmarks.min(axis=0)) / np.ptp(landmarks, axis=0).max() * side_px * 0.6 + side_px * 0.2
    noise = np.random.default_rng(1).integers(0, 256, (side_px // 8, side_px // 8, 3)).astype(np.uint8)
    pixels = np.asarray(cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC), np.uint8)
    return pixels, AlignedMetadata("full_face", landmarks, source_landmarks=landmarks)


if __name__ == "__main__":
    sys.exit(main())
