"""`dfld sync`: a model averaged between machines, now.

It works without the daemon, and beside it: a model is held by one process at a time for the length of a round.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from daemon.commands.hints import config_of, with_config
from daemon.commands.models import (
    add_config_and_json,
    add_stopped_option,
    model_named,
    open_rounds,
    read_command_config,
)
from daemon.commands.output import shown
from daemon.commands.rounds import print_round, print_unfinished, report_round
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from daemon.config.schema import Config
    from daemon.config.sync_tables import SyncConfig
    from sync.rounds.rounds import Rounds

SYNC_USAGE = """dfld sync NAME [--once | --dry-run | --watch] [--trainers-are-stopped] [--config FILE] [--json]
       dfld sync init NAME --from MACHINE [--trainers-are-stopped] [--config FILE] [--json]
       dfld sync hook NAME [--config FILE]"""
WATCH_TEXT = "watch the machines and do every round that is due, until interrupted"


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    sync = commands.add_parser(
        "sync",
        help="average a model between machines, now",
        description="dfld sync NAME: do one round for the [[sync]] of that name. "
        "dfld sync init NAME --from MACHINE: give every machine the weights of one. "
        "dfld sync hook NAME: print what to add to the command line of cooperating trainers.",
    )
    sync.usage = SYNC_USAGE
    sync.add_argument("words", nargs="+", metavar="[init|hook] NAME", help="what to do, and the model")
    what = sync.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="one round now, due or not (default)")
    what.add_argument("--dry-run", action="store_true", help="up to the verdict; stop, write and push nothing")
    what.add_argument("--watch", action="store_true", help=WATCH_TEXT)
    add_stopped_option(sync)
    sync.add_argument("--from", dest="source", metavar="MACHINE", help="with init: whose weights all are given")
    add_config_and_json(sync, run_sync)


def run_sync(options: argparse.Namespace) -> int:
    """Do what the words ask for."""
    what, name = ("round", options.words[0]) if len(options.words) == 1 else options.words[:2]
    if len(options.words) > 2 or what not in ("round", "init", "hook"):
        raise UsageError(
            f"dfld sync {' '.join(options.words)}: expected NAME, init NAME or hook NAME",
            hint="quote a name that has spaces",
        )
    config = read_command_config(options)
    settings = model_named(config, name)
    if what == "hook":
        return _print_hooks(config, settings)
    if options.trainers_are_stopped and options.watch:
        raise UsageError("--trainers-are-stopped is said for one round, not for all that --watch will do")
    with open_rounds(config, settings, quiet=options.json, trainers_are_stopped=options.trainers_are_stopped) as rounds:
        if not options.dry_run:
            print_unfinished(rounds, options)
        if what == "init":
            if not options.source:
                raise UsageError("dfld sync init needs --from MACHINE: whose weights all are given")
            return report_round(rounds.start_from(options.source), options)
        if options.dry_run:
            return report_round(rounds.try_average(), options)
        if options.watch:
            return _watch(rounds, settings, options)
        return report_round(rounds.average(), options)


def _watch(rounds: Rounds, settings: SyncConfig, options: argparse.Namespace) -> int:
    from daemon.machines import stage_table_of
    from sync.schedule.watch import Watch

    watch = Watch(rounds, stage_table_of(settings))
    rounds.recover()
    said = ""
    while not rounds.stop.is_set():
        outlook = watch.observe()
        if outlook.reason != said and not options.json:
            said = outlook.reason
            line = f"stage {outlook.stage}, every {outlook.interval} iterations: {outlook.reason}"
            print(shown(with_config(line, config_of(options))), file=sys.stderr)
        if outlook.finished:
            return ExitCode.OK
        if outlook.due or outlook.owing:
            print_round(rounds.average(), options) if outlook.due else rounds.recover()
        rounds.stop.wait(settings.poll_every_s)
    return ExitCode.OK


def _print_hooks(config: Config, settings: SyncConfig) -> int:
    """Put the hook on every cooperating machine and print the line for its trainer."""
    from daemon.machines import machine_of, model_of
    from sync.places import places_of
    from sync.trainers.control import CONTROL_MODES
    from sync.trainers.cooperating import hook_line, install_hook
    from sync.transports.ssh_transport import connect

    chosen = [machine for machine in config.machines if machine.name in settings.machines]
    cooperating = [machine for machine in chosen if CONTROL_MODES[machine.control].loads_in_place]
    if not cooperating:
        raise UsageError(f'no machine of {settings.name} has control = "cooperative"', hint="set it in its [[machine]]")
    for machine in cooperating:
        places = places_of(machine.model_dir, model_of(settings))
        transport = connect(machine_of(machine))
        try:
            install_hook(transport, places)
        finally:
            transport.close()
        print(f"# {machine.name}: add this to the trainer's command line")
        print(hook_line(places))
    return ExitCode.OK
