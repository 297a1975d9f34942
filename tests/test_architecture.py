"""The tree keeps its promises: imports go in the allowed directions and without cycles."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "core": (),
    "dfl": ("core",),
    "engine": ("dfl", "core"),
    "sync": ("dfl", "core"),
    "trainer": ("dfl", "core"),
    "daemon": ("engine", "sync", "trainer", "dfl", "core"),
}
"""Package -> the packages below it, the only others that it may import."""
PACKAGES = tuple(FLOORS)


@cache
def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Every module of ours that a file imports, at its top or inside a function."""
    for node in ast.walk(parsed(path)):
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


def folder_of(name: str, known: dict[str, Path]) -> str:
    """The folder that a module lies in; the files in a package's own folder count each on its own."""
    parts = name.split(".")
    return name if len(parts) <= 2 or known[name].name == "__init__.py" else ".".join(parts[:-1])


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The largest sets of nodes of which each leads to every other one."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            new = graph.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found

    leads_to = {name: reached(name) for name in graph}
    return {
        frozenset(other for other in there if name in leads_to.get(other, ()))
        for name, there in leads_to.items()
        if name in there
    }


def test_no_two_folders_import_each_other() -> None:
    known = modules()
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        here = folder_of(name, known)
        others = {folder_of(other, known) for other in imported(path, known) if other in known}
        graph.setdefault(here, set()).update(others - {here})
    found = [" <-> ".join(sorted(circle)) for circle in circles(graph)]
    assert found == []


LIBRARIES = {
    "PIL": ("engine.pictures", "engine.facesets.coverage.picture"),  # letters that people like to read
    "apscheduler": ("daemon.scheduler",),
    "av": ("engine.footage", "engine.frames", "daemon.commands.demo_clip"),
    "cv2": (
        "dfl", "engine", "trainer.samples", "trainer.__main__", "daemon.commands.demo_clip", "daemon.commands.tune",
    ),
    "dlib": ("engine.backends", "engine.models"),
    "google": ("engine.models",),  # protobuf: what reading a broken ONNX file raises
    "insightface": ("engine.backends", "engine.models"),
    "numpy": ("dfl", "engine", "sync", "trainer", "daemon.commands.demo_clip"),
    "onnx": ("engine.models", "engine.masks.xseg.onnx_graph"),  # reading packs; writing XSeg as a graph
    "onnxruntime": ("engine.models",),
    "paramiko": ("sync.transports.ssh.connection",),
    "prometheus_client": ("daemon.metrics",),
    "pydantic": ("daemon.config",),
    "pydantic_core": ("daemon.config",),
    "requests": ("engine.models.packs",),
    "rich": ("daemon.commands",),
    "simplejpeg": ("engine.pictures", "trainer.samples.faces"),
    "sqlite3": ("daemon.ledger", "daemon.doctor"),
    "torch": ("sync.averaging.torch_files", "trainer"),
    "watchdog": ("daemon.inboxes.watcher",),
}  # fmt: skip
"""Library -> the only modules and packages that import it. sqlite3 is Python's own, and is held like one."""


def libraries(path: Path) -> set[str]:
    """Every library that a file imports, for types alone too."""
    nodes = list(ast.walk(parsed(path)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in names} - set(PACKAGES)
    return {root for root in roots if root in LIBRARIES or root not in sys.stdlib_module_names}


def test_a_library_is_imported_only_where_its_line_says_so() -> None:
    found = {
        (library, name)
        for name, path in modules().items()
        for library in libraries(path)
        if not any(name == place or name.startswith(f"{place}.") for place in LIBRARIES.get(library, ()))
    }
    assert found == set()


UNPICKLERS = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
MAY_IMPORT_PICKLE = {
    "dfl.pickles.dumping": {
        *("_Pickler", "PicklingError", "GLOBAL", "STACK_GLOBAL", "MARK", "APPEND", "APPENDS", "EMPTY_LIST"),
        *("LONG_BINPUT", "BINFLOAT"),
    },
    "sync.averaging.torch_files": {"UnpicklingError"},
}
"""Module -> all that it takes of pickle: what writes one, and what torch raises."""
SAFE_VALUES = {"allow_pickle": False, "weights_only": True}
TRUSTING = ("AutoAddPolicy", "WarningPolicy")
"""paramiko's ways to trust a host key on first use."""


def unsafe_loads(tree: ast.Module, taken_of_pickle: set[str]) -> Iterator[str]:
    """Everything by which a pickle of a stranger could be executed, or a stranger's host key be trusted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots = {(alias.name.split(".")[0], alias.asname) for alias in node.names}
            allowed = {("pickle", None)} if taken_of_pickle else set()
            yield from (root for root, _ in (one for one in roots if one not in allowed) if root in UNPICKLERS)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in UNPICKLERS:
                yield f"from {node.module}"
            yield from (alias.name for alias in node.names if alias.name in TRUSTING)
        elif isinstance(node, ast.Attribute):
            if ast.unparse(node.value) == "pickle" and node.attr not in taken_of_pickle:
                yield ast.unparse(node)
            if node.attr in TRUSTING:
                yield node.attr
        elif isinstance(node, ast.keyword) and node.arg in SAFE_VALUES:
            given = ast.unparse(node.value)
            yield from [f"{node.arg}={given}"] if given != str(SAFE_VALUES[node.arg]) else []


def test_nothing_unpickles_without_a_closed_list() -> None:
    found = {name: list(unsafe_loads(parsed(p), MAY_IMPORT_PICKLE.get(name, set()))) for name, p in modules().items()}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "code",
    [
        "from pickle import loads", "import pickle as p", "pickle.loads(b)", "pickle.Unpickler(f)", "import dill",
        "np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=wanted)", "torch.load(f, weights_only=False)",
        "client.set_missing_host_key_policy(paramiko.AutoAddPolicy())", "from paramiko import WarningPolicy",
    ],
)  # fmt: skip
def test_every_way_to_load_what_is_not_safe_is_seen(code: str) -> None:
    assert list(unsafe_loads(ast.parse(code), MAY_IMPORT_PICKLE["dfl.pickles.dumping"]))


ANY_TYPE = {"", "Exception", "BaseException"}


def broad_catches(name: str, tree: ast.Module) -> Iterator[str]:
    """Every function that catches or suppresses an exception of any type and does not end by raising."""

    def visit(node: ast.AST, place: str) -> Iterator[str]:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            place = f"{place}.{node.name}"
        caught: Sequence[ast.expr] | None = None
        if isinstance(node, ast.ExceptHandler) and not raises_on_every_path(node.body):
            caught = [node.type] if node.type else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "suppress":
            caught = node.args
        if caught is not None and types_named(caught) & ANY_TYPE:
            yield place
        for child in ast.iter_child_nodes(node):
            yield from visit(child, place)

    yield from visit(tree, name)


def raises_on_every_path(body: Sequence[ast.stmt]) -> bool:
    """Say whether these statements end by raising, and leave in no other way before that."""
    leaves = (ast.Return, ast.Continue, ast.Break, ast.Yield, ast.YieldFrom)
    return isinstance(body[-1], ast.Raise) and not any(
        isinstance(part, leaves) for one in body for part in ast.walk(one)
    )


def types_named(types: Sequence[ast.expr]) -> set[str]:
    named = {part for one in types for part in ast.walk(one)}
    return {ast.unparse(part) for part in named if isinstance(part, (ast.Name, ast.Attribute))} or {""}


@pytest.mark.parametrize(
    "code",
    [
        "try: a()\nexcept Exception: pass", "try: a()\nexcept: pass", "try: a()\nexcept (A, BaseException): pass",
        "try: a()\nexcept Exception:\n  if b: raise", "def b():\n try: a()\n except Exception:\n  return\n  raise",
        "with suppress(Exception): a()", "with contextlib.suppress(A, BaseException): a()",
    ],
)  # fmt: skip
def test_every_way_to_catch_an_exception_of_any_type_is_seen(code: str) -> None:
    assert [place.partition(".")[0] for place in broad_catches("one", ast.parse(code))] == ["one"]


@pytest.mark.parametrize("code", ["with suppress(OSError): a()", "try: a()\nexcept Exception: raise"])
def test_what_catches_some_types_or_raises_again_is_not_taken_for_it(code: str) -> None:
    assert list(broad_catches("one", ast.parse(code))) == []


def test_an_exception_of_any_type_is_caught_only_where_architecture_md_says_so() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("## Where an exception of any type is caught")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) <= 4, "core.boundary is for everything else"
    listed = {place for row in rows for place in re.findall(r"`([\w.]+)`", row)}
    assert {place for name, path in modules().items() for place in broad_catches(name, parsed(path))} == listed


FILE_CALLS = {
    "os": ("replace", "rename", "renames", "fsync", "link", "symlink", "mkfifo", "truncate"),
    "shutil": ("move", "copy", "copy2", "copyfile", "copyfileobj", "copytree"),
    "tempfile": ("mkstemp", "NamedTemporaryFile"),
    "cv2": ("imwrite",),
}
PATH_CALLS = ("rename", "replace", "symlink_to", "hardlink_to", "write_text", "write_bytes", "touch")
WRITES_FILES_ITSELF = {
    "daemon.cli": "opens /dev/null",
    "daemon.commands.demo": "the clip must arrive in slow pieces under its name; the daemon's log is a stream",
    "daemon.commands.demo_clip": "the photo and the clip of a demonstration, in a folder that nobody reads yet",
    "daemon.ledger.ledger": "makes the empty file, private from birth, that SQLite writes",
    "daemon.service": "renames metrics, not files",
    "daemon.state_folder": "a lock, of which no byte is read",
    "engine.facesets.changing.replacements": "lines are added to the records of faces, synced",
    "engine.facesets.changing.rename_journal": "lines are added to one file, synced once a batch",
    "engine.facesets.changing.sole_user": "a lock, of which no byte is read",
    "engine.masks.xseg.converted": "a lock, of which no byte is read",
    "engine.results.manifest": "lines are added to one open file, each synced",
    "engine.workspace.sole_writer": "a lock, of which no byte is read",
    "sync.averaging.npz_files": "members of an archive, whose file core makes and renames",
    "sync.averaging.tensor_file": "writes at places, from threads, beside; core syncs and renames what was read back",
    "sync.journal.journal": "lines are added to one file, each synced; half a line is cut off",
    "sync.rounds.store": "a lock; sets of links to weights, in a folder that gets its name from core",
    "sync.trainers.hook_program": "runs inside a trainer, where nothing of ours can be imported",
    "sync.transports.local": "writes under the .part that a transport promises; core syncs and renames it",
    "sync.transports.ssh_transport": "writes as pieces arrive, under .part; core syncs and renames it",
    "trainer.model_folder.lock": "a lock, of which no byte is read",
}
"""Module -> why it makes, writes, renames or syncs a file without core."""


def writes_a_file(node: ast.AST) -> bool:
    """Say whether this calls what makes, writes, renames, links or syncs a file."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Name):
        opens_what_core_made = node.args and ast.unparse(node.args[0]).startswith("open_new(")
        return node.func.id == "open" and not opens_what_core_made and opens_to_write(node.args[1:], node.keywords)
    if not isinstance(node.func, ast.Attribute):
        return False
    owner, call = ast.unparse(node.func.value), node.func.attr
    if owner == "os" and call == "open":
        return not re.search(r"\bO_(RDONLY|PATH)\b", ast.unparse(node))
    if call == "open":
        return opens_to_write(node.args, node.keywords)
    if call in ("rename", "replace") and len(node.args) != 1:  # str.replace has two, datetime's none
        return owner == "os"
    return call in FILE_CALLS.get(owner, PATH_CALLS)


def opens_to_write(arguments: list[ast.expr], named: list[ast.keyword]) -> bool:
    modes = [*arguments, *(one.value for one in named if one.arg == "mode")]
    return any(
        isinstance(one, ast.Constant) and re.fullmatch("[rwxabt+]*[wxa+][rwxabt+]*", str(one.value)) for one in modes
    )


def test_files_are_written_synced_and_renamed_by_core_alone() -> None:
    found = {name for name, path in modules().items() if any(map(writes_a_file, ast.walk(parsed(path))))}
    assert {name for name in found if not name.startswith("core.")} == set(WRITES_FILES_ITSELF)


@pytest.mark.parametrize(
    "code",
    [
        "os.link(a, b)", "a.symlink_to(b)", "a.hardlink_to(b)", "shutil.copyfile(a, b)", "a.write_text('')",
        "a.touch()", "a.write_bytes(b'')", "open(a, 'w')", "a.open('wb')", "a.open(mode='a')", "open(a, 'r+b')",
        "a.rename(b)", "os.open(a, flags)", "os.open(a, os.O_RDWR | os.O_CREAT)", "a.replace(b)", "os.replace(a, b)",
        "shutil.move(a, b)", "os.fsync(a)",
    ],
)  # fmt: skip
def test_every_way_to_write_a_file_is_seen(code: str) -> None:
    assert any(map(writes_a_file, ast.walk(ast.parse(code))))


@pytest.mark.parametrize(
    "code", ["a.open('rb')", "open(a)", "os.open(a, os.O_RDONLY)", "a.replace('b', 'c')", "a.now()"]
)
def test_reading_a_file_is_not_taken_for_writing_one(code: str) -> None:
    assert not any(map(writes_a_file, ast.walk(ast.parse(code))))


def test_library_packages_never_print_or_exit() -> None:
    pattern = re.compile(r"(?<![\w.])print\(|sys\.exit\(")
    commands = ("daemon", "trainer.__main__")
    found = [n for n, p in modules().items() if pattern.search(p.read_text()) and not n.startswith(commands)]
    assert found == []


def test_every_package_that_pyproject_lists_exists_and_none_is_forgotten() -> None:
    listed = re.search(r"^packages = \[(.*?)\]$", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    assert listed
    named = set(re.findall(r'"([\w.]+)"', listed.group(1)))
    folders = {".".join(p.parent.relative_to(ROOT).parts) for k in PACKAGES for p in (ROOT / k).rglob("*.py")}
    assert named == folders


def test_every_folder_is_in_the_map_of_architecture_md() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## Floors")[2].partition("\n## ")[0]
    folders = {"/".join(path.parent.relative_to(ROOT).parts) for k in PACKAGES for path in (ROOT / k).rglob("*.py")}
    assert set(re.findall(r"^\| `([\w/]+)` \|", page, re.M)) == folders


def test_help_imports_no_library() -> None:
    code = (
        "import sys; before = set(sys.modules); from daemon.cli import build_parser; build_parser().format_help(); "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout)) <= {*PACKAGES}


def test_help_imports_only_what_parses_the_command_line() -> None:
    code = "import sys; from daemon.cli import build_parser; build_parser().format_help(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {name for name in ast.literal_eval(done.stdout) if name.split(".")[0] in PACKAGES and "." in name}
    few = {"core.errors", "core.text", "daemon.cli", "daemon.errors"}
    assert {name for name in ours if not name.startswith("daemon.commands")} <= few


ANYS = {
    "daemon.config.extract_table": 3,  # what pydantic hands over
    "daemon.config.load": 1,  # TOML
    "daemon.config.schema_nodes": 1,  # a JSON Schema
    "daemon.config.words": 2,  # pydantic's errors
    "daemon.jobs.kinds.contract": 1,  # JSON from a worker
    "daemon.jobs.kinds.extract": 2,  # JSON in the ledger
    "daemon.ledger.faces": 1,  # rows of SQLite
    "daemon.worker.workspaces": 2,  # JSON from the child that reads pictures
    "dfl.pickles.dumping": 1,  # the signature of pickle's own method
    "engine.models.dlib_models": 1,  # dlib has no types
    "engine.clip.resume_state": 3,  # JSON of an earlier run
    "engine.identity.identity_file": 1,  # arrays of any type, as read
    "sync.averaging.torch_files": 1,  # what torch.load gives
    "sync.trainers.hook_program": 3,  # DeepFaceLab's own objects
}
"""Module -> how often `Any` stands in it at most: where bytes or objects from outside are parsed. All others: never."""


def anys(path: Path) -> int:
    nodes = [node for node in ast.walk(parsed(path)) if isinstance(node, (ast.Name, ast.Attribute))]
    return sum((node.id if isinstance(node, ast.Name) else node.attr) == "Any" for node in nodes)


def test_any_stands_only_where_bytes_from_outside_are_parsed() -> None:
    found = {name: anys(path) for name, path in modules().items()}
    assert {name: count for name, count in found.items() if count > ANYS.get(name, 0)} == {}
    assert sum(ANYS.values()) <= 60


def decisions_by_text(path: Path) -> Iterator[int]:
    """Every line that compares or searches what an error says; its type is what may decide."""
    tree = parsed(path)
    caught = {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)}

    def says(node: ast.AST) -> bool:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("str", "repr"):
            return any(isinstance(inner, ast.Name) and inner.id in caught for inner in node.args)
        return isinstance(node, ast.Attribute) and node.attr in ("message", "args")

    for node in ast.walk(tree):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            asked = [node]
        elif isinstance(node, ast.Match):
            asked = [node.subject]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("startswith", "endswith", "find"):
                asked = [node.func.value]
            elif isinstance(node.func.value, ast.Name) and node.func.value.id == "re":
                asked = list(node.args)
        if any(says(inner) for one in asked for inner in ast.walk(one)):
            yield node.lineno  # type: ignore[attr-defined]


def test_nothing_is_decided_by_what_an_error_says() -> None:
    found = {f"{name}:{line}" for name, path in modules().items() for line in decisions_by_text(path)}
    assert found == set()


@pytest.mark.parametrize("package", sorted(n for n, path in modules().items() if path.name == "__init__.py"))
def test_a_package_names_each_of_its_modules_in_its_map(package: str) -> None:
    folder = ROOT / package.replace(".", "/")
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    named = re.findall(r"^(\w+) +\S", text.partition("\n")[2], re.M)
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert sorted(named) == sorted(there - {"__init__", "__main__"})
