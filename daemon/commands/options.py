"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.backends.backend import Backend

BACKENDS = ("insightface", "dlib", "opencv_cascade")
DEFAULT_BACKEND = "insightface"
DEFAULT_MODEL_PACK = "buffalo_l"


def path_argument(text: str) -> Path:
    """Read a path of the command line; an empty one would mean the folder dfld was started in, which nobody means."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def add_model_options(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--model-root", type=path_argument, metavar="DIR", help="folder of insightface packs (default ~/.insightface)"
    )
    group.add_argument(
        "--model-pack", default=DEFAULT_MODEL_PACK, metavar="NAME",
        help=f"insightface pack (default {DEFAULT_MODEL_PACK}, downloaded on first use)",
    )  # fmt: skip
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto",
        help="where insightface runs (default auto: the GPU when there is one)",
    )  # fmt: skip


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("models")
    # Not `choices`: an unknown name is answered with the closest one, in one place, for CLI and config alike.
    group.add_argument(
        "--backend", default=DEFAULT_BACKEND, metavar="NAME",
        help=f"{' | '.join(BACKENDS)} (default {DEFAULT_BACKEND}; dlib works offline)",
    )  # fmt: skip
    add_model_options(group)


def open_chosen_backend(options: argparse.Namespace, name: str | None = None) -> Backend:
    """Open the backend the options name; raise ModelError with the remedy where it cannot run."""
    from engine.backends.catalog import open_backend

    return open_backend(
        name or options.backend,
        model_root=options.model_root,
        model_pack=options.model_pack,
        device=options.device,
    )


def name_of_person(references: Sequence[Path], given: str | None) -> str:
    """Return what to call the person: as given, or after the folder that the first reference is or lies in."""
    if given:
        return given
    first = references[0]
    is_folder = os.path.isdir(first)  # noqa: PTH112 -- Path.is_dir raises where a folder is closed to us
    return (first.name if is_folder else first.absolute().parent.name) or "reference"
