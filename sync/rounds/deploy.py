"""What a finished round leaves for those after it: the model to deploy, and the outer step's memory.

An average joins the exponential average of rounds; a start from one machine begins it anew. A rollback takes back what
the rejected rounds did to both: they become what they were after the round that is gone back to, so that nothing of a
rejected round is ever merged with, or steers a later outer step. Safe to call again after a kill anywhere.
"""

from __future__ import annotations

from sync.averaging.average import AverageSettings
from sync.averaging.average_model import update_deployed
from sync.journal.record import RoundRecord
from sync.rounds.store import Store


def join(store: Store, record: RoundRecord, settings: AverageSettings) -> str:
    """Let a decided round of any kind have its effect on `store`; return what is to be said of it, if anything.

    Nothing happens for a round whose weights are not kept here, and for an undo: what it undoes had not joined yet.
    """
    if record.kind.undoes_round or record.number not in store.averages():
        return ""
    deployed = store.deployed()
    source, said = record.goes_back_to, ""
    if deployed is None or deployed.number != record.number:
        said = _go_on(store, record, settings) if source is None else _go_back(store, record, source, settings)
    store.keep_state(record.number)
    return said


def _go_on(store: Store, record: RoundRecord, settings: AverageSettings) -> str:
    if record.kind.from_machine:
        store.forget_momentum()  # it says where the weights of another start were heading
    store.keep_momentum(record.number, record.averaged.momentum if record.averaged else ())
    new = store.average(record.number).files
    before = store.deployed()
    goes_on = before is not None and record.kind.averages and before.files.keys() == new.keys()
    _deploy(store, record, settings, joins=goes_on)
    return ""


def _go_back(store: Store, record: RoundRecord, source: int, settings: AverageSettings) -> str:
    if store.restore_state(source, record.number):
        return f"the model to deploy and the outer step's memory are those after round {source} again"
    store.forget_momentum()
    _deploy(store, record, settings, joins=False)
    return (
        f"what the model to deploy was after round {source} is not kept; it begins anew with that round's weights, "
        "and so does the outer step"
    )


def _deploy(store: Store, record: RoundRecord, settings: AverageSettings, *, joins: bool) -> None:
    before = store.deployed()
    made = update_deployed(
        before.files if before and joins else None,
        store.average(record.number).files,
        store.scratch("deploy"),
        settings=settings,
    )
    store.keep_deployed(record.number, {part: file.path for part, file in made.items()})
    store.forget_scratch("deploy")
