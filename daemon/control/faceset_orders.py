"""`dfld mask DIR` and `dfld curate DIR` where the service fills that workspace: its own job, as it was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from core.errors import DfldError
from core.field_types import require_field_types
from core.opening import real_path
from daemon.config.schema import Config, InboxConfig
from daemon.errors import ControlError
from daemon.jobs.kinds.curate import CurateAsked
from daemon.jobs.kinds.curate import asked_of as curation_of
from daemon.jobs.kinds.mask import MaskAsked
from daemon.jobs.kinds.mask import asked_of as masks_of
from daemon.jobs.kinds.registry import OF_CURATIONS, OF_MASKS
from daemon.ledger import jobs as table
from daemon.ledger import sides
from daemon.ledger.claims import rank
from daemon.ledger.jobs import Job, NoTransitionError
from daemon.ledger.ledger import Connection, Ledger

Asked = MaskAsked | CurateAsked
PRIORITY = 100
"""Somebody waits for it: nothing that waits goes first."""
ORDERS: Mapping[str, tuple[str, Callable[[Mapping[str, object]], Asked]]] = {
    "mask": (OF_MASKS.name, masks_of),
    "curate": (OF_CURATIONS.name, curation_of),
}
"""Request → kind of job, and what makes a value of what is asked for."""


def order(
    ledger: Ledger, config: Config, do: str, workspace: str, role: str, asked: Mapping[str, object], *, now_s: float
) -> Job | None:
    """Queue the job that does what is asked for on one side of a workspace; None where no clip of the service is done
    there, so that nothing in it is the service's.

    Raise ControlError for what cannot be asked, and where the same job runs for another request: nothing was changed.
    """
    kind, parse = ORDERS[do]
    request = json.dumps(asdict(_checked(parse, do, asked)))
    inboxes = [one for one in config.inboxes if one.role == role and _fills(one, workspace)]

    def queue(writer: Connection) -> Job | None:
        for inbox in inboxes:
            for clip in sides.done_clips(writer, str(inbox.workspace), inbox.role, inbox.name):
                place = rank(now_s, PRIORITY)
                return table.queue_about(writer, kind, clip, request=request, rank=place, now_s=now_s)
        return None

    try:
        return ledger.write(queue)
    except NoTransitionError as problem:
        raise ControlError(problem.message, hint="say it again once that job is done: `dfld jobs`") from problem


def _checked(parse: Callable[[Mapping[str, object]], Asked], do: str, asked: Mapping[str, object]) -> Asked:
    try:
        value = parse(asked)
        require_field_types(value)
    except DfldError as problem:
        raise ControlError(problem.message, hint=problem.hint) from problem
    except (LookupError, TypeError, ValueError, AttributeError) as problem:
        raise ControlError(f"what {do} is asked for makes no sense: {type(problem).__name__}: {problem}") from problem
    return value


def _fills(inbox: InboxConfig, workspace: str) -> bool:
    return real_path(inbox.workspace) == real_path(Path(workspace))
