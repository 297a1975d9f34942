"""The example, the JSON Schema and the page of config.toml, made from the schema that checks the file.

`daemon.generated_files` writes them.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from daemon.config.load import config_adapter, sidecar_adapter
from daemon.config.schema import Config, SidecarConfig
from daemon.config.schema_nodes import Node, resolved, table_of
from daemon.config.values import format_duration, format_size

SCHEMA_FILE = "docs/config.schema.json"
COMMENT_WIDTH = 118
UNITS: Mapping[str, Callable[[float], str]] = {
    "duration": format_duration,
    "size": lambda count_bytes: format_size(int(count_bytes)),
}
PATTERNS = {
    "duration": r"^\s*\d{1,9}(\.\d{1,6})?\s*(ms|s|m|h|d)\s*$",
    "size": r"^\s*\d{1,9}(\.\d{1,6})?\s*([KMGT]iB|[kMGT]?B)\s*$",
}
EXAMPLE_HEAD = """
The configuration of dfld. A key behind `# ` shows its default, or an example where it has none. Durations and
sizes carry their unit. Relative paths start at this file's folder. `dfld check` reads this file and reports every
problem at once. This file is generated: `make docs`.
"""
CONFIGURATION_HEAD = f"""
This page is generated from the schema that checks the file: `make docs`. Durations are written `"10s"`, `"5m"` or
`"1.5h"` (ms, s, m, h, d), sizes `"20GiB"` or `"500MB"`. Relative paths start at the folder of the file, `~` is the
home of the user that runs dfld. `dfld check` reports every problem at once, with line and key; editors that know TOML
schemas complete and check keys by [{Path(SCHEMA_FILE).name}]({Path(SCHEMA_FILE).name}).
""".strip()
EXAMPLE_TABLES = ("machine", "sync", "hook")
"""Tables that a first configuration does without: shown, but commented out."""


def json_schema() -> Node:
    """Return the JSON Schema of config.toml, for editors: Taplo, VS Code's Even Better TOML."""
    schema = _written(_schema(config_adapter))
    assert isinstance(schema, dict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "dfld configuration"}


def example_toml() -> str:
    """Return config.example.toml: every key with its meaning; those that have a default are commented out."""
    schema = _schema(config_adapter)
    lines = [f"#:schema {SCHEMA_FILE}", *_comment(EXAMPLE_HEAD.strip()), ""]
    keys = [name for name, node in _properties(schema, schema) if not _is_table(schema, node)]
    lines += [line for name in keys for line in _key_lines(schema, schema, name)]
    for name, node in _properties(schema, schema):
        if _is_table(schema, node):
            comment = "# " if name in EXAMPLE_TABLES else ""
            lines += ["", *(comment + line if line else "" for line in _table_lines(schema, node, name))]
    return "\n".join(lines) + "\n"


def configuration_page() -> str:
    """Return docs/configuration.md: every table of config.toml and of the sidecar."""
    parts = ["# Configuration", CONFIGURATION_HEAD]
    schema = _schema(config_adapter)
    parts += ["## Top of the file", _markdown_table(schema, schema)]
    for name, node in _properties(schema, schema):
        if _is_table(schema, node):
            parts += list(_sections(schema, node, name))
    sidecar = _schema(sidecar_adapter)
    parts += ["## `<video>.dfld.toml`", _description(sidecar), _markdown_table(sidecar, sidecar)]
    return "\n\n".join(parts) + "\n"


@cache
def _schema(adapter: Callable[[], TypeAdapter[Config] | TypeAdapter[SidecarConfig]]) -> Node:
    return adapter().json_schema()


def _properties(schema: Node, node: Node) -> list[tuple[str, Node]]:
    return list(table_of(schema, node).get("properties", {}).items())


def _is_table(schema: Node, node: Node) -> bool:
    return "properties" in table_of(schema, node)


def _is_array_of_tables(schema: Node, node: Node) -> bool:
    return _is_table(schema, node) and "items" in resolved(schema, node)


def _description(node: Node) -> str:
    return " ".join(str(node.get("description", "")).split())


def _table_lines(schema: Node, node: Node, name: str) -> Iterator[str]:
    brackets = ("[[", "]]") if _is_array_of_tables(schema, node) else ("[", "]")
    table = table_of(schema, node)
    yield from _comment(_description(table if "items" in resolved(schema, node) else resolved(schema, node)))
    yield brackets[0] + name + brackets[1]
    inner = _properties(schema, node)
    for key, key_node in inner:
        if not _is_table(schema, key_node):
            yield from _key_lines(schema, table, key)
    for key, key_node in inner:
        if _is_table(schema, key_node):
            yield ""
            yield from _table_lines(schema, key_node, f"{name}.{key}")


def _key_lines(schema: Node, table: Node, key: str) -> Iterator[str]:
    node = resolved(schema, table["properties"][key])
    yield from _comment(_description(node))
    required = key in table.get("required", ())
    yield f"{'' if required else '# '}{key} = {_shown_value(node)}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, COMMENT_WIDTH - 4)]


def _shown_value(node: Node) -> str:
    """Return a default as TOML; where there is none, or an empty one, the example."""
    if node.get("default") not in (None, "", []) or "examples" not in node:
        return _toml(_default_text(node))
    return _toml(node["examples"][0])


def _default_text(node: Node) -> object:
    default = node.get("default")
    if default is None and _auto(node):
        return "auto"
    unit = UNITS.get(node.get("format", ""))
    return unit(default) if unit and isinstance(default, int | float) else default


def _auto(node: Node) -> bool:
    return any(option.get("const") == "auto" for option in node.get("anyOf", ()))


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)


def _sections(schema: Node, node: Node, name: str) -> Iterator[str]:
    heading = f"[[{name}]]" if _is_array_of_tables(schema, node) else f"[{name}]"
    table = table_of(schema, node)
    yield f"## `{heading}`"
    own = resolved(schema, node)
    text = _description(table) if "items" in own else _description(own) or _description(table)
    if text:
        yield text
    yield _markdown_table(schema, table)
    for key, inner in _properties(schema, node):
        if _is_table(schema, inner):
            yield from _sections(schema, inner, f"{name}.{key}")


def _markdown_table(schema: Node, table: Node) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, raw in table["properties"].items():
        node = resolved(schema, raw)
        if not _is_table(schema, raw):
            default = "**required**" if key in table.get("required", ()) else _default_cell(node)
            cells = (f"`{key}`", _kind_text(node), default, _description(node))
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _default_cell(node: Node) -> str:
    value = _default_text(node)
    return "–" if value is None else f"`{_toml(value)}`"


def _kind_text(node: Node) -> str:
    if "enum" in node:
        return " | ".join(f"`{one}`" for one in node["enum"])
    if _auto(node):
        return '`"auto"` or number'
    if node.get("type") == "array":
        return f"list of {_kind_text(node['items'])}"
    names = {"boolean": "true | false", "integer": "whole number", "number": "number", "string": "text"}
    text = str(node.get("format") or names.get(str(node.get("type")), "text"))
    low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum")
    if low is not None:
        text += f", {'more than ' if 'exclusiveMinimum' in node else 'from '}{low:g}"
    return text + (f" to {high:g}" if high is not None else "")


def _written(value: object) -> object:
    """Return a JSON Schema as the file is written: units in defaults, no defaults for whole tables."""
    if isinstance(value, list):
        return [_written(one) for one in value]
    if not isinstance(value, dict):
        return value
    node: Node = {key: _written(one) for key, one in value.items() if key not in ("ge", "gt", "le", "lt")}
    if isinstance(node.get("default"), dict) or "$ref" in node.get("items", ()):
        node.pop("default", None)
    unit = value.get("format")
    if isinstance(unit, str) and unit in UNITS:
        node["pattern"] = PATTERNS[unit]
        node.pop("format")
        if "default" in node:
            node["default"] = UNITS[unit](value["default"])
    if "default" in node and node["default"] is None:
        del node["default"]
    if isinstance(node.get("title"), str) and re.search(r"[a-z]", node["title"]):
        del node["title"]  # pydantic's own: the key in capitals
    return node
