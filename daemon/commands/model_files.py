"""`dfld models`: which models there are, what their makers allow, whether they are whole; add or fetch one."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import print_json, shown
from daemon.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from engine.masks.kept_parsers import KeptParser
    from engine.models.known_models import KnownModel

    Commands = _SubParsersAction[argparse.ArgumentParser]


@dataclass(frozen=True)
class FoundModel:
    """A model that lies here."""

    name: str
    path: str
    kind: str
    """pack, or the family of a parser."""
    licence: str
    files: dict[str, str]
    """File name -> SHA-256."""
    size_bytes: int
    problem: str = ""
    """What is wrong with it; empty when nothing is, or nobody looked."""


def add_commands(commands: Commands) -> None:
    models = commands.add_parser(
        "models",
        help="list, check, add and fetch models, with their licences",
        description="dfld models: what is here and what can be had, with purpose, licences, hash and size. dfld models "
        "check: read each and compare it with its record. dfld models add FILE: check the ONNX file of a face parser "
        "and keep a copy. dfld models fetch NAME --accept-licence: fetch a pack that insightface offers. dfld "
        "brings no weights along, and fetches none without your word.",
    )
    models.add_argument(
        "what", nargs="?", choices=("list", "check", "add", "fetch"), default="list", help="default: list"
    )
    models.add_argument(
        "model", nargs="?", metavar="FILE|NAME", help="with add: a file; with fetch: a name of the list"
    )
    models.add_argument("--name", metavar="NAME", help="with add: what to call the parser (default: after the file)")
    models.add_argument(
        "--accept-licence", action="store_true", help="with fetch: your word that you accept what its makers allow"
    )
    models.add_argument(
        "--model-root", type=path_argument, metavar="DIR", help="folder of models (default ~/.insightface)"
    )
    add_json_option(models)
    models.set_defaults(run=run_models)


def run_models(options: argparse.Namespace) -> int:
    """Do what the first word says."""
    if options.what in ("add", "fetch") and not options.model:
        needed = "FILE" if options.what == "add" else "NAME"
        raise UsageError(f"{options.what} needs a model", hint=f"dfld models {options.what} {needed}")
    if options.what in ("list", "check") and options.model:
        raise UsageError(f"{options.what} takes no model, and {options.model!r} was given", hint="`dfld models --help`")
    steps = {"list": _list, "check": _check, "add": _add, "fetch": _fetch}
    return steps[options.what](options)


def _list(options: argparse.Namespace) -> int:
    """List what is here, then what can be had."""
    from engine.models.known_models import KNOWN_MODELS

    root = _root(options)
    found = _found(root)
    missing = [model for model in KNOWN_MODELS if model.name not in {one.name for one in found}]
    if options.json:
        return print_json({"here": [asdict(one) for one in found], "not_here": [asdict(one) for one in missing]})
    for one in found:
        _print_found(one)
    print(f"not in {shown(root)}:" if found else f"no model is in {shown(root)}; there are:")
    for model in missing:
        _print_known(model, root)
    return ExitCode.OK


def _check(options: argparse.Namespace) -> int:
    """Read every model that is here; exit status 3 where one is not what it should be."""
    root = _root(options)
    found = [_checked(one, root) for one in _found(root)]
    if options.json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            print(f"{shown(one.name)}: {shown(one.problem) if one.problem else 'whole'}")
        if not found:
            print(f"no model is in {shown(root)}")
    return ExitCode.PARTLY_FAILED if any(one.problem for one in found) else ExitCode.OK


def _add(options: argparse.Namespace) -> int:
    """Check a parser, keep it, and say what was recorded."""
    from engine.masks.kept_parsers import add_parser, parser_file

    root = _root(options)
    kept = add_parser(root, Path(options.model), options.name)
    if options.json:
        return print_json(asdict(kept))
    print(f"{kept.name}: {kept.family}, {kept.size_bytes} bytes, sha256 {kept.sha256}")
    print(f"kept as {shown(parser_file(root, kept.name))}")
    print("what its makers allow binds you; weights that learned from CelebAMask-HQ are for non-commercial research")
    return ExitCode.OK


def _fetch(options: argparse.Namespace) -> int:
    """Fetch a pack on the user's word; for anything else, say where it comes from and where it goes."""
    from engine.models.known_models import KNOWN_MODELS, known_model
    from engine.models.packs import open_pack

    root = _root(options)
    model = known_model(options.model)
    if model is None:
        names = ", ".join(one.name for one in KNOWN_MODELS)
        raise UsageError(f"there is no model called {options.model!r}", hint=f"there are {names}")
    if not model.is_fetched:
        raise UsageError(f"{model.name} is not fetched by dfld: {model.purpose}", hint=_how_to_bring(model, root))
    if not options.accept_licence:
        raise UsageError(
            f"{model.name} may be used for: {model.weights_licence}; nothing was fetched",
            hint=f"with --accept-licence you accept that: dfld models fetch {model.name} --accept-licence",
        )
    pack = open_pack(root, model.name)
    if options.json:
        return print_json(asdict(_pack_found(pack.folder, pack.name)))
    print(f"{pack.name} is in {shown(pack.folder)}")
    return ExitCode.OK


def _root(options: argparse.Namespace) -> Path:
    from engine.models.packs import DEFAULT_ROOT

    root: Path = options.model_root or DEFAULT_ROOT
    return root.expanduser()


def _found(root: Path) -> list[FoundModel]:
    from engine.masks.kept_parsers import kept_parsers
    from engine.models.known_models import KNOWN_MODELS
    from engine.models.packs import find_pack

    packs = [(model.name, find_pack(root, model.name)) for model in KNOWN_MODELS if model.is_fetched]
    found = [_pack_found(folder, name) for name, folder in packs if folder is not None]
    return found + [_parser_found(kept, root) for kept in kept_parsers(root)]


def _pack_found(folder: Path, name: str) -> FoundModel:
    from engine.models.model_files import hash_of_model_file
    from engine.models.packs import licence_of

    files = sorted(folder.glob("*.onnx"))
    return FoundModel(
        name=name,
        path=str(folder),
        kind="pack",
        licence=licence_of(folder),
        files={path.name: hash_of_model_file(path) for path in files},
        size_bytes=sum(path.stat().st_size for path in files),
    )


def _parser_found(kept: KeptParser, root: Path) -> FoundModel:
    from engine.masks.kept_parsers import parser_file
    from engine.models.known_models import known_model
    from engine.models.model_files import LICENCE_UNKNOWN

    path, known = parser_file(root, kept.name), known_model(kept.name)
    return FoundModel(
        name=kept.name,
        path=str(path),
        kind=f"face parser, {kept.family}",
        licence=known.weights_licence if known else LICENCE_UNKNOWN,
        files={path.name: kept.sha256},
        size_bytes=kept.size_bytes,
    )


def _checked(found: FoundModel, root: Path) -> FoundModel:
    from dataclasses import replace

    from engine.errors import ModelError
    from engine.masks.kept_parsers import check_parser, kept_parsers
    from engine.models.packs import open_pack

    if found.kind != "pack":
        kept = next(one for one in kept_parsers(root) if one.name == found.name)
        return replace(found, problem=check_parser(root, kept))
    try:
        open_pack(root, found.name, allow_download=False)
    except ModelError as problem:
        return replace(found, problem=problem.message)
    return found


def _print_found(found: FoundModel) -> None:
    print(f"{shown(found.name)}: {shown(found.kind)}, {found.size_bytes / 1e6:.1f} MB, in {shown(found.path)}")
    for name, sha256 in found.files.items():
        print(f"  {shown(name)}  sha256 {sha256}")
    print(f"  licence of the weights: {shown(found.licence)}")


def _print_known(model: KnownModel, root: Path) -> None:
    sized = "".join(f", {one}" for one in (model.size, model.sha256 and f"sha256 {model.sha256}") if one)
    print(f"{model.name}: {model.purpose}{sized}")
    print(f"  licence of the code: {model.code_licence}; of the weights: {model.weights_licence}")
    print(f"  → {_how_to_bring(model, root)}")


def _how_to_bring(model: KnownModel, root: Path) -> str:
    from engine.masks.kept_parsers import parser_file

    if model.is_fetched:
        return f"dfld models fetch {model.name} --accept-licence"
    if model.name == "xseg":
        return model.origin
    return (
        f"get {model.origin}; then `dfld models add FILE --name {model.name}` puts it at "
        f"{shown(parser_file(root, model.name))}"
    )
