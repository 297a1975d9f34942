"""`python -m trainer samples ALIGNED`: a picture of what the network is shown, exactly as a training would get it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import cv2

from core.errors import DfldError
from core.files import replace_file
from trainer.errors import SampleError
from trainer.samples.batch_plan import Side, TrainingPlace
from trainer.samples.loading.sample_loader import SampleLoader
from trainer.samples.sample_maker import FaceProblem
from trainer.samples.settings import FACE_TYPE_OPTIONS, ColourTransferName, SampleSettings
from trainer.samples.sheet import sample_sheet

_JPEG_QUALITY = 92


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0, or 1 where it could not be done."""
    options = _parser().parse_args(arguments)
    try:
        _show_samples(options)
    except (DfldError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        hint = problem.hint if isinstance(problem, DfldError) else ""
        if hint:
            print(f"hint: {hint}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Parts of the trainer, by themselves.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    samples = commands.add_parser("samples", help="a picture of what the network is shown of a faceset")
    samples.add_argument("src", type=Path, metavar="ALIGNED", help="folder of aligned faces, or of a faceset.pak")
    samples.add_argument("--dst", type=Path, metavar="ALIGNED", help="faces of the other side, shown beside these")
    samples.add_argument("--out", type=Path, default=Path("samples.jpg"), help="the picture (default samples.jpg)")
    samples.add_argument("--count", type=int, default=8, help="samples, which is the batch size (default 8)")
    samples.add_argument("--iteration", type=int, default=0, help="whose batch it is (default 0)")
    samples.add_argument("--seed", type=int, default=0, help="of the training (default 0)")
    samples.add_argument("--exact", action="store_true", help="by the slow path, which has DeepFaceLab's arithmetic")
    made = samples.add_argument_group("DeepFaceLab's options")
    made.add_argument("--resolution", type=int, default=128, help="px (default 128)")
    made.add_argument("--face-type", choices=FACE_TYPE_OPTIONS, default="wf", help="default wf")
    made.add_argument("--no-random-warp", action="store_true")
    made.add_argument("--random-src-flip", action="store_true")
    made.add_argument("--no-random-dst-flip", action="store_true")
    made.add_argument("--random-hsv-power", type=float, default=0.0, help="0 to 0.3")
    made.add_argument("--ct-mode", choices=get_args(ColourTransferName), default="none", help="needs --dst")
    made.add_argument("--uniform-yaw", action="store_true")
    made.add_argument("--random-background", action="store_true", help="not of DeepFaceLab")
    return parser


def _show_samples(options: argparse.Namespace) -> None:
    sides = _sides(options)
    training = TrainingPlace(options.seed, options.count)
    with SampleLoader(
        sides,
        training,
        first_iteration=options.iteration,
        processes=1,
        path="exact" if options.exact else "fast",
        on_left_out=_say_left_out,
    ) as loader:
        _, batches = loader.next_batches()
        counts = loader.face_counts
    sheet = sample_sheet([(side.name, batch) for side, batch in zip(sides, batches, strict=True)])
    encoded, data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise SampleError(f"a picture of {sheet.shape[1]}x{sheet.shape[0]} px is too large for a JPEG", hint="--count")
    replace_file(options.out, data.tobytes())
    for name, count in counts.items():
        print(f"{name}: {count} faces")
    print(f"{options.out}: {options.count} samples of iteration {options.iteration}")


def _sides(options: argparse.Namespace) -> list[Side]:
    shared = {
        "resolution": options.resolution,
        "face_type": FACE_TYPE_OPTIONS[options.face_type],
        "random_warp": not options.no_random_warp,
        "random_background": options.random_background,
    }
    src = SampleSettings(
        **shared,
        random_flip=options.random_src_flip,
        hsv_power=options.random_hsv_power,
        colour_transfer=options.ct_mode,
    )
    sides = [Side("src", options.src, src, options.uniform_yaw, reference_folder=options.dst)]
    if options.dst is not None:
        dst = SampleSettings(**shared, random_flip=not options.no_random_dst_flip)
        sides.append(Side("dst", options.dst, dst, options.uniform_yaw))
    return sides


def _say_left_out(side: str, face: FaceProblem) -> None:
    print(f"{side}: {face.name} is left out: {face.why}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
