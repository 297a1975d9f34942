"""`dfld doctor`: what is wrong with this installation, and what to do about each thing."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from daemon.commands.hints import config_of, with_config
from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import print_json, shown
from daemon.commands.service import CONFIG_PLACES

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from daemon.doctor.diagnosis import Diagnosis

LABELS = {"ok": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}
EPILOG = """exit codes of doctor:
  0  all is well
  1  warnings: it works, and will surprise somebody
  2  problems: something that is configured does not work"""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="examine this installation and say what to do",
        description="Look at folders, permissions, disks, file events, SQLite, models, GPU, clock, ports, the systemd "
        "unit, and every training machine over SSH; say what is wrong and the remedy. Changes nothing.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument(
        "--config", type=path_argument, metavar="FILE",
        help=f"configuration (default: {' or '.join(str(place) for place in CONFIG_PLACES)}, if there)",
    )  # fmt: skip
    doctor.add_argument("--quiet", action="store_true", help="leave out what is good")
    add_json_option(doctor)
    doctor.set_defaults(run=run_doctor)


def run_doctor(options: argparse.Namespace) -> int:
    """Examine everything; the exit code is the worst verdict: 0, 1 or 2."""
    from daemon.doctor.diagnosis import worst
    from daemon.doctor.examination import examine

    path = options.config or next((place for place in CONFIG_PLACES if place.is_file()), None)
    found = []
    for one in (_with_config(one, options) for one in examine(path)):
        found.append(one)
        if not options.json and not (options.quiet and one.verdict == "ok"):
            _print(one)
    if options.json:
        print_json([asdict(one) for one in found])
    else:
        counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in LABELS}
        print(f"problems: {counts['problem']}, warnings: {counts['warning']}, good: {counts['ok']}")
    return worst(found)


def _with_config(one: Diagnosis, options: argparse.Namespace) -> Diagnosis:
    config = config_of(options)
    return replace(one, sentence=with_config(one.sentence, config), remedy=with_config(one.remedy, config))


def _print(one: Diagnosis) -> None:
    print(f"{LABELS[one.verdict]}  {shown(one.subject)}: {shown(one.sentence)}", flush=True)
    if one.remedy:
        print(f"         → {shown(one.remedy)}", flush=True)
