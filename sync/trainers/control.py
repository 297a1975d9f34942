"""The ways in which a machine's trainer is steered, and what each of them means for a round. Pure.

`control` of a [[machine]] chooses one. What differs between them stands here, as a fact of the way, or in its trainer
(`sync.trainers.trainer`): nothing else asks for a way by its name.

    command      dfld stops the trainer (its last act is a save), files change, dfld starts it
    cooperative  a line inside the trainer saves on request, and puts staged files in place and loads them
    none         a person starts and stops it; dfld pushes only while it is proved not to run
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sync.types import Control


@dataclass(frozen=True)
class ControlMode:
    """One way of steering a trainer."""

    name: Control
    needs: tuple[tuple[str, ...], ...] = ()
    """Settings of the machine without which it does not work; of a group one is enough."""
    is_steered: bool = True
    """Whether the trainer does anything because dfld asks for it."""
    stops_for_round: bool = False
    """Whether the trainer ends before its files change, and is started again after that."""
    loads_in_place: bool = False
    """Whether a running trainer loads new weights between two iterations, by dfld's line inside it (the hook)."""

    def missing(self, setting: Callable[[str], str]) -> tuple[str, ...]:
        """Return what has to be set as well; `setting` gives the machine's value of a setting, empty where unset."""
        return tuple(group[0] for group in self.needs if not any(setting(name).strip() for name in group))


COMMAND = ControlMode("command", needs=(("stop", "pid"), ("start",), ("status",)), stops_for_round=True)
COOPERATIVE = ControlMode("cooperative", loads_in_place=True)
UNCONTROLLED = ControlMode("none", is_steered=False)
CONTROL_MODES: Mapping[Control, ControlMode] = MappingProxyType(
    {mode.name: mode for mode in (COMMAND, COOPERATIVE, UNCONTROLLED)}
)
