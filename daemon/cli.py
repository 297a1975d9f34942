"""The `dfld` command: arguments, exit codes, and what a person sees when something fails.

Each command lives in a file of `daemon.commands` that adds its own arguments here; heavy imports happen inside the
command that needs them, so that `dfld --help` is instant.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from core.errors import DfldError
from daemon.commands import (
    average,
    completion,
    control,
    coverage,
    curate,
    demo,
    doctor,
    extract,
    machines,
    mask,
    meta,
    model_files,
    pack,
    photos,
    refine,
    rounds,
    service,
    sort,
    sync,
    track,
    train,
    tune,
    verify,
)
from daemon.commands.hints import config_in
from daemon.commands.output import prepared_streams, print_error
from daemon.errors import ExitCode, UsageError

EXIT_CODES = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong command line",
    ExitCode.PARTLY_FAILED: "some of several items failed",
    ExitCode.NOT_REACHABLE: "no daemon answers",
    ExitCode.NOT_READY: "the daemon is not ready",
    ExitCode.UNAVAILABLE: "a model, GPU or machine is missing",
    ExitCode.TEMPORARY: "failed for now, try again",
    ExitCode.PERMISSION: "not permitted",
    ExitCode.CONFIGURATION: "wrong configuration",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.TERMINATED: "terminated",
}

EPILOG = """exit codes:
{codes}

`dfld COMMAND --help` explains a command. Start with `dfld demo`."""


class CommandLine(argparse.ArgumentParser):
    """argparse, but a wrong command line is an error like any other: one sentence, or JSON."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help` says what it takes")


def build_parser() -> argparse.ArgumentParser:
    """Build the whole command line; docs/command_line.py makes completions and the man page from it."""
    parser = CommandLine(
        prog="dfld",
        description="Turn videos into DeepFaceLab workspaces of one person; average DeepFaceLab models between "
        "training machines.",
        epilog=EPILOG.format(codes="\n".join(f"  {code:3d}  {meaning}" for code, meaning in EXIT_CODES.items())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for module in (
        demo,
        extract,
        track,
        tune,
        photos,
        service,
        average,
        sync,
        rounds,
        machines,
        control,
        verify,
        mask,
        model_files,
        sort,
        pack,
        meta,
        curate,
        coverage,
        refine,
        train,
        doctor,
        completion,
    ):
        module.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. No error of ours or of the user's ends in a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with prepared_streams():
        return _run_guarded(given)


def _run_guarded(given: list[str]) -> int:
    try:
        _take_interrupts()
        return _run(given)
    except DfldError as problem:
        return print_error(problem, as_json="--json" in given, config=config_in(given))
    except KeyboardInterrupt as interrupt:
        number = interrupt.args[0] if interrupt.args else signal.SIGINT
        print("dfld: terminated" if number == signal.SIGTERM else "dfld: interrupted", file=sys.stderr)
        return ExitCode.TERMINATED if number == signal.SIGTERM else ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has left; python would complain again when it closes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as problem:  # one that nobody foresaw: still a sentence, with what the system says and of what
        where = f"{problem.filename}: " if problem.filename is not None else ""
        error = DfldError(f"{where}{problem.strerror or problem}")
        error.__cause__ = problem
        return print_error(error, as_json="--json" in given, config=config_in(given))


def _run(arguments: Sequence[str]) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.version:
        from importlib.metadata import version

        print(f"dfld {version('dfld')}")
        return ExitCode.OK
    if options.command is None:
        parser.print_help()
        return ExitCode.USAGE
    return int(options.run(options))


def _take_interrupts() -> None:
    """Turn Ctrl-C into KeyboardInterrupt again, now that there is somebody to catch it (see daemon.__main__)."""
    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
