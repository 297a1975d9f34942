"""The whole examination of `dfld doctor`: this computer, the configuration, and the machines that it names.

Each other file here examines one subject and yields diagnoses; this one calls them in reading order. Nothing is
changed: the folders that must be writable get a nameless temporary file, the machines a listing and their status
command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from daemon.config import checks
from daemon.config.load import read_config
from daemon.config.schema import Config
from daemon.doctor import folders, ledger_file, machines, models, system
from daemon.doctor.diagnosis import Diagnosis, ok, problem, warning
from daemon.errors import ConfigError

CONFIGURATION = "configuration"


def examine(config_path: Path | None) -> Iterator[Diagnosis]:
    """Look at everything; without a configuration, at what needs none. `config_path` None = there is none."""
    started = (time.time(), time.monotonic())
    config = None
    if config_path is None:
        yield warning(
            CONFIGURATION,
            "no configuration was found; inboxes, disks and machines were not looked at",
            "name one: dfld doctor --config FILE; dfld check FILE says what it means",
        )
    else:
        config, findings = _read(config_path)
        yield from findings
    yield from system.examine_user(os.geteuid())
    yield from system.examine_versions()
    yield from models.examine_runtime()
    yield from models.examine_models(config)
    if config is not None:
        yield from folders.examine_folders(config)
        yield from folders.examine_watches(config)
        yield from folders.examine_disks(config)
        yield from ledger_file.examine_ledger(config.service.state_dir)
        yield from system.examine_listening(config.http)
        yield from machines.examine_machines(config)
    yield from system.examine_unit()
    yield from system.examine_clock(started)


def _missing_files(path: Path) -> int:
    """Return for how many missing files `dfld check` and `dfld run` refuse a configuration that is right otherwise."""
    try:
        read_config(path)
    except ConfigError as error:
        return len(error.problems)
    return 0


def _read(path: Path) -> tuple[Config | None, list[Diagnosis]]:
    """Return the configuration with what is worth a word about it; None where it cannot be used."""
    try:
        # References that are missing belong to their inbox: folders reports them.
        config = read_config(path, missing_files="warn").config
        refused = _missing_files(path)
    except ConfigError as error:
        remedy = error.hint or f"correct it; dfld check {path} says the same"
        return None, [problem(CONFIGURATION, str(one), remedy) for one in error.problems]
    if refused:
        files = "1 file that it names is" if refused == 1 else f"{refused} files that it names are"
        return config, [
            problem(CONFIGURATION, f"{path} is refused as it is: {files} missing", f"dfld check {path} names them")
        ]
    found = ok(
        CONFIGURATION,
        f"{path} is good; inboxes: {len(config.inboxes)}, machines: {len(config.machines)}, "
        f"models: {len(config.syncs)}",
    )
    warned = [
        warning(CONFIGURATION, sentence, f"change it in {path}, or leave it if it is meant so")
        for sentence in checks.warnings(config)
    ]
    return config, [found, *warned] if not warned else [replace(found, sentence=f"{path} can be used"), *warned]
