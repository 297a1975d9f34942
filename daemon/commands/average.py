"""`dfld average`: average weight files by hand, without any machine."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import shown
from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from sync.averaging.average_files import AverageReport

RULES = ("mean", "median", "trimmed")

DATA_DAT_NOTE = (
    "DeepFaceLab loads a model with its data.dat, which is a machine's own and is not averaged: copy that of one "
    "input, and only that, into the folder of the average"
)
EPILOG = """inputs are all files of one kind (DeepFaceLab weight files, .npy and .npz of numbers, PyTorch .pth and .pt,
.safetensors) or all folders that hold a DeepFaceLab model; of several, --model names the one.

example:
  dfld average gpu1/model gpu2/model gpu3/model -o averaged

A folder of averages holds weights alone. For DeepFaceLab to load it, copy one input's data.dat beside them:
  cp gpu1/model/alice_SAEHD_data.dat averaged/

Averaging helps models that started as one and were trained on separately; it ruins models that never were one."""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "average",
        help="average weight files or model folders by hand",
        description="Average weight files, or folders of one DeepFaceLab model, executing nothing that stands in them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", type=path_argument, metavar="INPUT", help="weight file or model folder")
    parser.add_argument(
        "-o", "--out", required=True, type=path_argument, metavar="OUT", help="file or folder for the average"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="of folders that hold several models: which one, as alice or alice_SAEHD"
    )
    parser.add_argument(
        "--shares", type=_shares, metavar="A,B,...", help="part of each input, in any scale (default: all alike)"
    )
    parser.add_argument("--rule", choices=RULES, default="mean", help="default mean; trimmed needs five inputs")
    add_json_option(parser)
    parser.set_defaults(run=run_average)


def run_average(options: argparse.Namespace) -> int:
    """Average, and say how far apart the inputs were."""
    from sync.averaging.average_files import average_files

    report = average_files(
        options.inputs, options.out, machine_weights=options.shares, rule=options.rule, model=options.model
    )
    if options.json:
        print(json.dumps(_values(report), indent=2))
        return ExitCode.OK
    for path in report.written:
        print(f"written  {shown(path)}{' in place of the file that was there' if path in report.replaced else ''}")
    for name, share in report.machine_weights.items():
        apart = report.divergence.machines[name]
        print(f"input    {shown(name)}: share {share:.3f}, {apart.distance_rel:.2%} from the average")
        if apart.worst_tensor:
            print(f"         most in {shown(apart.worst_tensor)}")
    print(f"spread   {report.divergence.spread_rel:.2%} of the average's length")
    for warning in report.warnings:
        print(f"warning  {shown(warning)}")
    if any(path.is_dir() for path in options.inputs):
        print(f"note     {DATA_DAT_NOTE}")
    return ExitCode.OK


def _values(report: AverageReport) -> dict[str, object]:
    return {
        "inputs": list(report.inputs),
        "shares": dict(report.machine_weights),
        "rule": report.rule,
        "written": {str(path): sha256 for path, sha256 in report.written.items()},
        "replaced": list(map(str, report.replaced)),
        "spread_rel": report.divergence.spread_rel,
        "distance_rel": {name: one.distance_rel for name, one in report.divergence.machines.items()},
        "warnings": list(report.warnings),
    }


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas between, as 1,1,0.5") from None
