"""What pydantic found, in words for the person who wrote the file.

Not for finding problems: pydantic and `daemon.config.checks` do that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from daemon.config.lines import KeyPath
from daemon.config.schema_nodes import Node, every_key, node_at
from daemon.config.values import format_duration, format_size

SHOWN_CHARS = 60
_LIMITS = {
    "greater_than_equal": ("ge", "{} or more"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "{} or less"),
    "less_than": ("lt", "less than {}"),
}
_KINDS = {
    "dataclass_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number that is neither nan nor infinite",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "path_type": "a path in quotes",
    "dict_type": "a table",
}
"""What pydantic calls its error → what a person should have written."""
PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": "a name of letters, digits, _ . - (64 at most, the first a letter or digit)",
    r"^[^/]*$": 'an ending without "/"',
    r"^[^/\\_]+$": 'a name without "/", "\\" and "_"',
    r"^[A-Za-z0-9_.:%\[\]-]{1,253}$": "a host name or an IP address",
    r"^([A-Za-z_][A-Za-z0-9_.@\\-]{0,63})?$": "the name of a user on that machine",
    r"^(https?://.*|credential:[A-Za-z0-9_.-]+)?$": 'an address of http:// or https://, or "credential:NAME"',
}
"""Every pattern of the schema in words."""


@dataclass(frozen=True)
class Finding:
    """A key, or two keys together, that cannot be used as they stand."""

    path: KeyPath
    found: str
    expected: str
    closest: str = ""


def finding_of(schema: Node, error: Mapping[str, Any]) -> Finding:
    """Given one error of pydantic, return it in this program's words: found, expected, and what was meant."""
    path: KeyPath = error["loc"]
    kind: str = error["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return _unknown_key(schema, path)
    node = node_at(schema, path)
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return Finding(path, "", f"this key{_described(node)}")
    found = shown(error["input"])
    if kind == "literal_error":
        choices = [str(choice) for choice in node.get("enum", [])]
        expected = " or ".join(f'"{choice}"' for choice in choices) or str(error["ctx"]["expected"])
        return Finding(path, found, expected, closest_to(str(error["input"]), choices))
    return Finding(path, found, _expected(kind, node, path, error))


def _unknown_key(schema: Node, path: KeyPath) -> Finding:
    name = str(path[-1])
    valid = sorted(node_at(schema, path[:-1]).get("properties", {}))
    elsewhere = next((".".join(key) for key in every_key(schema) if key[-1] == name), "")
    closest = elsewhere or closest_to(name, valid)
    return Finding(path, "an unknown key", f"one of {', '.join(valid)}", closest)


def _expected(kind: str, node: Node, path: KeyPath, error: Mapping[str, Any]) -> str:
    if kind in _LIMITS:
        name, sentence = _LIMITS[kind]
        return sentence.format(_in_unit(error["ctx"][name], node))
    if kind == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        return PATTERNS.get(pattern, f"text that matches {pattern}")
    if kind in ("tuple_type", "list_type"):
        return _array(node, path, error["input"])
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in ("too_short", "too_long"):
        limit = error["ctx"]["min_length" if kind == "too_short" else "max_length"]
        if isinstance(error["input"], str):
            return f"text of at {'least' if kind == 'too_short' else 'most'} {limit} characters"
        return f"at {'least' if kind == 'too_short' else 'most'} {limit} {'entry' if limit == 1 else 'entries'}"
    if kind in ("string_too_short", "string_too_long"):
        limit = error["ctx"]["min_length" if kind == "string_too_short" else "max_length"]
        return f"text of at {'least' if kind == 'string_too_short' else 'most'} {limit} characters"
    return str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")


def _array(node: Node, path: KeyPath, found: object) -> str:
    """Say how the array is written, by what was written in its place."""
    if "items" in node and "$ref" in node["items"]:
        return f"tables that begin with [[{'.'.join(part for part in path if isinstance(part, str))}]]"
    return f"an array, such as [{shown(found)}]" if isinstance(found, str | int | float) else "an array"


def closest_to(text: str, choices: list[str]) -> str:
    """Return the choice that `text` is a misspelling of; empty when none is near."""
    return next(iter(get_close_matches(text[:SHOWN_CHARS], choices, n=1)), "")


def _described(node: Node) -> str:
    text = str(node.get("description", "")).partition("\n")[0]
    return f" ({text.rstrip('.')})" if text else ""


def _in_unit(limit: float, node: Node) -> str:
    if node.get("format") == "duration":
        return format_duration(limit)
    return format_size(int(limit)) if node.get("format") == "size" else str(limit)


def shown(value: object) -> str:
    """Return a value of the file as it may stand in a message: on one line, shortened, harmless to a terminal."""
    if isinstance(value, str):
        text = json.dumps(value[: SHOWN_CHARS * 2])
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list):
        text = "an array"
    else:
        text = str(value)[: SHOWN_CHARS * 2]
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
