"""Whether machines train the same thing: same tensors, same options, same start.

Pure: layouts, options and hashes in, who agrees out. Equal shapes do not prove an equal network (the flags u and c
of `archi` change the function and no shape), so options count as well; and models that did not begin from one
file set have nothing to average, however alike they look. How far weights went apart is sync.averaging.divergence.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dfl.model_files import is_optimizer
from dfl.model_options import (
    GAN_OPTIONS,
    LR_PERIOD,
    NETWORK_OPTIONS,
    OPTIMIZER_OPTIONS,
    TRAINING_OPTIONS,
    learning_rate_fraction,
    plain_option,
)
from dfl.weights import TensorLayout

T = TypeVar("T")

LR_GAP = 0.5
"""A warning where one machine's rate is this part of the full rate above another's."""


@dataclass(frozen=True)
class Agreement:
    """Who agrees with whom."""

    agreed: tuple[str, ...]
    refused: Mapping[str, str]
    """Machine → what is different."""
    warnings: tuple[str, ...] = ()


def agree_on_options(options: Mapping[str, Mapping[str, object]], parts: Sequence[str]) -> Agreement:
    """Find the machines whose options make the same network and, for the parts named, the same optimizer and GAN.

    `options`: machine → options of its data.dat. `parts`: what is to be averaged, `encoder.npy`, `GAN.npy`, ….
    The largest group agrees; without one, nobody does. Differences in how they train are warned of.
    """
    names = NETWORK_OPTIONS
    names += OPTIMIZER_OPTIONS if any(map(is_optimizer, parts)) else ()
    names += GAN_OPTIONS if any(part.startswith("GAN") for part in parts) else ()
    chosen = {machine: {name: plain_option(name, own.get(name)) for name in names} for machine, own in options.items()}
    agreement = _majority(chosen, lambda values: tuple(values.items()), _name_options)
    warnings = [
        f"option {name} differs: "
        + ", ".join(f"{machine} {options[machine].get(name)!r}" for machine in agreement.agreed)
        for name in TRAINING_OPTIONS
        if len({repr(options[machine].get(name)) for machine in agreement.agreed}) > 1
    ]
    return Agreement(agreement.agreed, agreement.refused, tuple(warnings))


def warn_of_learning_rates(
    iterations: Mapping[str, int], options: Mapping[str, Mapping[str, object]]
) -> tuple[str, ...]:
    """Warn where lr_dropout lets machines learn at very different rates just before they are averaged.

    `iterations`: machine → its own iteration.
    """
    rates = {
        machine: rate
        for machine, count in iterations.items()
        if (rate := learning_rate_fraction(options[machine], count)) is not None
    }
    if len(rates) < 2 or max(rates.values()) - min(rates.values()) <= LR_GAP:
        return ()
    rates_text = ", ".join(f"{machine} at {rate:.0%}" for machine, rate in rates.items())
    return (
        f"lr_dropout moves the learning rate in waves of {LR_PERIOD} iterations, and the machines are at different "
        f"places of it ({rates_text} of the rate): the average is worth less. dfld sync init gives all one count, and "
        f"a target_iter that is a multiple of {LR_PERIOD} stops each at the same place",
    )


def agree_on_tensors(layouts: Mapping[str, Mapping[str, TensorLayout]]) -> Agreement:
    """Find the machines whose files have the same tensors: names, shapes, types and orders; offsets may differ.

    `layouts`: machine → part → layout. The largest group agrees; without one, nobody does.
    """
    described = {
        machine: {
            part: tuple(sorted((t.name, t.shape, t.dtype, t.fortran) for t in layout.tensors))
            for part, layout in sorted(parts.items())
        }
        for machine, parts in layouts.items()
    }
    return _majority(described, lambda parts: tuple(parts.items()), _name_tensors)


def agree_on_start(given: Mapping[str, str], expected: str) -> Agreement:
    """Find the machines that trained on from the weights that all were given.

    `given`: machine → sha256 of the set that it was given last, by the ledger of rounds; empty when it never was.
    `expected`: the sha256 of the set of the last round.
    """
    refused = {
        machine: "it was never given the common start (dfld sync init does that)"
        if not digest
        else f"it trained on from the weights {digest[:12]}, the others from {expected[:12]}"
        for machine, digest in given.items()
        if digest != expected
    }
    return Agreement(tuple(machine for machine in given if machine not in refused), refused)


def _majority(values: Mapping[str, T], key: Callable[[T], Hashable], difference: Callable[[T, T], str]) -> Agreement:
    """The largest group of machines with equal values; the others differ from it. A tie has no majority."""
    groups: dict[Hashable, list[str]] = {}
    for machine, value in values.items():
        groups.setdefault(key(value), []).append(machine)
    by_size = sorted(groups.values(), key=len, reverse=True)
    tie = len(by_size) > 1 and len(by_size[0]) == len(by_size[1])
    refused: dict[str, str] = {}
    for place, group in enumerate(by_size if tie else by_size[1:]):
        other = by_size[1 if tie and place == 0 else 0][0]
        for machine in group:
            refused[machine] = f"other than {other}: {difference(values[machine], values[other])}"
    return Agreement(() if tie or not by_size else tuple(by_size[0]), refused)


def _name_options(own: Mapping[str, object], others: Mapping[str, object]) -> str:
    return ", ".join(f"{name} is {own[name]!r}, not {others[name]!r}" for name in own if own[name] != others[name])


def _name_tensors(own: Mapping[str, tuple[object, ...]], others: Mapping[str, tuple[object, ...]]) -> str:
    for part in sorted(own.keys() | others.keys()):
        if part not in own or part not in others:
            return f"{part} is {'missing' if part not in own else 'in excess'}"
        if own[part] != others[part]:
            mine = sorted(set(own[part]) - set(others[part]), key=str)
            theirs = sorted(set(others[part]) - set(own[part]), key=str)
            if not mine and not theirs:
                return f"{part} has the same {len(own[part])} tensors in another order"
            count, expected = len(own[part]), len(others[part])
            what = f"{count} tensors, not {expected};" if count != expected else f"{count} tensors, among them"
            return f"{part} has {what} {mine[:1]} instead of {theirs[:1]}"
    return "nothing"
