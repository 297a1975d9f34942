"""The states of a job, and those of its original, and what leads from one to another. Pure.

Of a job: one table, (state, event) → (state, actions). Of its original: one table, (original, event) → original.

Nothing else decides a job's next state: `daemon.ledger.jobs.apply` reads this table and carries the actions out.

    arrive → queued ─ start → running ─ finish → done
               ↑                 ├───── fail → failed            refuse → failed (its workspace is another clip's)
               │                 ├───── quarantine → quarantined
               │                 ├───── wait → waiting (may pass; not before a time) ─ start → running
               │                 ├───── leave → gone (the file left before it was done)
               └─────────────────┘ stop, die, give back, service died: at the cursor

    skip → skipped (its sidecar says so)       cancel → cancelled (by an operator)

No state is final: what ended is begun again by a person (retry, redo, release), by the same content that arrives once
more (return, replace), or by the service once the set-up may be right (set-up changed).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a job is; the ledger keeps these words."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"
    GONE = "gone"
    SKIPPED = "skipped"


class Original(StrEnum):
    """Where the file of a job is, or has to go; the ledger keeps these words."""

    IN_INBOX = "in_inbox"
    """Its job has not ended, or may be done again."""
    TO_FINISH = "to_finish"
    """Done with: `on_done` of its inbox is still to be carried out."""
    KEPT = "kept"
    """It stays in the inbox for good."""
    MOVED = "moved"
    DELETED = "deleted"
    TO_QUARANTINE = "to_quarantine"
    """Given up: it is still to be moved into the quarantine."""
    QUARANTINED = "quarantined"
    MARKED = "marked"
    """Given up, in an inbox that cannot be written to: the ledger alone says that it is not to be taken again."""


class OriginalEvent(StrEnum):
    """What is done with an original once its job has ended."""

    KEEP = "keep"
    """It must not go after all."""
    MOVE = "move"
    DELETE = "delete"
    MARK = "mark"


class JobEvent(StrEnum):
    """What happens to a job."""

    ARRIVE = "arrive"
    SKIP = "skip"
    REFUSE = "refuse"
    """New, and it cannot be done as things are."""
    START = "start"
    COMMIT = "commit"
    """A finished piece is stored."""
    FINISH = "finish"
    WAIT = "wait"
    """It failed for a reason that may pass."""
    FAIL = "fail"
    QUARANTINE = "quarantine"
    STOP = "stop"
    """Its run was ended from outside: the service stops, an operator paused it, its folder is away."""
    DIE = "die"
    """Its worker died."""
    GIVE_BACK = "give back"
    """Its outcome could not be written."""
    SERVICE_DIED = "service died"
    """Found by the next start of the service."""
    LEAVE = "leave"
    """Its file left the inbox, or is another one by now."""
    FOLLOW = "follow"
    """Its file left, and the same content lies under another name."""
    CANCEL = "cancel"
    RETRY = "retry"
    """Asked for by a person; the cursor stays."""
    REDO = "redo"
    """Asked for by a person or `on_duplicate`: from its beginning."""
    RETURN = "return"
    """The same content arrived once more, and nothing came of it before."""
    REPLACE = "replace"
    """A longer copy of its recording arrived."""
    SETUP_CHANGED = "set-up changed"
    """What it failed for may be right by now."""
    RELEASE = "release"
    """Its file is put back from the quarantine, and arrives anew."""


class Action(StrEnum):
    """What changes in a job's row together with its state; `daemon.ledger.jobs` says how."""

    BEGIN_ATTEMPT = "begin attempt"
    """Whoever does an earlier one may not change the job any more."""
    NOTE_START = "note start"
    NOTE_END = "note end"
    COUNT_END = "count end"
    """In the totals that outlive the job."""
    CLEAR_REASON = "clear reason"
    CLEAR_DEATHS = "clear deaths"
    """Of workers, since something was finished in between."""
    CLEAR_FAILURES = "clear failures"
    """A clean slate: attempts, deaths, the time before which it must not start."""
    WAIT_NO_LONGER = "wait no longer"
    REOPEN = "reopen"
    """It has not ended; what an earlier retry asked for does not hold."""
    FORGET_CURSOR = "forget cursor"
    """From the beginning. The rows of its faces stay until the new run begins: who is forgotten is found by them."""
    DROP_CARRY = "drop carry"
    """It holds embeddings and a thumbnail, and an ended clip is never resumed."""
    ORIGINAL_IN_INBOX = "original in inbox"
    ORIGINAL_TO_QUARANTINE = "original to quarantine"


UNFINISHED = (State.QUEUED, State.RUNNING, State.WAITING)
UNSUCCESSFUL = (State.FAILED, State.QUARANTINED, State.CANCELLED, State.GONE, State.SKIPPED)
STATES = (*UNFINISHED, State.DONE, *UNSUCCESSFUL)

_AGAIN = (Action.CLEAR_REASON, Action.CLEAR_FAILURES, Action.REOPEN)
_FROM_THE_BEGINNING = (*_AGAIN, Action.FORGET_CURSOR, Action.ORIGINAL_IN_INBOX)
_BEGUN = (Action.BEGIN_ATTEMPT, Action.NOTE_START, Action.CLEAR_REASON)

TABLE: Mapping[tuple[State | None, JobEvent], tuple[State, tuple[Action, ...]]] = MappingProxyType(
    {
        (None, JobEvent.ARRIVE): (State.QUEUED, ()),
        (None, JobEvent.SKIP): (State.SKIPPED, (Action.NOTE_END,)),
        (None, JobEvent.REFUSE): (State.FAILED, (Action.NOTE_END,)),
        (State.QUEUED, JobEvent.START): (State.RUNNING, _BEGUN),
        (State.WAITING, JobEvent.START): (State.RUNNING, _BEGUN),
        (State.WAITING, JobEvent.SERVICE_DIED): (State.WAITING, (Action.WAIT_NO_LONGER,)),
        (State.RUNNING, JobEvent.COMMIT): (State.RUNNING, (Action.CLEAR_DEATHS,)),
        (State.RUNNING, JobEvent.FINISH): (State.DONE, (Action.NOTE_END, Action.COUNT_END, Action.DROP_CARRY)),
        (State.RUNNING, JobEvent.WAIT): (State.WAITING, ()),
        (State.RUNNING, JobEvent.FAIL): (
            State.FAILED,
            (Action.NOTE_END, Action.COUNT_END, Action.ORIGINAL_IN_INBOX),
        ),
        (State.RUNNING, JobEvent.QUARANTINE): (
            State.QUARANTINED,
            (Action.NOTE_END, Action.COUNT_END, Action.ORIGINAL_TO_QUARANTINE),
        ),
        (State.RUNNING, JobEvent.STOP): (State.QUEUED, ()),
        (State.RUNNING, JobEvent.DIE): (State.QUEUED, ()),
        (State.RUNNING, JobEvent.GIVE_BACK): (State.QUEUED, ()),
        (State.RUNNING, JobEvent.SERVICE_DIED): (State.QUEUED, ()),
        (State.RUNNING, JobEvent.FOLLOW): (State.QUEUED, ()),
        (State.RUNNING, JobEvent.LEAVE): (State.GONE, (Action.NOTE_END,)),
        **{(state, JobEvent.CANCEL): (State.CANCELLED, (Action.NOTE_END,)) for state in UNFINISHED},
        **{
            (state, JobEvent.RETRY): (State.QUEUED, _AGAIN)
            for state in (State.QUEUED, State.WAITING, State.FAILED, State.CANCELLED, State.GONE, State.SKIPPED)
        },
        **{
            (state, JobEvent.REDO): (State.QUEUED, _FROM_THE_BEGINNING)
            for state in (State.QUEUED, State.WAITING, State.DONE, *UNSUCCESSFUL)
            if state is not State.QUARANTINED
        },
        **{(state, JobEvent.RETURN): (State.QUEUED, (*_AGAIN, Action.ORIGINAL_IN_INBOX)) for state in UNSUCCESSFUL},
        (State.DONE, JobEvent.REPLACE): (State.QUEUED, _FROM_THE_BEGINNING),
        (State.FAILED, JobEvent.SETUP_CHANGED): (State.QUEUED, _AGAIN),
        (State.QUARANTINED, JobEvent.RELEASE): (State.GONE, (*_AGAIN, Action.ORIGINAL_IN_INBOX)),
    }
)


ORIGINALS: Mapping[tuple[Original, OriginalEvent], Original] = MappingProxyType(
    {
        (Original.TO_FINISH, OriginalEvent.KEEP): Original.KEPT,
        (Original.TO_FINISH, OriginalEvent.MOVE): Original.MOVED,
        (Original.TO_FINISH, OriginalEvent.DELETE): Original.DELETED,
        (Original.TO_QUARANTINE, OriginalEvent.KEEP): Original.KEPT,
        (Original.TO_QUARANTINE, OriginalEvent.MOVE): Original.QUARANTINED,
        (Original.TO_QUARANTINE, OriginalEvent.MARK): Original.MARKED,
    }
)
"""What becomes of an original; how one comes to be in the inbox or on its way, the actions of `TABLE` say."""

TO_TIDY = tuple(dict.fromkeys(original for original, _ in ORIGINALS))
"""Something is still to be done with the original."""
HAS_LEFT = (Original.MOVED, Original.DELETED, Original.QUARANTINED)
"""The original is not in the inbox any more."""


def next_of(state: State | None, event: JobEvent) -> tuple[State, tuple[Action, ...]]:
    """Return where the event leads from a state (None: a new job), and what changes with it. Raise KeyError."""
    return TABLE[state, event]


def can(state: State, event: JobEvent) -> bool:
    """Say whether the event may happen to a job in this state."""
    return (state, event) in TABLE


def states_with(event: JobEvent) -> tuple[State, ...]:
    """Return every state that the event leads out of."""
    return tuple(state for state, one in TABLE if one is event and state is not None)


def sql_list(*words: State | Original) -> str:
    """Return states, or originals, as they stand behind IN in SQL: `('queued', 'waiting')`."""
    return "(" + ", ".join(f"'{word}'" for word in words) + ")"
