"""The tree keeps its promises: imports go in the allowed directions and without cycles."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "core": (),
    "dfl": ("core",),
    "engine": ("dfl", "core"),
    "sync": ("dfl", "core"),
    "daemon": ("engine", "sync", "dfl", "core"),
}
"""Package -> the packages below it, the only others that it may import."""
PACKAGES = tuple(FLOORS)


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Every module of ours that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            base = node.module or ""
            names = [f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_package_imports_only_from_the_floors_below_it(name: str) -> None:
    known = modules()
    package = name.split(".")[0]
    for other in imported(known[name], known):
        assert other.split(".")[0] in (package, *FLOORS[package]), (
            f"{name} imports {other}; {package} may import {', '.join(FLOORS[package]) or 'nothing of ours'}"
        )


def test_no_module_imports_itself_in_a_circle() -> None:
    known = modules()
    # Imports for types alone and inside functions count too: a circle is a circle for who reads.
    graph = {name: {other for other in imported(path, known) if other in known} for name, path in known.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_only_ssh_imports_paramiko() -> None:
    users = {
        name for name, path in modules().items() if re.search(r"^\s*(from|import) paramiko", path.read_text(), re.M)
    }
    assert users <= {"sync.transports.ssh"}


def test_nothing_unpickles_without_a_closed_list() -> None:
    pattern = re.compile(
        r"pickle\.loads?\(|allow_pickle\s*=\s*True|weights_only\s*=\s*False|AutoAddPolicy|WarningPolicy"
    )
    assert [name for name, path in modules().items() if pattern.search(path.read_text())] == []


def broad_catches(name: str, path: Path) -> Iterator[str]:
    """Every function that catches an exception of any type and does not end by raising."""

    def visit(node: ast.AST, place: str) -> Iterator[str]:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            place = f"{place}.{node.name}"
        if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ast.Raise):
            kinds = {part.id for part in ast.walk(node.type) if isinstance(part, ast.Name)} if node.type else {""}
            if kinds & {"", "Exception", "BaseException"}:
                yield place
        for child in ast.iter_child_nodes(node):
            yield from visit(child, place)

    yield from visit(ast.parse(path.read_text()), name)


def test_an_exception_of_any_type_is_caught_only_where_architecture_md_says_so() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("## Where an exception of any type is caught")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("|")][2:]
    listed = {place for row in rows for place in re.findall(r"`([\w.]+)`", row)}
    assert {place for name, path in modules().items() for place in broad_catches(name, path)} == listed


def test_library_packages_never_print_or_exit() -> None:
    pattern = re.compile(r"(?<![\w.])print\(|sys\.exit\(")
    found = [n for n, p in modules().items() if pattern.search(p.read_text()) and n.split(".")[0] != "daemon"]
    assert found == []


def test_every_package_that_pyproject_lists_exists_and_none_is_forgotten() -> None:
    listed = re.search(r"^packages = \[(.*?)\]$", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    assert listed
    named = set(re.findall(r'"([\w.]+)"', listed.group(1)))
    folders = {".".join(p.parent.relative_to(ROOT).parts) for k in PACKAGES for p in (ROOT / k).rglob("*.py")}
    assert named == folders


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys; from daemon.cli import build_parser; build_parser().format_help(); "
        "heavy = {'numpy', 'cv2', 'av', 'paramiko', 'pydantic', 'onnxruntime', 'rich', 'torch'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", sorted(n for n, path in modules().items() if path.name == "__init__.py"))
def test_a_package_names_each_of_its_modules_in_its_map(package: str) -> None:
    folder = ROOT / package.replace(".", "/")
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    named = re.findall(r"^(\w+) +\S", text.partition("\n")[2], re.M)
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert sorted(named) == sorted(there - {"__init__", "__main__"})
