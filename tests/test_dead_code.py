"""Nothing is kept that nobody uses: every function, class, method, field and constant is named by code that is no test.

Names are compared, not types: what shares its name with something in use is not found. A name counts as used where it
is read, or stands in a text (`getattr`, a path, a key), outside of its own definition.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "dfl", "engine", "sync", "trainer", "daemon")
USERS = (*PACKAGES, "benchmarks", "docs", "monitoring")
CALLED_BY_LIBRARIES = {
    "collect", "describe",  # prometheus_client
    "daemon_threads", "handle_error", "log_message",  # http.server
    "request_queue_size", "server_bind",
    "emit",  # logging
    "_batch_appends", "reducer_override", "save_global",  # pickle
    "writelines",  # whatever writes to a stream
    "forward",  # torch
}  # fmt: skip
FORMATS = {
    "face_rect",
    "mirror_landmarks", "pack_faceset",
}  # fmt: skip
"""Of dfl: what DeepFaceLab does with its files and dfld does not yet, compared with DeepFaceLab's results by tests."""

TRAINER = {"AutoClip", "extra_loss", "load_part", "state_keys"}
"""Of trainer: what a run from a model's files and settings will call, compared with DeepFaceLab's results by tests."""


def definitions(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """What a module or a class defines, functions' own variables left out."""

    def inside(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                yield node.name, node
                yield from inside(node.body) if isinstance(node, ast.ClassDef) else ()
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = (one for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))
                yield from ((one.id, node) for one in names)

    yield from inside(ast.parse(path.read_text()).body)


def uses(path: Path) -> Iterator[tuple[str, int]]:
    """Every name that is read or stands in a text other than a docstring, with its line."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield from ((word, node.lineno) for word in re.findall(r"[A-Za-z_]\w*", node.value))
        elif isinstance(node, ast.MatchClass):
            yield from ((name, node.lineno) for name in node.kwd_attrs)


def unused() -> dict[str, str]:
    """Name -> where it is defined."""
    used: dict[str, list[tuple[Path, int]]] = {}
    for folder in USERS:
        for path in (ROOT / folder).rglob("*.py"):
            for name, line in uses(path):
                used.setdefault(name, []).append((path, line))
    found = {}
    for folder in PACKAGES:
        for path in (ROOT / folder).rglob("*.py"):
            for name, node in definitions(path):
                outside = (
                    p != path or not node.lineno <= line <= (node.end_lineno or 0) for p, line in used.get(name, ())
                )
                if not name.startswith("__") and not any(outside):
                    found[name] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def test_nothing_is_kept_that_nobody_uses() -> None:
    found = unused()
    known = CALLED_BY_LIBRARIES | FORMATS | TRAINER
    assert {name: place for name, place in found.items() if name not in known} == {}
    assert found.keys() >= known, "what is used now needs no line here"
