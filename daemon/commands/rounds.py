"""`dfld rounds`, `dfld rollback`: what rounds did, and an earlier average given to every machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from daemon.commands.hints import config_of, with_config
from daemon.commands.models import (
    add_config_and_json,
    add_stopped_option,
    model_named,
    open_rounds,
    read_command_config,
)
from daemon.commands.output import print_json, shown
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from sync.journal.record import RoundRecord
    from sync.rounds.rounds import Rounds
    from sync.types import Forecast, Round

OUTCOME_EXIT = {
    "held": ExitCode.TEMPORARY,
    "aborted": ExitCode.TEMPORARY,
    "undone": ExitCode.FAILED,
    "not_undone": ExitCode.FAILED,
}


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that list rounds and go back to one."""
    rounds = commands.add_parser("rounds", help="list rounds, or show one", description="What rounds did, and why.")
    rounds.add_argument("what", nargs="?", choices=("list", "show"), default="list", help="list (default) or show")
    rounds.add_argument(
        "number", nargs="?", type=int, metavar="ROUND", help="with show: its number (default: the last)"
    )
    rounds.add_argument("--name", metavar="NAME", help="the model, where the configuration has several")
    add_config_and_json(rounds, run_rounds)

    rollback = commands.add_parser(
        "rollback", help="give machines an earlier average",
        description="Push the kept average of an earlier round to every machine, as a round of its own.",
    )  # fmt: skip
    rollback.add_argument("name", metavar="NAME", help="the model")
    rollback.add_argument("number", nargs="?", type=int, metavar="ROUND", help="default: the one before the newest")
    add_stopped_option(rollback)
    add_config_and_json(rollback, run_rollback)


def run_rounds(options: argparse.Namespace) -> int:
    """List the rounds of a model, or show all about one."""
    config = read_command_config(options)
    with open_rounds(config, model_named(config, options.name), quiet=True) as rounds:
        records = rounds.records()
        if options.what == "list":
            rejected = rounds.history().rejected
            _print_list([rounds.report(record.number) for record in records], records, rejected, options)
            return ExitCode.OK
        number = options.number or (records[-1].number if records else 0)
        if number not in [record.number for record in records]:
            raise UsageError(f"there is no round {number}", hint="dfld rounds lists them")
        print_round(rounds.report(number), options)
        return ExitCode.OK


def run_rollback(options: argparse.Namespace) -> int:
    """Give every machine an earlier average."""
    config = read_command_config(options)
    model, word = model_named(config, options.name), options.trainers_are_stopped
    with open_rounds(config, model, quiet=options.json, trainers_are_stopped=word) as rounds:
        print_unfinished(rounds, options)
        return report_round(rounds.roll_back(options.number), options)


def print_unfinished(rounds: Rounds, options: argparse.Namespace) -> None:
    """Say which rounds an earlier dfld left, before they are brought to their end."""
    for record in rounds.records():
        if not options.json and (record.owing or not record.ended):
            of = f" on {', '.join(sorted(record.owing))}" if record.owing else ""
            print(
                shown(f"round {record.number} was left unfinished{of}; it is brought to its end first"), file=sys.stderr
            )


def report_round(done: Round, options: argparse.Namespace) -> int:
    print_round(done, options)
    if done.outcome == "dry_run" and not done.contributors:  # a round would be held, and end with the same code
        return ExitCode.TEMPORARY
    return OUTCOME_EXIT.get(done.outcome, ExitCode.OK)


def _print_list(
    shown_rounds: list[Round], records: list[RoundRecord], rejected: Mapping[int, int], options: argparse.Namespace
) -> None:
    if options.json:
        print_json([_round_values(one) | {"rejected_by": rejected.get(one.number)} for one in shown_rounds])
        return
    if not shown_rounds:
        print(with_config("no rounds yet; dfld sync init NAME --from MACHINE is the first", config_of(options)))
    for one, record in zip(shown_rounds, records, strict=True):
        when = one.started_at.astimezone().strftime("%Y-%m-%d %H:%M")
        by = f" (rejected by round {rejected[one.number]})" if one.number in rejected else ""
        who = ", ".join(one.contributors)
        reason = with_config(one.reason, config_of(options))
        print(shown(f"{one.number:5d}  {when}  {record.kind.name:8} {one.outcome:12} {who}  {reason}{by}"))


def print_round(done: Round, options: argparse.Namespace) -> None:
    if options.json:
        print_json(_round_values(done))
        return
    if done.outcome == "dry_run":
        lines = [f"dry run of {done.model.prefix}, nothing was changed: {done.reason}"]
    else:
        lines = [f"round {done.number} of {done.model.prefix}: {done.outcome}: {done.reason}"]
    for name, measures in done.divergences.items():
        numbers = ", ".join(f"{measure} {value:.4g}" for measure, value in measures.items())
        lines.append(f"  {name}: iteration {done.iterations.get(name, 0)}, {numbers}")
    for title, reasons in (("left out", done.excluded), ("owes", done.fenced), ("doubted", done.doubted)):
        lines += [f"  {title}: {name}: {reason}" for name, reason in reasons.items()]
    lines += [f"  note: {warning}" for warning in done.warnings]
    if done.seconds:
        lines.append("  " + ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in done.seconds.items()))
    for name, seconds in done.paused_s.items():
        least = "at least " if name in done.not_seen else ""
        lost = done.lost_iterations.get(name)
        detail = f", {lost} iterations between its save and the new weights are lost" if lost else ""
        detail += ", and was not seen iterating again" if least else ""
        lines.append(f"  {name} did not train for {least}{seconds:.1f} s{detail}")
    if len(done.paused_s) > 1:
        lines.append(f"  from the first request to stop until the last trainer iterated again: {done.downtime_s:.1f} s")
    lines += [f"  a round would cost {name} {_forecast(one)}" for name, one in done.forecast.items()]
    for line in lines:
        print(shown(with_config(line, config_of(options))))


def _forecast(one: Forecast) -> str:
    parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in one.parts.items())
    lost = f", about {one.iterations} iterations" if one.iterations else ""
    unknown = f"; not measured yet: {', '.join(one.unknown)}" if one.unknown else ""
    return f"about {one.seconds:.0f} s of training{lost} ({parts}{unknown})"


def _round_values(done: Round) -> dict[str, object]:
    return {
        "round": done.number,
        "model": done.model.prefix,
        "outcome": done.outcome,
        "reason": done.reason,
        "started_at": done.started_at.isoformat(),
        "ended_at": done.ended_at.isoformat(),
        "contributors": list(done.contributors),
        "receivers": list(done.receivers),
        "excluded": dict(done.excluded),
        "fenced": dict(done.fenced),
        "doubted": dict(done.doubted),
        "iterations": dict(done.iterations),
        "divergences": {name: dict(measures) for name, measures in done.divergences.items()},
        "spread_rel": done.spread_rel,
        "seconds": dict(done.seconds),
        "paused_s": dict(done.paused_s),
        "not_seen": list(done.not_seen),
        "downtime_s": done.downtime_s,
        "lost_iterations": dict(done.lost_iterations),
        "forecast": {name: asdict(one) for name, one in done.forecast.items()},
        "warnings": list(done.warnings),
    }
