"""May a machine show this host key? Judged by known_hosts before anything is sent; all but a known one is refused."""

from __future__ import annotations

from sync.errors import ChangedHostKeyError, RevokedHostKeyError, UnknownHostKeyError
from sync.transports.ssh.known_hosts import HostKey, KnownKeys, known_hosts_name, read_known_hosts
from sync.types import Machine


def known_host_keys(machine: Machine) -> dict[str, str]:
    """Return what known_hosts holds for the machine, but for revoked keys: kind of key → key in base64.

    A second key of one kind has its line beside its kind.
    """
    found: dict[str, str] = {}
    for key in known_keys(machine).keys:
        found[f"{key.kind} (line {key.line})" if key.kind in found else key.kind] = key.base64
    return found


def known_keys(machine: Machine) -> KnownKeys:
    """Return what known_hosts says about the machine. Raise UnknownHostKeyError where it cannot be read."""
    if machine.known_hosts is None:
        return KnownKeys()
    try:
        return read_known_hosts(machine.known_hosts, machine.address, machine.port)
    except OSError as error:
        raise UnknownHostKeyError(
            f"cannot read {machine.known_hosts}: {error.strerror or error}", machine=machine.name
        ) from error


def check_host_key(shown: HostKey, machine: Machine) -> None:
    """Raise a HostKeyError unless known_hosts holds the key that the machine shows."""
    known = known_keys(machine)
    refuse_revoked(shown, machine)
    if known.holds(shown.blob):
        return
    found = f"{machine.address} port {machine.port} shows the {shown.kind} key {shown.fingerprint}"
    passed_over = f"; passed over there: {known.passed_over_text()}" if known.passed_over else ""
    if not known.keys:
        raise UnknownHostKeyError(
            f"{found}, and {machine.known_hosts} holds no key for it; nothing was sent{passed_over}",
            machine=machine.name,
            hint=f"compare the fingerprint with the machine's own, then: dfld machines trust {machine.name}",
        )
    have = ", ".join(f"{key.kind} {key.fingerprint}" for key in known.keys)
    raise ChangedHostKeyError(
        f"{found}, but {machine.known_hosts} holds {have}; nothing was sent{passed_over}",
        machine=machine.name,
        hint="if the machine was reinstalled, remove its line "
        f"(ssh-keygen -R '{known_hosts_name(machine.address, machine.port)}' -f {machine.known_hosts}) and run: "
        f"dfld machines trust {machine.name}; if not, somebody stands between",
    )


def refuse_revoked(shown: HostKey, machine: Machine) -> None:
    """Raise RevokedHostKeyError for a key that known_hosts marks as revoked."""
    if shown.blob in known_keys(machine).revoked:
        raise RevokedHostKeyError(
            f"{machine.address} port {machine.port} shows the {shown.kind} key {shown.fingerprint}, which "
            f"{machine.known_hosts} marks as revoked; nothing was sent",
            machine=machine.name,
            hint="whoever revoked it must make the machine a new host key; then: dfld machines trust " + machine.name,
        )
