"""`dfld status`, `jobs`, `quarantine`, `pause`, `resume`, `drain`, `scan`, `reload`, `forget`: talking to the daemon.

Each is one request on the control socket (`daemon.control.client`), found through the configuration's state folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import print_json, shown, steerable
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from daemon.reports.jobs import RetriedJob

    Commands = _SubParsersAction[argparse.ArgumentParser]

DEFAULT_STATE_DIR = Path("/var/lib/dfld")
CONFIG_PLACES = (Path("config.toml"), Path("/etc/dfld/config.toml"))
WATCH_EVERY_S = 1.0
JOB_STATES = """states:
  queued       waits for its turn
  running      is worked on
  waiting      did not work for now (no space, a lock, a share that is away); tried again by itself
  done         finished; its faces lie in the workspace
  failed       cannot be done as things are set up; tried again when that is put right and dfld starts anew
  quarantined  the file cannot be used; `dfld quarantine` says why and puts it back
  cancelled    ended by you
  gone         the file left the inbox, changed, or was put back: if it lies there, it goes through the gate again
  skipped      its sidecar says skip = true"""


def add_commands(commands: Commands) -> None:
    status = add_control_command(commands, "status", "what the daemon is doing", run_status)
    status.add_argument("--watch", action="store_true", help="go on until Ctrl-C, once a second")

    jobs = add_control_command(commands, "jobs", "list jobs, show one, try one again, cancel one", run_jobs)
    jobs.epilog, jobs.formatter_class = JOB_STATES, argparse.RawDescriptionHelpFormatter
    jobs.add_argument("what", nargs="?", choices=("list", "show", "retry", "cancel"), default="list")
    jobs.add_argument("id", nargs="?", type=int, metavar="ID", help="number of the job; not for list")
    jobs.add_argument(
        "--replace",
        action="store_true",
        help="for retry of a done job: its faces go first; manual changes stay",
    )
    jobs.add_argument("--discard-hand-work", action="store_true", help="with --replace: manual changes go as well")
    jobs.add_argument(
        "--state", action="append", metavar="STATE", help="only jobs in this state (see below); may repeat"
    )

    quarantine = add_control_command(
        commands, "quarantine", "list files that could not be used; put one back", run_quarantine
    )
    quarantine.add_argument("what", nargs="?", choices=("list", "release"), default="list")
    quarantine.add_argument("id", nargs="?", type=int, metavar="ID", help="number of the job, for release")

    for verb, text in (
        ("pause", "stop working, at once, keeping what is done"),
        ("drain", "finish what runs, then pause"),
        ("resume", "work again after pause or drain"),
    ):
        parser = add_control_command(commands, verb, text, run_pause)
        parser.add_argument("inbox", nargs="?", metavar="INBOX", help="only this inbox (default: all)")

    scan = add_control_command(commands, "scan", "look through the inboxes now", run_scan)
    scan.add_argument("inbox", nargs="?", metavar="INBOX", help="only this inbox (default: all)")
    scan.add_argument("--dry-run", action="store_true", help="say what would become of each file; change nothing")

    add_control_command(commands, "reload", "read the configuration again, as SIGHUP does", run_reload)

    forget = add_control_command(commands, "forget", "remove everything that was made of a person", run_forget)
    forget.add_argument("name", metavar="NAME", help="the inbox whose faces, logs and ledger rows are removed")
    forget.add_argument("--yes", action="store_true", help="do not ask")


def add_control_command(
    commands: Commands, name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add a command that asks the daemon: it takes --config and --json."""
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument(
        "--config", type=path_argument, metavar="FILE",
        help=f"configuration of the daemon (default: {' or '.join(str(place) for place in CONFIG_PLACES)})",
    )  # fmt: skip
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def state_dir_of(config: Path | None) -> Path:
    """Return the state folder a configuration names, without checking the rest of it: that would take its time."""
    import tomllib

    path = config or next((place for place in CONFIG_PLACES if place.is_file()), None)
    if path is None:
        return DEFAULT_STATE_DIR
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        named = document.get("service", {}).get("state_dir")
    except (OSError, ValueError, AttributeError, RecursionError) as problem:
        raise UsageError(f"{path} cannot be read: {problem}", hint=f"dfld check {path}") from problem
    if not isinstance(named, str):
        return DEFAULT_STATE_DIR
    return (path.absolute().parent / Path(named).expanduser()).absolute()


def _ask(options: argparse.Namespace, do: str, **details: object) -> object:
    """Ask the daemon; return its answer as it came, which --json prints: a newer daemon may say more than is read."""
    from daemon.control.client import ask

    return ask(state_dir_of(options.config), do, details)


def _ask_long(options: argparse.Namespace, do: str, **details: object) -> object:
    """Ask for what goes through all pictures of a workspace."""
    from daemon.control.client import LONG_TIMEOUT_S, ask

    return ask(state_dir_of(options.config), do, details, timeout_s=LONG_TIMEOUT_S)


def run_status(options: argparse.Namespace) -> int:
    """Show the daemon's state once, or once a second; exit 5 when it is not ready."""
    from daemon.commands.status import status_text
    from daemon.reports.codec import decoded
    from daemon.reports.service import ServiceReport

    if options.watch:
        return _watch(options)
    answer = _ask(options, "status")
    status = decoded(ServiceReport, answer)
    if options.json:
        print_json(answer)
    else:
        print(status_text(status))
    return ExitCode.OK if status.is_ready else ExitCode.NOT_READY


def _watch(options: argparse.Namespace) -> int:
    """Show the state once a second until Ctrl-C: in place on a terminal, one after the other elsewhere."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from daemon.commands.status import status_text
    from daemon.reports.codec import decoded
    from daemon.reports.service import ServiceReport

    in_place = sys.stdout.isatty() and not options.json
    try:
        with (
            Live(console=Console(file=steerable(sys.stdout)), refresh_per_second=4)
            if in_place
            else nullcontext() as live
        ):
            while True:
                answer = _ask(options, "status")
                text = json.dumps(answer) if options.json else status_text(decoded(ServiceReport, answer))
                if live is not None:
                    live.update(Text(text))
                else:
                    print(text, flush=True)
                time.sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        return ExitCode.OK


def run_jobs(options: argparse.Namespace) -> int:
    """List jobs, or do something with one."""
    from daemon.commands.status import job_text, jobs_text
    from daemon.reports.codec import decoded, decoded_list
    from daemon.reports.jobs import JobDetails, JobReport, RetriedJob

    if options.what == "list":
        answer = _ask(options, "jobs", states=options.state)
    else:
        number = _number(options)
        ways = {name: True for name in ("replace", "discard_hand_work") if getattr(options, name)}
        answer = _ask_long(options, {"show": "job"}.get(options.what, options.what), id=number, **ways)
    if options.json:
        return print_json(answer)
    if options.what == "list":
        print(jobs_text(decoded_list(JobReport, answer)))
    elif options.what == "retry":
        print(_again_text(decoded(RetriedJob, answer)))
    elif options.what == "show":
        print(job_text(decoded(JobDetails, answer)))
    else:
        print(jobs_text([decoded(JobReport, answer)]))
    return ExitCode.OK


def _again_text(job: RetriedJob) -> str:
    """Return what became of a job that is to be tried again, in a sentence."""
    from daemon.ledger.transitions import State

    name = f"job {job.id}: {shown(job.path)}"
    if job.state == State.GONE:
        return f"{name} is back in inbox {job.inbox} and goes through the gate again"
    at = f"; it goes on at frame {job.next_frame}" if job.next_frame else "; it begins at the first frame"
    replaced = f"\n{shown(job.replaced)}" if job.replaced else ""
    return f"{name} is queued again{at}{replaced}"


def run_quarantine(options: argparse.Namespace) -> int:
    """List quarantined files with their reasons, or put one back into its inbox."""
    from daemon.commands.status import jobs_text
    from daemon.reports.codec import decoded, decoded_list
    from daemon.reports.jobs import JobReport

    is_list = options.what == "list"
    answer = _ask(options, "quarantine") if is_list else _ask(options, "release", id=_number(options))
    if options.json:
        return print_json(answer)
    if is_list:
        found = decoded_list(JobReport, answer)
        print(jobs_text(found) if found else "nothing is quarantined")
    else:
        job = decoded(JobReport, answer)
        print(f"job {job.id}: {shown(job.path)} is back in inbox {job.inbox} and goes through the gate again")
    return ExitCode.OK


def _number(options: argparse.Namespace) -> int:
    if options.id is None:
        raise UsageError(f"{options.command} {options.what} needs the number of a job", hint="`dfld jobs` lists them")
    return int(options.id)


def run_pause(options: argparse.Namespace) -> int:
    """Pause, drain or resume; print what is paused now."""
    from daemon.reports.codec import decoded_texts

    answer = _ask(options, options.command, inbox=options.inbox)
    if options.json:
        return print_json(answer)
    pauses = decoded_texts(answer)
    for inbox, mode in pauses.items():
        print(f"{'all inboxes' if inbox == '*' else f'inbox {inbox}'}: {'paused' if mode == 'pause' else 'draining'}")
    if not pauses:
        print("no inbox is paused")
    return ExitCode.OK


def run_scan(options: argparse.Namespace) -> int:
    """Look now, or say what a look would find."""
    from daemon.reports.codec import decoded, decoded_list
    from daemon.reports.orders import PlannedFile, ScanStarted

    answer = _ask(options, "scan", inbox=options.inbox, dry_run=options.dry_run)
    if options.json:
        return print_json(answer)
    if not options.dry_run:
        print(f"looking through {', '.join(decoded(ScanStarted, answer).inboxes)}")
        return ExitCode.OK
    found = decoded_list(PlannedFile, answer)
    for one in found:
        print(f"{one.inbox}  {one.outcome:<12}  {shown(one.path)}: {shown(one.detail)}")
    if not found:
        print("there is nothing in the inboxes")
    return ExitCode.OK


def run_reload(options: argparse.Namespace) -> int:
    """Have the configuration read again; an error in it leaves the old one in force."""
    from daemon.reports.codec import decoded
    from daemon.reports.orders import Reloaded

    changes = decoded(Reloaded, _ask(options, "reload")).changes
    if options.json:
        return print_json(changes)
    print("\n".join(map(shown, changes)) if changes else "nothing has changed")
    return ExitCode.OK


def run_forget(options: argparse.Namespace) -> int:
    """Remove what was made of a person, after asking; say what was removed and what is left to the operator."""
    if not options.yes and not _confirmed(options.name):
        raise UsageError("nothing was removed", hint="answer with the name, or give --yes")
    from daemon.reports.codec import decoded
    from daemon.reports.orders import ForgetReport

    answer = _ask_long(options, "forget", name=options.name)
    gone = decoded(ForgetReport, answer)
    outcome = ExitCode.TEMPORARY if gone.remains else ExitCode.OK
    if options.json:
        print_json(answer)
        return outcome
    for path in gone.removed:
        print(f"removed  {shown(path)}")
    print(f"removed  {gone.ledger_rows} rows of the ledger, embeddings among them")
    for path in gone.left:
        print(f"LEFT     {shown(path)} (yours: remove it yourself if it must go)")
    for path in gone.remains:
        print(f"REMAINS  {shown(path)}")
    if gone.paused:
        print(f"inbox {gone.name} is paused, or its files would be taken again: take it out of the configuration")
    if gone.remains:
        print("it is NOT done: the service goes on trying to remove what remains, and logs when that is done")
    return outcome


def _confirmed(name: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(f"This removes every face, mask, log and ledger row of {name}. Type the name to go on: ", end="", flush=True)
    return sys.stdin.readline().strip() == name
