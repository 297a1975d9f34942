"""Finding one's way in the JSON Schema of a configuration: the node of a key, the keys of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daemon.config.lines import KeyPath

Node = dict[str, Any]


def node_at(schema: Node, path: KeyPath) -> Node:
    """Return the JSON Schema of the key at `path`; an empty one where there is no such key."""
    node = resolved(schema, schema)
    for part in path:
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
        node = resolved(schema, node)
    return node


def resolved(schema: Node, node: Node) -> Node:
    """Return `node` with its $ref followed and `or null` taken off; what stands beside those wins."""
    while True:
        if "$ref" in node:
            target = schema["$defs"][node["$ref"].rpartition("/")[2]]
        elif any(option.get("type") == "null" for option in node.get("anyOf", [])):
            target = next(option for option in node["anyOf"] if option.get("type") != "null")
        else:
            return node
        node = {**target, **{key: value for key, value in node.items() if key not in ("$ref", "anyOf")}}


def every_key(schema: Node, node: Node | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key, tables first, without places in arrays: ("inbox", "extract", "output_size")."""
    node = resolved(schema, schema if node is None else node)
    for name, inner in table_of(schema, node).get("properties", {}).items():
        yield (*path, name)
        yield from every_key(schema, inner, (*path, name))


def table_of(schema: Node, node: Node) -> Node:
    """Return the table that `node` is, or that its array holds; `node` itself when it is neither."""
    node = resolved(schema, node)
    return resolved(schema, node["items"]) if "properties" in resolved(schema, node.get("items", {})) else node
