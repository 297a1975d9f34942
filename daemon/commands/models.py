"""The model that a command names by its [[sync]], and its rounds, opened for as long as the command runs."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import shown
from daemon.commands.service import CONFIG_PLACES
from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.config.schema import Config
    from daemon.config.sync_tables import SyncConfig
    from sync.journal.lines import Line
    from sync.rounds.round_work import Waiting
    from sync.rounds.rounds import Rounds

SYNC_GUIDE = "docs/sync-guide.md says how to set up machines and models"


def add_stopped_option(parser: argparse.ArgumentParser) -> None:
    """Add the operator's word that trainers are stopped."""
    parser.add_argument(
        "--trainers-are-stopped", action="store_true",
        help='your word for machines that cannot say (control = "none" without status)',
    )  # fmt: skip


def add_config_and_json(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    """Add what all commands about models take; `run` does the command."""
    parser.add_argument(
        "--config", type=path_argument, metavar="FILE",
        help=f"configuration (default: {' or '.join(str(place) for place in CONFIG_PLACES)})",
    )  # fmt: skip
    add_json_option(parser)
    parser.set_defaults(run=run)


def read_command_config(options: argparse.Namespace) -> Config:
    """Read the configuration that was named, or that of the usual place. Raise UsageError where there is none."""
    from daemon.config.load import read_config

    path = options.config or next((place for place in CONFIG_PLACES if place.is_file()), None)
    if path is None:
        raise UsageError(
            f"there is no configuration at {' or '.join(str(place) for place in CONFIG_PLACES)}",
            hint="name one with --config FILE",
        )
    # Reference photos of inboxes have nothing to do with averaging.
    return read_config(path, missing_files="warn").config


def model_named(config: Config, name: str | None) -> SyncConfig:
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
def open_rounds(
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

    chosen = round_settings_of(config, settings)
    chosen = replace(chosen, trainer=replace(chosen.trainer, are_stopped=trainers_are_stopped))
    made = Rounds(chosen, stop=stop, on_progress=_print_nothing if quiet else print_progress)
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _tracebacks_on_stderr():
            yield made
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        made.close()


@contextmanager
def _tracebacks_on_stderr() -> Iterator[None]:
    """Show what nobody foresaw with its traceback, escaped: a command has no log that it could go to."""
    from daemon.log import TextFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter(for_journal=False))
    logger = logging.getLogger("core.boundary")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def print_progress(line: Line | Waiting) -> None:
    """Print one step of a round, or a wait, for a person."""
    print(shown(f"  {_progress_text(line)}"), file=sys.stderr, flush=True)


def _progress_text(line: Line | Waiting) -> str:
    """Return one step of a round as a line for a person."""
    from daemon.commands.status import duration
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
