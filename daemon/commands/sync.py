"""`dfld sync`, `rounds`, `rollback`, `machines`: averaging by hand, looking at rounds, trusting machines.

These work without the daemon, and beside it: a model is held by one process at a time for the length of a round.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from daemon.commands.hints import config_of, with_config
from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import print_json, shown
from daemon.commands.service import CONFIG_PLACES
from daemon.commands.status import duration
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from daemon.config.schema import Config
    from daemon.config.sync_tables import MachineConfig, SyncConfig
    from sync.journal.lines import Line
    from sync.journal.record import RoundRecord
    from sync.rounds.round_work import Waiting
    from sync.rounds.rounds import Rounds
    from sync.types import Forecast, Round

SYNC_USAGE = """dfld sync NAME [--once | --dry-run | --watch] [--trainers-are-stopped] [--config FILE] [--json]
       dfld sync init NAME --from MACHINE [--trainers-are-stopped] [--config FILE] [--json]
       dfld sync hook NAME [--config FILE]"""
WATCH_TEXT = "watch the machines and do every round that is due, until interrupted"
FINGERPRINT = re.compile(r"(?:^|SHA256:|\s)(?P<digest>[A-Za-z0-9+/]{43})=?(?:\s|$)")
"""32 bytes in base64, without its padding."""
SYNC_GUIDE = "docs/sync-guide.md says how to set up machines and models"
OUTCOME_EXIT = {
    "held": ExitCode.TEMPORARY,
    "aborted": ExitCode.TEMPORARY,
    "undone": ExitCode.FAILED,
    "not_undone": ExitCode.FAILED,
}


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of synchronisation."""
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
    _add_word(sync)
    sync.add_argument("--from", dest="source", metavar="MACHINE", help="with init: whose weights all are given")
    _add_shared(sync, run_sync)

    rounds = commands.add_parser("rounds", help="list rounds, or tell one", description="What rounds did, and why.")
    rounds.add_argument("what", nargs="?", choices=("list", "show"), default="list", help="list (default) or show")
    rounds.add_argument(
        "number", nargs="?", type=int, metavar="ROUND", help="with show: its number (default: the last)"
    )
    rounds.add_argument("--name", metavar="NAME", help="the model, where the configuration has several")
    _add_shared(rounds, run_rounds)

    rollback = commands.add_parser(
        "rollback", help="give machines an earlier average",
        description="Push the kept average of an earlier round to every machine, as a round of its own.",
    )  # fmt: skip
    rollback.add_argument("name", metavar="NAME", help="the model")
    rollback.add_argument("number", nargs="?", type=int, metavar="ROUND", help="default: the one before the newest")
    _add_word(rollback)
    _add_shared(rollback, run_rollback)

    machines = commands.add_parser(
        "machines", help="list training machines, or trust one",
        description="dfld machines: list them and try each. dfld machines trust NAME: show the fingerprint of its "
        "host key, ask, and write it to known_hosts.",
    )  # fmt: skip
    machines.add_argument("what", nargs="?", choices=("list", "trust"), default="list", help="list (default) or trust")
    machines.add_argument("name", nargs="?", metavar="MACHINE", help="with trust: which one")
    machines.add_argument(
        "--fingerprint", metavar="SHA256:...", help="with trust: trust without asking if this is what it shows"
    )
    _add_shared(machines, run_machines)


def _add_word(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trainers-are-stopped", action="store_true",
        help='your word for machines that cannot tell (control = "none" without status)',
    )  # fmt: skip


def _add_shared(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument(
        "--config", type=path_argument, metavar="FILE",
        help=f"configuration (default: {' or '.join(str(place) for place in CONFIG_PLACES)})",
    )  # fmt: skip
    add_json_option(parser)
    parser.set_defaults(run=run)


# The commands.


def run_sync(options: argparse.Namespace) -> int:
    """Do what the words ask for."""
    what, name = ("round", options.words[0]) if len(options.words) == 1 else options.words[:2]
    if len(options.words) > 2 or what not in ("round", "init", "hook"):
        raise UsageError(
            f"dfld sync {' '.join(options.words)}: expected NAME, init NAME or hook NAME",
            hint="quote a name that has spaces",
        )
    config = _config(options)
    settings = _model(config, name)
    if what == "hook":
        return _print_hooks(config, settings)
    if options.trainers_are_stopped and options.watch:
        raise UsageError("--trainers-are-stopped is said for one round, not for all that --watch will do")
    with _rounds(config, settings, quiet=options.json, trainers_are_stopped=options.trainers_are_stopped) as rounds:
        if not options.dry_run:
            _tell_unfinished(rounds, options)
        if what == "init":
            if not options.source:
                raise UsageError("dfld sync init needs --from MACHINE: whose weights all are given")
            return _tell_round(rounds.start_from(options.source), options)
        if options.dry_run:
            return _tell_round(rounds.try_average(), options)
        if options.watch:
            return _watch(rounds, settings, options)
        return _tell_round(rounds.average(), options)


def run_rounds(options: argparse.Namespace) -> int:
    """List the rounds of a model, or tell all about one."""
    config = _config(options)
    with _rounds(config, _model(config, options.name), quiet=True) as rounds:
        records = rounds.records()
        if options.what == "list":
            rejected = rounds.history().rejected
            _print_list([rounds.report(record.number) for record in records], records, rejected, options)
            return ExitCode.OK
        number = options.number or (records[-1].number if records else 0)
        if number not in [record.number for record in records]:
            raise UsageError(f"there is no round {number}", hint="dfld rounds lists them")
        _print_round(rounds.report(number), options)
        return ExitCode.OK


def run_rollback(options: argparse.Namespace) -> int:
    """Give every machine an earlier average."""
    config = _config(options)
    model, word = _model(config, options.name), options.trainers_are_stopped
    with _rounds(config, model, quiet=options.json, trainers_are_stopped=word) as rounds:
        _tell_unfinished(rounds, options)
        return _tell_round(rounds.roll_back(options.number), options)


def run_machines(options: argparse.Namespace) -> int:
    """List machines, or take the host key of one."""
    config = _config(options)
    if options.what == "trust":
        chosen = next((machine for machine in config.machines if machine.name == options.name), None)
        if chosen is None:
            have = ", ".join(machine.name for machine in config.machines)
            lack = (
                f"there is no [[machine]] named {options.name!r}"
                if options.name
                else "trust needs the name of a machine"
            )
            raise UsageError(lack, hint=f"dfld machines trust NAME, of {have}" if have else SYNC_GUIDE)
        return _trust(chosen, options)
    return _list_machines(config, options)


# What they share.


def _config(options: argparse.Namespace) -> Config:
    from daemon.config.load import read_config

    path = options.config or next((place for place in CONFIG_PLACES if place.is_file()), None)
    if path is None:
        raise UsageError(
            f"there is no configuration at {' or '.join(str(place) for place in CONFIG_PLACES)}",
            hint="name one with --config FILE",
        )
    # Reference photos of inboxes have nothing to do with averaging.
    return read_config(path, missing_files="warn").config


def _model(config: Config, name: str | None) -> SyncConfig:
    """Return the [[sync]] of that name, or the only one."""
    fitting = [sync for sync in config.syncs if name in (None, sync.name, f"{sync.name}_{sync.model_class}")]
    if len(fitting) == 1:
        return fitting[0]
    if not config.syncs:
        raise UsageError("the configuration has no [[sync]], so no model is averaged", hint=SYNC_GUIDE)
    have = ", ".join(repr(f"{sync.name}_{sync.model_class}") for sync in config.syncs)
    if name is None:
        raise UsageError(f"the configuration has {len(config.syncs)} [[sync]]", hint=f"name one with --name: {have}")
    if fitting:
        raise UsageError(f"{name!r} names {len(fitting)} [[sync]]", hint=f"give the class as well: {have}")
    raise UsageError(f"there is no [[sync]] named {name!r}", hint=f"there is {have}")


@contextmanager
def _rounds(
    config: Config, settings: SyncConfig, *, quiet: bool, trainers_are_stopped: bool = False
) -> Iterator[Rounds]:
    """The rounds of a model; the first interrupt ends a round where it is safe, the second at once."""
    from daemon.machines import round_settings_of
    from daemon.state_folder import prepare_state_folder
    from sync.rounds.rounds import Rounds

    prepare_state_folder(config.service.state_dir)  # weights are a likeness: not for others to read
    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt(number)
        stop.set()
        print("dfld: ending the round where it is safe; once more to end at once", file=sys.stderr)

    told = round_settings_of(config, settings)
    told = replace(told, trainer=replace(told.trainer, are_stopped=trainers_are_stopped))
    made = Rounds(told, stop=stop, on_progress=_print_nothing if quiet else _print_progress)
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield made
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        made.close()


def _print_progress(line: Line | Waiting) -> None:
    print(shown(f"  {_progress_text(line)}"), file=sys.stderr, flush=True)


def _progress_text(line: Line | Waiting) -> str:
    """Return one step of a round as a line for a person."""
    from sync.journal.lines import Aborted, Closed, Doubted, Excluded, Iterating, Pulled, Unfinished, Verified
    from sync.rounds.round_work import Waiting

    if isinstance(line, Waiting):
        return f"{line.machine}: waiting for at most {duration(line.limit_s)}: {line.reason}"
    step = f"{line.machine}: {line.step}" if line.machine else line.step
    match line:
        case Pulled() | Iterating():
            return f"{step} (iteration {line.iteration})"
        case Excluded() | Unfinished() | Verified() | Doubted() | Aborted() | Closed():
            return f"{step} ({line.reason})" if line.reason else step
    return step


def _print_nothing(_line: Line | Waiting) -> None:
    """For --json: nothing but the answer."""


def _tell_unfinished(rounds: Rounds, options: argparse.Namespace) -> None:
    """Say which rounds an earlier dfld left, before they are brought to their end."""
    for record in rounds.records():
        if not options.json and (record.owing or not record.ended):
            of = f" on {', '.join(sorted(record.owing))}" if record.owing else ""
            print(
                shown(f"round {record.number} was left unfinished{of}; it is brought to its end first"), file=sys.stderr
            )


def _tell_round(done: Round, options: argparse.Namespace) -> int:
    _print_round(done, options)
    if done.outcome == "dry_run" and not done.contributors:  # a round would be held, and end with the same code
        return ExitCode.TEMPORARY
    return OUTCOME_EXIT.get(done.outcome, ExitCode.OK)


def _watch(rounds: Rounds, settings: SyncConfig, options: argparse.Namespace) -> int:
    from daemon.machines import stage_table_of
    from sync.schedule.watch import Watch

    watch = Watch(rounds, stage_table_of(settings))
    rounds.recover()
    told = ""
    while not rounds.stop.is_set():
        outlook = watch.look()
        if outlook.reason != told and not options.json:
            told = outlook.reason
            line = f"stage {outlook.stage}, every {outlook.interval} iterations: {outlook.reason}"
            print(shown(with_config(line, config_of(options))), file=sys.stderr)
        if outlook.finished:
            return ExitCode.OK
        if outlook.due or outlook.owing:
            _print_round(rounds.average(), options) if outlook.due else rounds.recover()
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


def _trust(settings: MachineConfig, options: argparse.Namespace) -> int:
    from daemon.machines import machine_of
    from sync.transports.ssh.connection import fetch_host_key
    from sync.transports.ssh.host_keys import known_host_keys
    from sync.transports.ssh.known_hosts import trust_host_key

    machine = machine_of(settings)
    if machine.transfer == "local" or machine.known_hosts is None:
        raise UsageError(f"machine {machine.name} is a folder on this computer; there is no key to trust")
    key = fetch_host_key(machine)
    known = known_host_keys(machine)
    if key.base64 in known.values():
        print(f"{machine.name}: {key.kind} {key.fingerprint} is trusted already ({machine.known_hosts})")
        return ExitCode.OK
    if known:
        raise UsageError(
            f"{machine.known_hosts} holds another key for {machine.name} than {key.kind} {key.fingerprint}",
            hint="if the machine was reinstalled: ssh-keygen -R "
            f"'{key.known_hosts_name}' -f {machine.known_hosts}, then try again",
        )
    print(f"{machine.name} ({machine.address} port {machine.port}) shows the {key.kind} key\n  {key.fingerprint}")
    print("Compare it with the machine's own: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    refusal = _why_not_trusted(key.fingerprint, options.fingerprint)
    if refusal:
        print(f"not trusted: {refusal}; nothing was written")
        return ExitCode.FAILED
    trust_host_key(key, machine.known_hosts)
    print(f"written to {machine.known_hosts}")
    return ExitCode.OK


def _why_not_trusted(shown_fingerprint: str, expected: str | None) -> str:
    """Compare with the expected fingerprint, or ask: on a terminal, or the other end of a pipe. Empty = trusted."""
    if expected is not None:
        wanted = fingerprint_in(expected)
        return "" if wanted == shown_fingerprint else f"that is not {wanted}, which was expected"
    print("Trust it? [yes/no] ", end="", flush=True)
    answer = sys.stdin.readline() if sys.stdin is not None else ""
    if not sys.stdin.isatty():
        print()  # nobody pressed Enter on this terminal
    if answer.strip().lower() in ("y", "yes"):
        return ""
    if not answer:
        return f"nobody answered; without a terminal: --fingerprint {shown_fingerprint}, after comparing it"
    return f"the answer was {answer.strip()!r}, expected yes"


def fingerprint_in(text: str) -> str:
    """Return the SHA256 fingerprint in what a person copied: the fingerprint alone, or a line of `ssh-keygen -l`. Pure.

    Raise UsageError where there is none, or only one of another kind (MD5).
    """
    found = FINGERPRINT.search(text)
    if found is None:
        raise UsageError(
            f"{text!r} is no SHA256 fingerprint",
            hint="the machine's own: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )
    return f"SHA256:{found['digest']}"


def _list_machines(config: Config, options: argparse.Namespace) -> int:
    """Try every machine of every model, and print how far each is."""
    from daemon.machines import stage_table_of
    from sync.schedule.watch import Watch
    from sync.trainers.proof import ROWS_COMPARED, what_is_odd

    found: list[dict[str, Any]] = []
    for settings in config.syncs:
        with _rounds(config, settings, quiet=True) as rounds:
            outlook = Watch(rounds, stage_table_of(settings)).look()
            for name in settings.machines:
                seen, error = outlook.looks.get(name), outlook.failed.get(name)
                found.append(
                    {
                        "machine": name,
                        "model": settings.name,
                        "iteration": seen.history.iteration if seen else None,
                        "saved_s": seen.saved_s if seen else None,
                        "owes": name in outlook.owing,
                        "loss": what_is_odd(seen.history.last_sums(ROWS_COMPARED)) if seen else "",
                        "error": with_config(error.message, config_of(options)) if error else "",
                        "hint": with_config(error.hint, config_of(options)) if error else "",
                    }
                )
    if options.json:
        print_json(found)
    elif not found:
        print("no [[sync]] names a machine; docs/sync-guide.md says how to set one up")
    for row in [] if options.json else found:
        told = row["error"] or f"iteration {row['iteration']}" + (", owes a round" if row["owes"] else "")
        told += f", {row['loss']}" if row["loss"] and not row["error"] else ""
        print(shown(f"{row['machine']:16} {row['model']:20} {told}"))
        if row["hint"]:
            print(shown(f"  → {row['hint']}"))
    return ExitCode.PARTLY_FAILED if any(row["error"] for row in found) else ExitCode.OK


def _print_list(
    told: list[Round], records: list[RoundRecord], rejected: Mapping[int, int], options: argparse.Namespace
) -> None:
    if options.json:
        print_json([_round_values(one) | {"rejected_by": rejected.get(one.number)} for one in told])
        return
    if not told:
        print(with_config("no rounds yet; dfld sync init NAME --from MACHINE is the first", config_of(options)))
    for one, record in zip(told, records, strict=True):
        when = one.started_at.astimezone().strftime("%Y-%m-%d %H:%M")
        by = f" (rejected by round {rejected[one.number]})" if one.number in rejected else ""
        who = ", ".join(one.contributors)
        reason = with_config(one.reason, config_of(options))
        print(shown(f"{one.number:5d}  {when}  {record.kind:8} {one.outcome:12} {who}  {reason}{by}"))


def _print_round(done: Round, options: argparse.Namespace) -> None:
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
        lines.append(f"  {name} stood still for {least}{seconds:.1f} s{detail}")
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


def _round_values(done: Round) -> dict[str, Any]:
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
