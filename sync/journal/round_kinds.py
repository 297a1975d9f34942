"""The kinds of rounds, and what each of them means for the steps of a round. Pure.

What differs between them stands here, as a fact of the kind: nothing else asks for a kind by its name. A journal holds
the name (`Planned` of `sync.journal.lines`); `ROUND_KINDS` gives the kind for it.

    average   the machines' own mean
    init      one machine's weights for all, which gives them the common start that averages need
    rollback  a kept average of an earlier round for all
    undo      to every machine what it had before a round that made most trainers worse
    dry_run   an average up to its verdict; nothing is stopped, pushed or journaled
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from sync.types import Outcome

RoundKindName = Literal["average", "init", "rollback", "undo", "dry_run"]
"""As it stands in journals, and in what the service reports."""


@dataclass(frozen=True)
class RoundKind:
    """One kind of round."""

    name: RoundKindName
    outcome: Outcome
    """How a round of it ends that came to its decision."""
    averages: bool = False
    """Whether machines' own work is merged: they need a quorum, a common start and the same options; what comes of it
    joins the model to deploy; trainers may get worse by it, and then it is undone."""
    from_machine: bool = False
    """Whether its source is a machine, whose weights and optimizer state all others are given as a new start."""
    from_round: bool = False
    """Whether its source is an earlier round, whose kept average all are given: the lineage goes on from there."""
    undoes_round: bool = False
    """Whether its source is the round that it takes back: it counts as if it had not been."""

    @property
    def names_round(self) -> bool:
        """Whether its source is the number of a round."""
        return self.from_round or self.undoes_round

    @property
    def copies_to_here(self) -> bool:
        """Whether weights are pulled and new files made on this computer; those of an undo lie here already."""
        return not self.undoes_round

    def least_machines(self, quorum: int) -> int:
        """Return how many machines it needs, given the quorum of averages; one that gives needs one that takes."""
        return 2 if self.from_machine else self.least_receivers(quorum)

    def least_receivers(self, quorum: int) -> int:
        """Return how many machines have to be sent the new weights before it may be decided."""
        return quorum if self.averages else 1


AVERAGE = RoundKind("average", "averaged", averages=True)
INIT = RoundKind("init", "initialised", from_machine=True)
ROLLBACK = RoundKind("rollback", "rolled_back", from_round=True)
UNDO = RoundKind("undo", "rolled_back", undoes_round=True)
DRY_RUN = replace(AVERAGE, name="dry_run", outcome="dry_run")
ROUND_KINDS: Mapping[RoundKindName, RoundKind] = MappingProxyType(
    {kind.name: kind for kind in (AVERAGE, INIT, ROLLBACK, UNDO, DRY_RUN)}
)
