"""`dfld train`: a DeepFaceLab SAEHD model in its folder: examined, changed, saved. Nothing here loads PyTorch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import print_json, shown
from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Callable

    from dfl.model_files import ModelName
    from trainer.importing import Import
    from trainer.model_folder.examination import ModelFacts

SAVED_BY = "dfld (no device)"
"""What summary.txt names as the device of a save that trained nothing."""
EXPLAINED = """NAME is the name in front of `_SAEHD_`. The model's files are DeepFaceLab's own: it goes on with what
dfld saved. Every change is saved as one generation: all files or none, also where the program is killed. Nothing is
changed while another trainer, DeepFaceLab included, has the model."""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("train", help="DeepFaceLab models: check, change options, back up, import")
    parser.description = "Work on a DeepFaceLab SAEHD model in its folder."
    parser.epilog, parser.formatter_class = EXPLAINED, argparse.RawDescriptionHelpFormatter
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    _add(what, "check", "read every file of a model and name all that is wrong with it", run_check)
    options = _add(what, "options", "show the options of a model, or change some", run_options)
    options.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="an option and its new value")
    _add(what, "backup", "copy a model into DeepFaceLab's autobackups", run_backup)
    taken = _add(what, "import", "take weights of another model", run_import)
    taken.add_argument("--from", dest="source", required=True, metavar="NAME", help="the other model")
    taken.add_argument(
        "--from-models", type=path_argument, metavar="DIR", help="folder of the other model (default: the same)"
    )
    taken.add_argument(
        "--parts", required=True, metavar="PARTS", help="encoder,inter_AB; decoder=decoder_src where names differ"
    )
    taken.add_argument(
        "--match", choices=("name", "shape"), default="name", help="how tensors find each other (default: name)"
    )


def _add(
    what: _SubParsersAction[argparse.ArgumentParser], name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = what.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("name", metavar="NAME", help="the model's name")
    parser.add_argument(
        "--models", type=path_argument, required=True, metavar="DIR", help="folder of the model's files"
    )
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def _named(name: str) -> ModelName:
    from dfl.model_files import ModelName
    from trainer.model_folder.model import MODEL_CLASS

    return ModelName(name, MODEL_CLASS)


@contextmanager
def _held(folder: Path, model: ModelName) -> Iterator[None]:
    """Hold a model for changing it, with a save that was cut short completed."""
    from trainer.model_folder.generations import recover
    from trainer.model_folder.lock import sole_trainer
    from trainer.model_folder.model import require_model

    require_model(folder, model)
    with sole_trainer(folder, model):
        recover(folder, model)
        yield


def run_check(options: argparse.Namespace) -> int:
    """Read every file of a model and say all that is wrong with it."""
    from trainer.model_folder.examination import examine
    from trainer.model_folder.model import require_model

    require_model(options.models, _named(options.name))
    facts = examine(options.models, _named(options.name))
    if options.json:
        print_json(asdict(facts))
    else:
        _print_facts(facts)
    return ExitCode.FAILED if facts.problems else ExitCode.OK


def _print_facts(facts: ModelFacts) -> None:
    archi, resolution = (facts.options.get(name) for name in ("archi", "resolution"))
    print(shown(f"{facts.name}: {archi}, {resolution} px, {facts.iteration} iterations"))
    for one in facts.parts:
        print(f"  {one.part:<24} {one.tensors:4} tensors {one.numbers:13,} numbers{'  !' if one.problem else ''}")
    print(f"  {len(facts.generations)} generations, {len(facts.backups)} backups")
    for problem in facts.problems:
        print(f"  problem: {shown(problem)}")


def run_options(options: argparse.Namespace) -> int:
    """Show a model's options, with those that are named changed."""
    from dfl.model_files import DATA
    from trainer.model_folder.data_file import read_data_file
    from trainer.model_folder.examination import examine
    from trainer.model_folder.model import require_model, save_data
    from trainer.options import changes_of

    folder, name = options.models, _named(options.name)
    require_model(folder, name)
    changed: list[str] = []
    problems: tuple[str, ...] = ()
    if options.settings:
        with _held(folder, name):
            data = read_data_file(folder / name.file_name(DATA))
            changes = changes_of(data.options, options.settings)
            changed = [one.name for one in changes]
            if changes:
                changed_data = data.changed(options={one.name: one.after for one in changes})
                save_data(folder, name, changed_data, device=SAVED_BY)
            problems = examine(folder, name).problems
    values = read_data_file(folder / name.file_name(DATA)).options
    if options.json:
        return print_json({"options": values, "changed": changed, "problems": problems})
    for option, value in values.items():
        print(shown(f"{option:>22} = {value}") + ("  (changed)" if option in changed else ""))
    for problem in problems:
        print(f"before it can be trained: {shown(problem)}")
    return ExitCode.OK


def run_backup(options: argparse.Namespace) -> int:
    """Copy a model into a new backup 01."""
    from trainer.model_folder.backups import make_backup
    from trainer.model_folder.model import read_model

    folder, name = options.models, _named(options.name)
    with _held(folder, name):
        made = make_backup(folder, name, read_model(folder, name).file_names)
    if options.json:
        return print_json({"backup": str(made)})
    print(shown(f"{name.prefix} is copied to {made}"))
    return ExitCode.OK


def run_import(options: argparse.Namespace) -> int:
    """Take weights of another model into this one, and say what became of each tensor."""
    from trainer.importing import import_weights
    from trainer.model_folder.model import read_model, save_model

    folder, name = options.models, _named(options.name)
    source = read_model(options.from_models or folder, _named(options.source))
    with _held(folder, name):
        done = import_weights(source, read_model(folder, name), options.parts.split(","), match=options.match)
        save_model(folder, done.model, device=SAVED_BY)
    if options.json:
        rows = [asdict(one) for one in done.tensors]
        return print_json({"loaded": done.loaded, "tensors": rows, "differing_archi": done.differing_archi})
    _print_import(done)
    return ExitCode.OK


def _print_import(done: Import) -> None:
    for one in done.tensors:
        became = {"loaded": f"from {one.source}", "shape differs": "keeps its values: shape differs"}
        print(shown(f"  {one.part}/{one.name}: {became.get(one.outcome, 'keeps its values: no counterpart')}"))
    print(f"{done.loaded} of {len(done.tensors)} tensors taken; the optimizer's means of these are 0")
    if done.differing_archi:
        print(shown(f"equal shapes, other functions: the architectures are {done.differing_archi}"))
