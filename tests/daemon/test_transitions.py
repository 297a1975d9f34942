"""The states of a job: every one is reached, none is a dead end, and a crash anywhere leads back to work."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.jobs import NoTransitionError
from daemon.ledger.ledger import Ledger
from daemon.ledger.schema import MIGRATIONS
from daemon.ledger.transitions import (
    HAS_LEFT,
    ORIGINALS,
    STATES,
    TABLE,
    TO_TIDY,
    UNSUCCESSFUL,
    Action,
    JobEvent,
    Original,
    State,
    can,
    next_of,
    states_with,
)

ROOT = Path(__file__).parents[2]
NOW = 1_000_000.0
CLIP = Arrival("extract", "alice", b"clip.mp4", "video", "i1", "c" * 64, 5, NOW, "/ws", "src", ("clip",), 5)
CRASHES = (JobEvent.SERVICE_DIED, JobEvent.DIE)
BY_PEOPLE = (JobEvent.CANCEL, JobEvent.RETRY, JobEvent.REDO, JobEvent.RELEASE)


def reached(start: State | None, without: frozenset[JobEvent] = frozenset()) -> set[State]:
    """Return every state that events lead to from `start`, in any number of steps."""
    found: set[State] = set()
    ahead = [start]
    while ahead:
        before = ahead.pop()
        for (state, event), (after, _) in TABLE.items():
            if state is before and event not in without and after not in found:
                found.add(after)
                ahead.append(after)
    return found


def test_every_state_is_reached_by_a_new_job_and_every_event_and_action_occurs() -> None:
    assert reached(None) == set(State) == set(STATES)
    assert {event for _, event in TABLE} == set(JobEvent)
    assert {action for _, actions in TABLE.values() for action in actions} == set(Action)


@pytest.mark.parametrize("state", State)
def test_every_state_leads_on_and_may_end_in_done(state: State) -> None:
    assert any(after is not state for (before, _), (after, _) in TABLE.items() if before is state)
    assert State.DONE in reached(state)


@pytest.mark.parametrize("state", State)
def test_after_a_crash_in_any_state_the_work_goes_on_by_itself_unless_it_had_ended(state: State) -> None:
    for crash in CRASHES:
        after = next_of(state, crash)[0] if can(state, crash) else state
        ended = state in (State.DONE, *UNSUCCESSFUL)
        assert after is not State.RUNNING, "nobody runs it any more"
        assert ended or State.DONE in reached(after, without=frozenset(BY_PEOPLE))


def test_a_running_job_can_be_told_of_every_end_of_its_worker_and_its_service() -> None:
    ends = {JobEvent.FINISH, JobEvent.WAIT, JobEvent.FAIL, JobEvent.QUARANTINE, JobEvent.STOP, JobEvent.CANCEL}
    ends |= {*CRASHES, JobEvent.GIVE_BACK, JobEvent.LEAVE, JobEvent.FOLLOW}
    assert all(can(State.RUNNING, event) for event in ends)
    assert states_with(JobEvent.START) == (State.QUEUED, State.WAITING)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    one = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db")
    yield one
    one.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(walk=st.lists(st.sampled_from(JobEvent), max_size=40))
def test_the_ledger_takes_every_walk_through_the_table_and_refuses_every_other_step(
    ledger: Ledger, walk: list[JobEvent]
) -> None:
    class _UndoneError(Exception):
        pass

    def step(writer: object) -> None:
        job = claim(writer, CLIP, now_s=NOW, on_duplicate="skip", earlier_is_there=True).job  # type: ignore[arg-type]
        state = job.state
        for event in walk:
            if can(state, event):
                expected, actions = next_of(state, event)
                assert table.apply(writer, job.id, event, now_s=NOW) is expected  # type: ignore[arg-type]
                state = expected
                row = table.job_by_id(writer, job.id)  # type: ignore[arg-type]
                assert row is not None
                assert row.state is state
                assert (Action.NOTE_END not in actions) or row.finished_s == NOW
                assert (Action.REOPEN not in actions) or row.finished_s is None
            else:
                with pytest.raises(NoTransitionError, match=f"is {state}"):
                    table.apply(writer, job.id, event)  # type: ignore[arg-type]
        raise _UndoneError

    with pytest.raises(_UndoneError):
        ledger.write(step)


def test_a_job_that_was_forgotten_meanwhile_is_nobody_s_error(ledger: Ledger) -> None:
    assert ledger.write(lambda writer: table.apply(writer, 4711, JobEvent.FINISH)) is None


SQL_STATE = re.compile(rf"state\s*(=|!=|IN)\s*\(?'({'|'.join(State)})'|SET state\b")


OF_SOMETHING_ELSE = {
    ("health.py", "Check('running',"): "the name of a check",
    ("catalogue.py", "('done', 'failed', 'quarantined', 'cancelled')"): "values of a label",
    ("demo.py", "('done', 'failed', 'quarantined')"): "values of a label",
}
"""Words that states have, too: each with what it says there."""


def state_words(path: Path) -> Iterator[str]:
    """Yield each place where a file compares a state with a word, or writes one into SQL."""
    words = set(map(str, State))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_STATE.search(node.value):
            yield f"{path}:{node.lineno} {node.value[:60]}"
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            about_a_state = any("state" in ast.unparse(side).rpartition(".")[2] for side in sides)
            constants = {one.value for side in sides for one in ast.walk(side) if isinstance(one, ast.Constant)}
            if about_a_state and constants & words:
                yield f"{path}:{node.lineno} {ast.unparse(node)}"
        if isinstance(node, ast.keyword) and node.arg == "state" and isinstance(node.value, ast.Constant):
            yield f"{path}:{node.lineno} state={node.value.value!r}"
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)) and len(node.elts) > 1 and all(map(is_word, node.elts)):
            yield from unless_of_something_else(path, node)
        if isinstance(node, ast.Call) and any(map(is_word, node.args)):
            yield from unless_of_something_else(path, node)


def is_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in set(map(str, State))


def unless_of_something_else(path: Path, node: ast.expr) -> Iterator[str]:
    text = ast.unparse(node)
    if not any(path.name == file and text.startswith(start) for file, start in OF_SOMETHING_ELSE):
        yield f"{path}:{node.lineno} {text[:80]}"


def test_no_file_but_the_table_knows_the_words_of_states() -> None:
    files = [one for one in (ROOT / "daemon").rglob("*.py") if one.name not in ("transitions.py", "schema.py")]
    assert [place for path in files for place in state_words(path)] == []


@pytest.mark.parametrize(
    "line", ['COUNTED = ("queued", "done")', 'Clip(name, "done", 3)', 'jobs.get("queued", 0)', 'x = {"failed", "gone"}']
)
def test_words_of_states_are_seen_in_tuples_and_among_arguments(tmp_path: Path, line: str) -> None:
    (tmp_path / "file.py").write_text(line + "\n")
    assert list(state_words(tmp_path / "file.py"))


def original_words(path: Path) -> Iterator[str]:
    """Yield each place where a file compares an original with a word, sets one, or writes one into SQL."""
    words = set(map(str, Original))
    for node in ast.walk(ast.parse(path.read_text())):
        constants = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
        if isinstance(node, ast.Compare) and constants & words and "original" in ast.unparse(node):
            yield f"{path}:{node.lineno} {ast.unparse(node)}"
        if isinstance(node, ast.keyword) and node.arg == "original" and constants & words:
            yield f"{path}:{node.value.lineno} {ast.unparse(node)}"
        if isinstance(node, ast.Dict) and constants & words and '"original"' in ast.unparse(node).replace("'", '"'):
            yield f"{path}:{node.lineno} {ast.unparse(node)}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_ORIGINAL.search(node.value):
            yield f"{path}:{node.lineno} {node.value[:60]}"


SQL_ORIGINAL = re.compile(rf"original\s*(=|!=|IN)\s*\(?'({'|'.join(Original)})'")


def test_no_file_but_the_table_knows_the_words_of_originals() -> None:
    files = [one for one in (ROOT / "daemon").rglob("*.py") if one.name not in ("transitions.py", "schema.py")]
    of_a_kind = ROOT / "daemon" / "jobs" / "kinds"  # what `Ending.original` says is no word of the ledger
    assert [place for path in files if path.parent != of_a_kind for place in original_words(path)] == []


def test_an_original_is_settled_once_and_the_schema_holds_every_word() -> None:
    assert set(TO_TIDY) == {original for original, _ in ORIGINALS}
    assert not set(ORIGINALS.values()) & set(TO_TIDY), "what is settled is not on its way any more"
    assert set(HAS_LEFT) <= set(ORIGINALS.values())
    assert all(f"'{original}'" in MIGRATIONS[0] for original in Original)
