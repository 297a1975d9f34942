"""A dataclass whose fields hold what they promise passes; anything else is named by its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from core.field_types import require_field_types


@dataclass(frozen=True)
class Part:
    number: int
    word: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Whole:
    part: Part
    parts: tuple[Part, ...] = ()
    pair: tuple[float, str] = (0.0, "")
    table: Mapping[str, float | None] = field(default_factory=dict)
    text: str | None = None
    flag: bool = False


@pytest.mark.parametrize(
    "value",
    [Whole(Part(1)), Whole(Part(-(2**62)), (Part(1, "b"), Part(2)), (1, "x"), {"a": None, "b": 2}, "t", True), 5, "x"],
)
def test_what_is_as_declared_passes(value: object) -> None:
    require_field_types(value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (Whole(5), r"Whole\.part is 5"),  # type: ignore[arg-type]
        (Whole(Part("1")), r"Whole\.part\.number is '1'"),  # type: ignore[arg-type]
        (Whole(Part(True)), r"number is True"),
        (Whole(Part(2**63)), r"number is 9223372036854775808"),
        (Whole(Part(1, "c")), r"word is 'c'"),  # type: ignore[arg-type]
        (Whole(Part(1, ["a"])), r"word is \['a'\]"),  # type: ignore[arg-type]
        (Whole(Part(1), [Part(1)]), r"Whole\.parts is \["),  # type: ignore[arg-type]
        (Whole(Part(1), (Part(1), Part(None))), r"parts\[1\]\.number is None"),  # type: ignore[arg-type]
        (Whole(Part(1), (), (1.0,)), r"pair is \(1\.0,\)"),  # type: ignore[arg-type]
        (Whole(Part(1), (), (10**400, "")), r"pair\[0\] is 1000"),
        (Whole(Part(1), table={"a": "1"}), r"table\['a'\] is '1'"),  # type: ignore[dict-item]
        (Whole(Part(1), table={1: 1.0}), r"a key of Whole\.table is 1"),  # type: ignore[dict-item]
        (Whole(Part(1), text=5), r"text is 5"),  # type: ignore[arg-type]
        (Whole(Part(1), flag=1), r"flag is 1"),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_is_named_by_its_place(value: Whole, place: str) -> None:
    with pytest.raises(TypeError, match=place):
        require_field_types(value)


def test_a_type_without_a_rule_is_no_silent_pass() -> None:
    with pytest.raises(NotImplementedError, match="no rule"):
        require_field_types({1})
