"""The steps of a round after its decision, or after it was given up: forward only, and safe to repeat.

Whatever ended the round, every trainer that was stopped for it is started again here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from core.errors import DfldError
from sync.failures import failing_alone
from sync.journal.lines import (
    Aborted,
    Closed,
    Doubted,
    Iterating,
    Released,
    Resumed,
    Swapped,
    Unfinished,
    Verified,
)
from sync.machines import MachineLink
from sync.model_files.push import StagedFile, note_given, put_in_place, round_given, state_of_exchange, unstage
from sync.rounds.round_work import RoundWork, pass_over
from sync.trainers.contract import Exchange
from sync.trainers.proof import is_enough, why_doubted
from sync.types import Outcome


def give_up(work: RoundWork, outcome: Outcome, reason: str) -> None:
    """End the round before the decision: every trainer that was stopped is started again, nothing is left of it.

    Raise nothing: what cannot be done on a machine is noted, and tried again by the next call.
    """
    work.must_end = True
    work.note(Aborted(outcome, reason))
    finish_machines(work)
    if work.journal_error is None:
        work.tools.store.forget_incoming(work.number)
        work.tools.store.forget_outgoing(work.number)


def finish_machines(work: RoundWork, *, late: bool = False) -> dict[str, DfldError]:
    """Bring the round to its end on every machine that owes something; return why it could not be, where not.

    `late`: time has passed since the decision, and a trainer may have been started meanwhile.
    """

    def finish_one(link: MachineLink) -> None:
        if work.record.decided and link.name in work.record.receivers:
            _finish(work, link, late=late)
        else:
            release(work, link)

    _, failed = work.each(sorted(work.record.owing & work.tools.links.keys()), finish_one)
    for name, error in failed.items():
        work.note(Unfinished(name, error.message))
    return failed


def _finish(work: RoundWork, link: MachineLink, *, late: bool) -> None:
    staged = work.record.staged[link.name].files
    if link.name not in work.record.swapped:
        try:
            iteration = _exchange(work, link, late=late) if staged else None
        except Exception:
            _start_on_whole_set(work, link, staged)
            raise
        work.note(Swapped(link.name, iteration))
    start_again(work, link)
    if staged and round_given(link.transport, link.places) != work.number:
        note_given(link.transport, link.places, work.number, staged)
    unstage(link.transport, link.places, work.number)
    work.note(Resumed(link.name))


def _exchange(work: RoundWork, link: MachineLink, *, late: bool) -> int | None:
    """Put the staged files in place; return the iteration of a running trainer that took them.

    `late`: the machine's own note may say that it has them already, and its trainer may run again.
    """
    if late:
        if round_given(link.transport, link.places) == work.number:
            return None
        if link.trainer.mode.stops_for_round:
            link.trainer.settle(on_wait=work.on_wait(link))
    model, line = work.tools.settings.model, work.record.staged[link.name]
    staged, sources = line.files, {part: Path(path) for part, path in line.sources.items()}
    names = tuple(model.file_name(part) for part in staged)

    def rename() -> None:
        put_in_place(link.transport, link.places, work.number, staged, sources)

    iteration = work.tried(lambda: link.trainer.take(Exchange(work.number, names, rename)))
    # Before the trainer starts: from then on its saves make the files others than those that were given.
    with failing_alone(f"machine {link.name}", pass_over, machine=link.name):  # noted again once the trainer runs
        note_given(link.transport, link.places, work.number, staged)
    return iteration


def _start_on_whole_set(work: RoundWork, link: MachineLink, staged: Mapping[str, StagedFile]) -> None:
    """Let a trainer train on whose files could not be exchanged, unless some were: a mixture must not be loaded."""
    if work.tried(lambda: state_of_exchange(link.transport, link.places, work.number, staged)) == "mixed":
        return
    start_again(work, link)


def release(work: RoundWork, link: MachineLink) -> None:
    start_again(work, link)
    unstage(link.transport, link.places, work.number)
    work.note(Released(link.name))


def start_again(work: RoundWork, link: MachineLink) -> None:
    """Let a trainer that ran before the round run again: the one place that does, for every end of a round."""
    if work.record.running.get(link.name):
        work.tried(lambda: link.trainer.resume(on_wait=work.on_wait(link)))


def verify_trainers(work: RoundWork) -> None:
    """Wait until every trainer that runs has proved that it trains on from the new weights, or has not in time."""

    def verify_one(link: MachineLink) -> None:
        if not work.record.staged[link.name].files:
            work.note(Verified(link.name, "it keeps its own weights"))
            return
        if not work.record.running.get(link.name):
            work.note(Verified(link.name, "its trainer did not run; its next start reads the new weights"))
            return
        since = work.record.taken_at.get(link.name) or work.record.iterations[link.name]
        limit_s = work.tools.settings.trainer.proof_s
        seen = _wait_until_iterating(work, link, since, limit_s)
        if work.tools.stop.is_set():
            return
        progress = link.trainer.progress(since)
        if not is_enough(progress):
            late = f"it did not go on training within {limit_s:.0f} s"
            work.note(Doubted(link.name, late if seen is None else seen))
            return
        assert progress is not None
        doubt = why_doubted(work.record.losses.get(link.name), progress.losses)
        if doubt:
            work.note(Doubted(link.name, doubt))
        else:
            work.note(Verified(link.name, f"it trains on at iteration {progress.iteration}"))

    def observe_released(link: MachineLink) -> None:
        before = work.record.iterations.get(link.name)
        before = work.prospects[link.name].iteration if before is None else before
        _wait_until_iterating(work, link, before, work.tools.settings.trainer.proof_s)

    known = work.record.verified.keys() | work.record.doubted.keys()
    # Machines that were stopped and then left out: nothing is proved of them, but how long they did not train is.
    released = work.record.stopped & work.record.released - work.record.iterating_since.keys()
    released &= work.record.iterations.keys() | work.prospects.keys()
    ask = sorted((work.record.resumed - known) | released)
    _, failed = work.each(ask, lambda link: (observe_released if link.name in released else verify_one)(link))
    for name, error in failed.items():
        if name not in released:
            work.note(Doubted(name, error.message))


def _wait_until_iterating(work: RoundWork, link: MachineLink, since: int, limit_s: float) -> str | None:
    """Wait until a trainer has trained enough beyond `since` to be judged, and note when it began to iterate.

    Return why it will not come where that is certain; None otherwise, also where the limit passed.
    """
    gone = ""

    def is_seen() -> bool:
        nonlocal gone
        progress = link.trainer.progress(since)
        if progress is not None and link.name not in work.record.iterating_since:
            for_s = _iterating_for_s(work, link, progress.iteration - since)
            work.note(Iterating(link.name, progress.iteration, for_s))
        if is_enough(progress):
            return True
        gone = link.trainer.why_gone()
        return bool(gone)

    work.on_wait(link)(link.trainer.what_proves(), limit_s)
    return gone or None if link.trainer.wait_until(is_seen, limit_s) else None


def _iterating_for_s(work: RoundWork, link: MachineLink, iterations: int) -> float:
    """For how long a trainer that is seen iterating now has been iterating since it was stopped or asked."""
    times, now = work.record.times, datetime.now(UTC)
    taken = times.get(("swapped", link.name))
    started = times.get(("resumed", link.name)) or times.get(("released", link.name))
    return link.trainer.iterating_for_s(
        iterations,
        taken_ago_s=max(0.0, (now - (taken or now)).total_seconds()),
        started_ago_s=max(0.0, (now - (started or now)).total_seconds()),
        pace_s=work.record.paces.get(link.name),
    )


def close_round(work: RoundWork, outcome: Outcome, reason: str) -> None:
    """End a decided round. Machines that still owe it keep what it needs here."""
    work.tools.store.forget_incoming(work.number)
    if not work.record.owing:
        work.tools.store.forget_outgoing(work.number)
    work.note(Closed(outcome, reason))
