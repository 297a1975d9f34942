"""`dfld run` and `dfld check`: the daemon itself, and its configuration."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import print_json, shown
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

CONFIG_PLACES = (Path("config.toml"), Path("/etc/dfld/config.toml"))


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="run the daemon",
        description="Watch the inboxes of the configuration and turn what settles there into DeepFaceLab workspaces. "
        "SIGTERM stops cleanly, SIGHUP reads the configuration again.",
    )
    run.add_argument("--config", required=True, type=path_argument, metavar="FILE", help="configuration (TOML)")
    add_json_option(run)
    run.set_defaults(run=run_daemon)
    check = commands.add_parser(
        "check",
        help="check a configuration",
        description="Read a configuration and print every problem in it with its line, or what the daemon would do.",
    )
    check.add_argument(
        "config", nargs="?", type=path_argument, metavar="CONFIG",
        help=f"configuration (default: {' or '.join(str(place) for place in CONFIG_PLACES)})",
    )  # fmt: skip
    add_json_option(check)
    check.set_defaults(run=run_check)


def run_daemon(options: argparse.Namespace) -> int:
    """Run until a signal; the exit code says why it ended."""
    from daemon.config.load import read_config
    from daemon.log import start_logging
    from daemon.service import run_service

    loaded = read_config(options.config)
    settings = loaded.config.service
    start_logging(sys.stderr, log_format="json" if options.json else settings.log_format, level=settings.log_level)
    for warning in loaded.warnings:
        logging.getLogger("dfld").warning(warning)
    code = run_service(loaded.config, config_path=options.config)
    _leave_what_was_abandoned(code)
    return code


def _leave_what_was_abandoned(code: int) -> None:
    """End the process here and now if threads are left over: Python would wait for them, however long they take.

    They wait for another machine, in a round or a poll that the stop abandoned; what they did is in the journal.
    """
    if threading.active_count() > 1:  # those of a pool are waited for even where they are daemons
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_check(options: argparse.Namespace) -> int:
    """Print what a configuration means, or all that is wrong with it."""
    from daemon.config.load import read_config

    path = options.config or next((place for place in CONFIG_PLACES if place.is_file()), None)
    if path is None:
        raise UsageError(
            f"there is no configuration at {' or '.join(str(place) for place in CONFIG_PLACES)}",
            hint="name one: dfld check FILE; config.example.toml shows every key",
        )
    loaded = read_config(path)
    inboxes = [
        {"name": inbox.name, "path": str(inbox.path), "workspace": str(inbox.workspace), "role": inbox.role,
         "backend": inbox.backend}
        for inbox in loaded.config.inboxes
    ]  # fmt: skip
    away = [
        f"inbox {inbox.name}: the folder {inbox.path} is not there; it is watched once it is"
        for inbox in loaded.config.inboxes
        if not os.path.isdir(inbox.path)  # noqa: PTH112 -- Path.is_dir raises where a folder above is closed to us
    ]
    warnings = [*loaded.warnings, *away]
    if options.json:
        return print_json({"config": str(path), "ok": True, "warnings": warnings, "inboxes": inboxes})
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    print(f"{shown(path)}: good" + (f", with {count}" if warnings else ""))
    for warning in warnings:
        print(f"  warning: {shown(warning)}")
    for inbox in inboxes:
        folders = f"{shown(inbox['path'])} → {shown(inbox['workspace'])}"
        print(f"  inbox {inbox['name']}: {folders} ({inbox['role']}, {inbox['backend']})")
    return ExitCode.OK
