"""dfld doctor: the training machines. Key, host key, login, SFTP, trainer, and the model files.

All machines are asked at once; each has its deadline, so that one that is off costs no more than half a minute.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Protocol

from core.errors import DfldError
from daemon.config.schema import Config
from daemon.config.sync_tables import MachineConfig, SyncConfig
from daemon.doctor.diagnosis import Diagnosis, ok, problem, warning
from daemon.machines import machine_of, model_of, trainer_settings_of
from dfl.model_files import DATA, ModelName, is_optimizer, is_weights
from sync.errors import CommandError, RemoteFileMissingError, SyncError
from sync.failures import failing_alone
from sync.places import RemotePlaces, places_of
from sync.trainers.contract import RefusedStates, TrainerSettings
from sync.trainers.control import CONTROL_MODES
from sync.trainers.trainer import trainer_of
from sync.trainers.uncontrolled import run_state_by_processes
from sync.transports.local import LocalTransport
from sync.transports.remote_command import RunsLines, has_drive, run_command
from sync.transports.sftp import FSYNC, HARD_LINK, LIMITS, POSIX_RENAME, STATVFS, SftpClient
from sync.transports.ssh.connection import SshConnection
from sync.transports.ssh.host_keys import known_keys
from sync.transports.ssh_transport import connect
from sync.types import FileStat, Machine

STALL_S = 15.0
STATUS_LIMIT_S = 30.0
ASKED_AT_ONCE = 16
STATUS_WANTED = "set `status` of its [[machine]] to a command that exits 0 while the trainer runs"
EXTENSIONS = {
    POSIX_RENAME: "without it a file is replaced in two steps",
    FSYNC: "without it a power loss on the machine may damage what was just pushed",
    HARD_LINK: "without it a snapshot is pulled between two saves of the trainer, and again when one comes in between",
    LIMITS: "without it transfers go in small pieces",
    STATVFS: "without it a full disk is noticed only while pushing",
}
"""What OpenSSH's server offers, and what is lost without it."""


def examine_machines(config: Config) -> Iterator[Diagnosis]:
    """Ask every machine of the configuration, all at once; yield in the order of the configuration."""
    if not config.machines:
        return
    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="doctor") as pool:
        for found in pool.map(lambda one: _examined(one, config.syncs), config.machines):
            yield from found


def _examined(settings: MachineConfig, syncs: Sequence[SyncConfig]) -> list[Diagnosis]:
    """Examine one machine; whatever is raised meanwhile, of any type, is that machine's trouble alone."""
    found: list[Diagnosis] = []
    subject = f"machine {settings.name}"

    def fail(failure: DfldError) -> None:
        found.append(problem(subject, failure.message, failure.hint or "dfld doctor, once more"))

    with failing_alone(subject, fail, machine=settings.name):
        found.extend(examine_machine(settings, syncs))
    return found


def examine_machine(settings: MachineConfig, syncs: Sequence[SyncConfig]) -> Iterator[Diagnosis]:
    """Examine one machine; stop at the first thing without which the rest cannot work."""
    subject, machine = f"machine {settings.name}", machine_of(settings)
    models = [sync for sync in syncs if settings.name in sync.machines]
    if machine.transfer == "local":
        yield from _files_and_trainer(subject, machine, models, LocalTransport(machine))
        return
    key_trouble = examine_key(subject, machine.key)
    if key_trouble:
        yield key_trouble
    if key_trouble and key_trouble.verdict == "problem":
        return
    try:
        with closing(SshConnection(machine, stall_s=STALL_S)) as connection:
            yield ok(subject, f"host key and login of {machine.user}@{machine.address} are good")
            if lines := known_keys(machine).passed_over_text():
                yield warning(
                    subject, f"in {machine.known_hosts} these do not count: {lines}", "correct the lines or remove them"
                )
            sftp = SftpClient(connection.open_sftp(), machine.name)
            yield judge_extensions(subject, sftp.extensions)
            yield from _files_and_trainer(subject, machine, models, _Connected(machine, connection, sftp))
    except SyncError as error:
        yield problem(subject, error.message, error.hint or "test by hand: " + _by_hand(machine))


def examine_key(subject: str, key: Path | None) -> Diagnosis | None:
    """Say what is wrong with a private key file; None when nothing is."""
    if key is None:
        return problem(subject, "no key is configured", "set `key` of its [[machine]]")
    if str(key).startswith("/run/credentials/") and not key.exists():
        return warning(
            subject,
            f"the key {key} is a systemd credential, which the service alone can see",
            "to examine the login too: systemd-run --pipe -p LoadCredential=ssh_key dfld doctor",
        )
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError as error:
        return problem(subject, f"the key {key} cannot be read: {error.strerror}", "ssh-keygen -t ed25519 -N '' -f KEY")
    if not os.access(key, os.R_OK):
        return problem(subject, f"the key {key} cannot be read by this user", f"chown dfld: {key}")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return problem(
            subject, f"the key {key} is open to other users (mode {mode:04o}); ssh refuses it", f"chmod 600 {key}"
        )
    return None


def judge_extensions(subject: str, offered: Collection[str]) -> Diagnosis:
    """Given what the SFTP server offers, say what will be missed. Pure."""
    missing = [name for name in EXTENSIONS if name not in offered]
    if not missing:
        return ok(subject, "its SFTP server offers all that dfld uses")
    lacking = "; ".join(f"{name}: {EXTENSIONS[name]}" for name in missing)
    return warning(
        subject, f"its SFTP server does not offer {lacking}", "OpenSSH 9 or newer offers it; dfld works without"
    )


def judge_late_stop(subject: str, machine: Machine) -> Diagnosis | None:
    """Say what a stop command that takes too long leaves behind where dfld cannot end it: on Windows. Pure."""
    if not CONTROL_MODES[machine.control].stops_for_round or not machine.stop or not has_drive(machine.model_dir):
        return None
    return warning(
        subject,
        f"dfld cannot end what `{machine.stop}` started when it takes too long: its machine runs Windows",
        'let the command itself end in time, or use control = "cooperative", which stops nothing',
    )


def judge_files(subject: str, model: str, prefix: str, folder: str, files: Sequence[FileStat]) -> Diagnosis:
    """Given the files of a model folder, say whether the model is there. Pure."""
    own = {file.name.removeprefix(f"{prefix}_"): file for file in files if file.name.startswith(f"{prefix}_")}
    weights = [part for part in own if is_weights(part)]
    optimizers = sum(map(is_optimizer, own))
    empty = sorted(file.name for part, file in own.items() if not file.size_bytes and (part == DATA or part in weights))
    if empty:
        return problem(
            subject,
            f"model {model}: {', '.join(empty)} in {folder} has 0 bytes",
            "its trainer was killed during a save, or the disk was full: put a backup in place (from "
            f"{prefix}_autobackups, if it makes any)",
        )
    if DATA in own and weights:
        beside = f" and {optimizers} of optimizer state" if optimizers else ""
        return ok(subject, f"model {model}: {len(weights)} weight files{beside} in {folder}")
    others = sorted({file.name.removesuffix(f"_{DATA}") for file in files if file.name.endswith(f"_{DATA}")})
    instead = f"; there are {', '.join(others[:5])}" if others else "; there is no model at all"
    return problem(
        subject,
        f"model {model}: {folder} has no {prefix}_{DATA} with weights{instead}",
        "check model_dir, name and model_class; a model that is to be given one: dfld sync init",
    )


class _Asked(RunsLines, Protocol):
    """What is asked of a machine, over SSH or in a folder of this computer."""

    def list_files(self, folder: str) -> list[FileStat]: ...


class _Connected:
    """The same on the one connection that is already open."""

    def __init__(self, machine: Machine, connection: SshConnection, sftp: SftpClient) -> None:
        self.machine = machine
        self.list_files = sftp.list_files
        self.run = connection.run


def _files_and_trainer(
    subject: str, machine: Machine, models: Sequence[SyncConfig], there: _Asked
) -> Iterator[Diagnosis]:
    folder = places_of(machine.model_dir, ModelName("", "")).model_dir  # as people write it on Windows
    try:
        files = there.list_files(folder)
    except SyncError as error:
        yield problem(
            subject, error.message, error.hint or "model_dir must be the folder with DeepFaceLab's model files"
        )
    else:
        for sync in models:
            yield judge_files(subject, sync.name, model_of(sync).prefix, folder, files)
    if not models:
        yield warning(subject, "no [[sync]] names it", "name it in the machines of a [[sync]], or leave its table out")
    yield from _trainer(subject, machine, models, there)


def _trainer(subject: str, machine: Machine, models: Sequence[SyncConfig], there: _Asked) -> Iterator[Diagnosis]:
    if late := judge_late_stop(subject, machine):
        yield late
    mode = CONTROL_MODES[machine.control]
    if mode.loads_in_place:
        for sync in models:
            yield _cooperation(subject, machine, sync, there)
    if not mode.is_steered and machine.status:
        yield ok(subject, 'control = "none": averages are pushed only while no trainer runs')
    elif not mode.is_steered:
        for sync in models:
            yield _proof_without_status(subject, machine, sync, there)
    if not machine.status:
        return
    try:
        exit_status = run_command(there, machine.status, timeout_s=STATUS_LIMIT_S).exit_status
    except CommandError as error:
        yield problem(subject, error.message, "the status command must return at once")
        return
    if exit_status in (126, 127):
        yield problem(
            subject,
            f"`{machine.status}` cannot be run there (exit status {exit_status})",
            "correct `status`, `start` and `stop` of its [[machine]]",
        )
    else:
        yield ok(subject, f"its trainer {'runs' if exit_status == 0 else 'does not run'} (`{machine.status}`)")


def _proof_without_status(subject: str, machine: Machine, sync: SyncConfig, there: _Asked) -> Diagnosis:
    """Can dfld know whether a trainer runs that it neither controls nor has a status command for?"""
    try:
        seen = run_state_by_processes(there, places_of(machine.model_dir, model_of(sync)), timeout_s=STATUS_LIMIT_S)
    except SyncError as error:
        return problem(subject, error.message, error.hint or STATUS_WANTED)
    mode = f'model {sync.name}: control = "none" without status: '
    if seen.state == "unknown":
        sentence = f"{mode}nothing proves that no trainer runs, so nothing is pushed: {seen.reason}"
        return warning(subject, sentence, f"{STATUS_WANTED}; or say --trainers-are-stopped with each round")
    judged = "a trainer runs" if seen.state == "runs" else "no trainer runs"
    return warning(subject, f"{mode}its process list says that {judged} ({seen.reason})", STATUS_WANTED)


def _cooperation(subject: str, machine: Machine, sync: SyncConfig, there: _Asked) -> Diagnosis:
    """Has the line inside the trainer ever spoken? It writes how far it is every few seconds."""
    places = places_of(machine.model_dir, model_of(sync))
    try:
        notes = [file.name for file in there.list_files(places.own)]
    except RemoteFileMissingError:
        notes = []
    except SyncError as error:
        return problem(subject, error.message, error.hint or "list the model folder by hand")
    if places.alive.rpartition("/")[2] in notes:
        gone = _why_gone(machine, places, trainer_settings_of(sync))
        if gone:
            return warning(
                subject,
                f"model {sync.name}: its trainer was started with dfld's line, and {gone}",
                "start it again, with the same line, or leave it: a round gives it the new weights while it is down",
            )
        return ok(subject, f"model {sync.name}: its trainer was started with dfld's line")
    return warning(
        subject,
        f"model {sync.name}: its trainer never gave a sign, though control is cooperative",
        f"start it with what `dfld sync hook {sync.name}` prints",
    )


def _why_gone(machine: Machine, places: RemotePlaces, settings: TrainerSettings) -> str:
    with closing(connect(machine)) as transport:
        try:
            return trainer_of(transport, places, settings, threading.Event(), RefusedStates()).why_gone()
        except SyncError:
            return ""  # what cannot be reached is reported by another examination


def _by_hand(machine: Machine) -> str:
    return f"ssh -i {machine.key} -p {machine.port} {machine.user}@{machine.address}"
