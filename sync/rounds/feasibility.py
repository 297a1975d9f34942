"""Can the round succeed at all? Asked before the first trainer is stopped; one that cannot is declared impossible here.

Pure: what is known of every machine before its trainer stops goes in, machines that stay out or a RoundError come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dfl.model_files import is_optimizer
from sync.averaging.compare import agree_on_options, agree_on_start
from sync.averaging.gates import GateSettings, refuse_cold_start
from sync.errors import RoundError
from sync.journal.history import History
from sync.journal.round_kinds import RoundKind
from sync.model_files.push import ROOM_TO_SPARE_BYTES


@dataclass(frozen=True)
class Prospect:
    """What is known of a machine before its trainer is stopped."""

    running: bool
    iteration: int
    """Of its last save."""
    options: Mapping[str, object]
    sizes: Mapping[str, int]
    """Part → bytes, of what would be pulled."""
    free_bytes: int | None
    """On the disk of its model folder; None where it does not say."""
    saved_s: int = 0
    """When its last save ended, by the machine's own clock."""
    save_took_s: int | None = None
    """From the first file of that save to the last; None where it is unknown."""


HOW_TO_UNDO = "the next call tries again; or give all machines an earlier average: dfld rollback NAME"


def refuse_hopeless(kind: RoundKind, history: History, gates: GateSettings) -> None:
    """Raise RoundError for a round of averaging that cannot succeed: no common start, a cold or a bad one."""
    if not kind.averages:
        return
    if history.to_undo:
        raise RoundError(history.to_undo.why_to_undo, hint=HOW_TO_UNDO)
    if not history.newest:
        raise RoundError(
            "the machines were never given a common start, without which an average means nothing",
            hint="dfld sync init NAME --from MACHINE gives every machine the weights of one",
        )
    cold = refuse_cold_start(history.start_iteration, gates)
    if cold:
        raise RoundError(cold)


def leave_out(kind: RoundKind, prospects: Mapping[str, Prospect], *, source: str = "") -> dict[str, str]:
    """Return machine → why it can neither be averaged nor be given anything: another network, no room.

    `source`: of an init, the machine whose weights all are given; the others' options must be its own, but that
    pretrained weights may go to machines that pretrain no more.
    """
    options = {name: one.options for name, one in prospects.items()}
    parts = sorted({part for one in prospects.values() for part in one.sizes})
    refused: dict[str, str] = {}
    if kind.averages:
        refused |= agree_on_options(options, parts).refused
    elif source in options:
        weights = [part for part in parts if not is_optimizer(part)]
        for name in options.keys() - {source}:
            pair = {one: {**options[one], "pretrain": False} for one in (name, source)}
            differs = agree_on_options(pair, weights).refused
            if name in differs:
                refused[name] = differs[name]
    for name, one in prospects.items():
        needed = sum(one.sizes.values()) + ROOM_TO_SPARE_BYTES
        if name != source and one.free_bytes is not None and one.free_bytes < needed:
            refused.setdefault(name, f"it has {one.free_bytes} bytes free, {needed} are needed")
    return refused


def check_prospects(
    kind: RoundKind,
    prospects: Mapping[str, Prospect],
    history: History,
    *,
    source: str,
    quorum: int,
    free_here: int,
    others: str,
) -> None:
    """Raise RoundError, before the first trainer is stopped, for a round that cannot succeed with these machines.

    `others`: why further machines are left out already, for the message.
    """
    needed_here = 0
    if kind.copies_to_here:
        needed_here = sum(sum(one.sizes.values()) for one in prospects.values())
        needed_here += max((sum(one.sizes.values()) for one in prospects.values()), default=0)
    if free_here < needed_here:
        raise RoundError(
            f"this computer has {max(0, free_here)} bytes to spare, the round needs {needed_here}",
            hint="free space on this computer",
        )
    if kind.from_machine and source not in prospects:
        raise RoundError(f"the weights of {source} cannot be had ({others})")
    if kind.from_machine and len(prospects) < kind.least_machines(quorum):
        raise RoundError(f"no other machine can be given these weights ({others})")
    if not kind.averages:
        if not prospects:
            raise RoundError(f"no machine takes part ({others})")
        return
    by_start = agree_on_start({name: history.digest_of(name) for name in prospects}, history.newest_digest)
    # A trainer that runs has trained on since its last save; one that rests has what it has.
    idle = {
        name: "0 iterations since the last round"
        for name in by_start.agreed
        if not prospects[name].running and prospects[name].iteration <= history.last_iteration(name)
    }
    counted = [name for name in by_start.agreed if name not in idle]
    if len(counted) < max(1, quorum):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in {**by_start.refused, **idle}.items())
        causes = "; ".join(filter(None, (others, reasons)))
        raise RoundError(f"{len(counted)} machines can be averaged, the quorum is {quorum} ({causes})")
