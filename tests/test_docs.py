"""The pages of docs/ keep to the program: commands exist, links lead somewhere, quoted sentences are really printed.

And what is generated says what the code does.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from daemon.cli import build_parser
from daemon.commands.completion import GENERATED as COMMAND_LINE
from daemon.config.load import read_config, read_sidecar
from daemon.generated_files import GENERATED as CONFIGURATION
from docs.command_line import all_parsers, generated_files
from monitoring import dashboard

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("core", "daemon", "dfl", "engine", "sync", "trainer")
NAMES = [page.name for page in PAGES]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
COMMAND = re.compile(r"(?:^|\$\(|<\(|\| *)\s*(?:sudo (?:-u \w+ )?)?(?:\.venv/bin/)?dfld ([^)|>#]*)")


@pytest.fixture(params=PAGES, ids=NAMES)
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def fenced(page: Path, *languages: str) -> Iterator[str]:
    for language, text in FENCE.findall(page.read_text()):
        if language in languages:
            yield text


def test_every_command_in_a_block_is_taken_by_the_parser(page: Path) -> None:
    parser = build_parser()
    for line in "\n".join(fenced(page, "")).replace("\\\n", " ").splitlines():
        for arguments in COMMAND.findall(line):
            with contextlib.redirect_stderr(io.StringIO()) as said:
                try:
                    parser.parse_args(shlex.split(arguments))
                except SystemExit:
                    pytest.fail(f"{page.name}: dfld {arguments}: {said.getvalue()}")


def commands() -> set[str]:
    return {one.prog.removeprefix("dfld ") for one in all_parsers(build_parser())}


def test_every_command_named_in_a_sentence_exists(page: Path) -> None:
    known = commands()
    named = set(re.findall(r"`(?:\.venv/bin/)?dfld ([a-z]+)", page.read_text()))
    assert named - known == set()


def test_every_command_in_a_message_or_hint_exists() -> None:
    known = commands()
    told = {(name, word) for name, text in printed() for word in re.findall(r"(?:`|: |then )dfld ([a-z]+)", text)}
    # What is not a command but a sentence about dfld.
    verbs = {"is", "was", "runs", "has", "needs", "may", "does"}
    assert {(name, word) for name, word in told if word not in known | verbs} == set()


def test_every_file_that_adds_commands_is_in_the_command_line() -> None:
    adds = {path.stem for path in (ROOT / "daemon/commands").glob("*.py") if "\ndef add_commands(" in path.read_text()}
    table = re.search(r"for module in \((.*?)\):", (ROOT / "daemon/cli.py").read_text(), re.S)
    assert table
    assert adds == set(re.findall(r"\w+", table[1]))


@pytest.mark.parametrize("name", CONFIGURATION)
def test_generated_files_of_the_configuration_are_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == CONFIGURATION[name](), "run `make docs`"


def test_completions_and_man_page_are_up_to_date() -> None:
    there = {path.name: path.read_text(encoding="utf-8") for path in COMMAND_LINE.iterdir()}
    wanted = generated_files()
    assert {name for name in there | wanted if there.get(name) != wanted.get(name)} == set(), "run `make docs`"


def test_the_dashboard_file_is_up_to_date() -> None:
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.text(), "run `make docs`"


def test_every_test_that_contributing_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "CONTRIBUTING.md").read_text()))
    there = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert named - there == set()


def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text(), re.M)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in anchors, f"{page.name} links to {target}"


def test_every_piece_of_configuration_is_valid(page: Path, tmp_path: Path) -> None:
    for text in fenced(page, "toml"):
        path = tmp_path / "config.toml"
        path.write_text(text.replace("\n   ", "\n"))
        if ".dfld.toml" in text.partition("\n")[0]:
            read_sidecar(path, within=[tmp_path])
        else:
            read_config(path, missing_files="warn")


def test_every_file_that_is_named_exists(page: Path) -> None:
    folders = "|".join((*PACKAGES, "systemd", "monitoring", "docs", "tests", "benchmarks"))
    named = set(re.findall(rf"`((?:{folders})/[\w./@-]*)`", page.read_text()))
    assert {name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()} == set()


def test_every_module_that_a_page_names_without_its_folder_exists(page: Path) -> None:
    there = {path.name for folder in (*PACKAGES, "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", page.read_text())) - there == set()


def test_every_method_that_architecture_md_names_with_its_class_exists() -> None:
    named = re.findall(r"`([A-Z]\w+)\.(\w+)`", (ROOT / "docs/architecture.md").read_text())
    source = "\n".join(path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    bodies = dict(re.findall(r"^class (\w+)\b(.*?)(?=^\S|\Z)", source, re.M | re.S))
    assert [f"{one}.{name}" for one, name in named if not re.search(rf"\b{name}\b", bodies.get(one, ""))] == []
    assert named


WRITTEN = [
    *PAGES,
    ROOT / "CHANGELOG.md",
    *(
        path
        for folder in (*PACKAGES, "docs", "monitoring", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
    ),
]


def test_every_dotted_name_of_ours_leads_somewhere() -> None:
    name = re.compile(rf"(?<![\w./\[-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+")
    named = {(str(path.relative_to(ROOT)), found) for path in WRITTEN for found in name.findall(prose(path))}
    assert {(path, found) for path, found in named if not resolves(found)} == set()


def prose(path: Path) -> str:
    """All of a page, or the docstrings and comments of a module."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    comments = re.findall(r"(?:^|\s)#.*", text)
    values = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr)]
    return "\n".join(comments + [str(value.value) for value in values if isinstance(value, ast.Constant)])


@cache
def resolves(name: str) -> bool:
    """Whether a dotted name is a folder or module of ours, or what stands in one: class, function, constant, field."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        path = next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)
        if path is not None:
            return stands_in(tuple(parts[count:]), ast.parse(path.read_text()))
    return False


def stands_in(parts: tuple[str, ...], scope: ast.AST) -> bool:
    if not parts:
        return True
    inner = {
        node.name: node
        for node in ast.walk(scope)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node is not scope
    }
    if parts[0] in inner:
        return stands_in(parts[1:], inner[parts[0]])
    stored = {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(scope)
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store)
    }
    return len(parts) == 1 and parts[0] in stored


def sentences() -> list[str]:
    return re.findall(r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M)


def test_troubleshooting_goes_by_sentences() -> None:
    assert len(sentences()) > 40


@pytest.mark.parametrize("sentence", sentences())
def test_a_sentence_of_troubleshooting_is_really_printed(sentence: str) -> None:
    parts = [re.escape(part.strip()) for part in sentence.split("…") if part.strip()]
    pattern = re.compile(".*".join(parts), re.S)
    assert any(pattern.search(text) for _, text in printed()), sentence


@cache
def printed() -> tuple[tuple[str, str], ...]:
    """Every text in the source but docstrings, with … for what an f-string fills in: adjacent pieces are one."""
    return tuple(found for package in PACKAGES for path in (ROOT / package).rglob("*.py") for found in texts_of(path))


def texts_of(path: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = [str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values]
            yield path.name, "".join(pieces)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield path.name, node.value
