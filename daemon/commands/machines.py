"""`dfld machines`: list training machines and try each, or trust the host key of one."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from daemon.commands.hints import config_of, with_config
from daemon.commands.models import SYNC_GUIDE, add_config_and_json, open_rounds, read_command_config
from daemon.commands.output import print_json, shown
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from daemon.config.schema import Config
    from daemon.config.sync_tables import MachineConfig


FINGERPRINT = re.compile(r"(?:^|SHA256:|\s)(?P<digest>[A-Za-z0-9+/]{43})=?(?:\s|$)")
"""32 bytes in base64, without its padding."""


@dataclass(frozen=True)
class MachineRow:
    """What `dfld machines` says of one machine and model."""

    machine: str
    model: str
    iteration: int | None
    saved_s: int | None
    owes: bool
    loss: str
    """What is odd about its losses; empty where nothing is."""
    error: str
    hint: str


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command about machines."""
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
    add_config_and_json(machines, run_machines)


def run_machines(options: argparse.Namespace) -> int:
    """List machines, or take the host key of one."""
    config = read_command_config(options)
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

    found: list[MachineRow] = []
    for settings in config.syncs:
        with open_rounds(config, settings, quiet=True) as rounds:
            outlook = Watch(rounds, stage_table_of(settings)).observe()
            for name in settings.machines:
                seen, error = outlook.machines.get(name), outlook.failed.get(name)
                found.append(
                    MachineRow(
                        machine=name,
                        model=settings.name,
                        iteration=seen.history.iteration if seen else None,
                        saved_s=seen.saved_s if seen else None,
                        owes=name in outlook.owing,
                        loss=what_is_odd(seen.history.last_sums(ROWS_COMPARED)) if seen else "",
                        error=with_config(error.message, config_of(options)) if error else "",
                        hint=with_config(error.hint, config_of(options)) if error else "",
                    )
                )
    if options.json:
        print_json([asdict(row) for row in found])
    elif not found:
        print("no [[sync]] names a machine; docs/sync-guide.md says how to set one up")
    for row in [] if options.json else found:
        state = row.error or f"iteration {row.iteration}" + (", owes a round" if row.owes else "")
        state += f", {row.loss}" if row.loss and not row.error else ""
        print(shown(f"{row.machine:16} {row.model:20} {state}"))
        if row.hint:
            print(shown(f"  → {row.hint}"))
    return ExitCode.PARTLY_FAILED if any(row.error for row in found) else ExitCode.OK
