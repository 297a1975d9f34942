"""`dfld match`, `dfld reference`, `dfld backends`: what the models say of photos, and which models there are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from daemon.commands.options import (
    BACKENDS,
    add_backend_options,
    add_json_option,
    add_model_options,
    name_of_person,
    open_chosen_backend,
    path_argument,
)
from daemon.commands.output import print_json, shown
from daemon.errors import ExitCode

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from engine.identity.reference_photos import PhotoReport


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    _add_match(commands)
    _add_reference(commands)
    _add_backends(commands)


def _add_match(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "match",
        help="say whether two photos show the same person",
        description="Compare the faces of two photos with each backend that can run, and print similarity, "
        "threshold and verdict.",
    )
    parser.add_argument("first", type=path_argument, metavar="A", help="photo, or folder of photos of one person")
    parser.add_argument("second", type=path_argument, metavar="B", help="photo, or folder of photos of one person")
    parser.add_argument("--backend", action="append", metavar="NAME", help="only this backend; may repeat")
    parser.add_argument("--largest-face", action="store_true", help="of several faces in a photo, take the largest")
    add_model_options(parser.add_argument_group("models"))
    add_json_option(parser)
    parser.set_defaults(run=run_match)


def run_match(options: argparse.Namespace) -> int:
    """Compare two photos; a backend that cannot run is reported, and fails the command only when asked for."""
    from engine.errors import ModelError

    rows: list[_Match | _NotAvailable] = []
    for name in options.backend or BACKENDS:
        try:
            rows.append(_match(name, options))
        except ModelError as problem:
            if options.backend:
                raise
            rows.append(_NotAvailable(name, problem.message, problem.hint))
    if options.json:
        print_json([asdict(row) for row in rows])
    else:
        _print_match(rows)
    return ExitCode.OK if any(isinstance(row, _Match) for row in rows) else ExitCode.UNAVAILABLE


@dataclass(frozen=True)
class _Match:
    """What one backend says of two photos."""

    backend: str
    model: str
    similarity: float
    threshold: float
    verdict: str


@dataclass(frozen=True)
class _NotAvailable:
    """A backend that cannot run here."""

    backend: str
    unavailable: str
    """Why."""
    hint: str


def _match(name: str, options: argparse.Namespace) -> _Match:
    from engine.identity.identity import build_identity
    from engine.identity.same_person import similarity

    backend = open_chosen_backend(options, name)
    first, _ = build_identity([options.first], backend, name="A", largest_face=options.largest_face)
    second, _ = build_identity([options.second], backend, name="B", largest_face=options.largest_face)
    value = float(similarity(second.mean[None], first)[0])
    threshold = backend.info.default_threshold
    verdict = "same person" if value >= threshold else "different people"
    return _Match(backend.info.name, backend.info.recognition_model, round(value, 4), threshold, verdict)


def _print_match(rows: Sequence[_Match | _NotAvailable]) -> None:
    print(f"{'backend':<16}{'similarity':>10}{'threshold':>11}  verdict")
    for row in rows:
        if isinstance(row, _Match):
            print(f"{row.backend:<16}{row.similarity:>10.3f}{row.threshold:>11.2f}  {row.verdict}")
        else:
            print(f"{row.backend:<16}{'-':>10}{'-':>11}  not available: {shown(row.unavailable)}")
            print(f"{'':<39}→ {shown(row.hint)}")


def _add_reference(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "reference",
        help="check reference photos, and save what they say as an identity file",
        description="Look for the one face in each reference photo and say which photos can be used. The identity "
        "file (npz) can be given to `dfld extract --reference` instead of the photos.",
    )
    parser.add_argument("photos", nargs="+", type=path_argument, metavar="PHOTO", help="photo or folder of photos")
    parser.add_argument("--save", type=path_argument, metavar="FILE.npz", help="write the identity here")
    parser.add_argument("--name", help="what to call the person (default: the photos' folder)")
    parser.add_argument("--largest-face", action="store_true", help="of several faces in a photo, take the largest")
    parser.add_argument("--allow-mixed", action="store_true", help="take photos that do not resemble each other")
    add_backend_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run_reference)


def run_reference(options: argparse.Namespace) -> int:
    """Report on each photo; exit 0 when every one is used, 3 when only some are."""
    from engine.identity.identity import build_identity
    from engine.identity.identity_file import save_identity

    backend = open_chosen_backend(options)
    name = name_of_person(options.photos, options.name)
    identity, photos = build_identity(
        options.photos,
        backend,
        name=name,
        largest_face=options.largest_face,
        allow_mixed=options.allow_mixed,
    )
    if options.save:
        save_identity(identity, options.save)
    if options.json:
        print_json(
            {"name": name, "backend": backend.info.name, "model": backend.info.recognition_model,
             "saved": str(options.save) if options.save else None, "photos": [_photo(photo) for photo in photos]}
        )  # fmt: skip
    else:
        for photo in photos:
            print(f"{'used    ' if photo.used else 'NOT USED'}  {shown(photo.photo)}: {shown(photo.detail)}")
        used = sum(photo.used for photo in photos)
        print(
            f"{name}: {used} of {len(photos)} photos used with {backend.info.name} ({backend.info.recognition_model})"
        )
        if options.save:
            print(f"identity saved as {shown(options.save)}")
    return ExitCode.OK if all(photo.used for photo in photos) else ExitCode.PARTLY_FAILED


def _photo(photo: PhotoReport) -> dict[str, object]:
    return {
        "photo": photo.photo,
        "used": photo.used,
        "reason": photo.reason,
        "detail": photo.detail,
        "faces_found": photo.faces_found,
        "bbox": photo.bbox,
        "turned_deg": photo.turned_deg,
    }


def _add_backends(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "backends",
        help="list the backends, their models, licences and where they run",
        description="List every backend: whether it can run here and on what, its models, their licences, and its "
        "default threshold.",
    )
    add_model_options(parser.add_argument_group("models"))
    add_json_option(parser)
    parser.set_defaults(run=run_backends)


def run_backends(options: argparse.Namespace) -> int:
    """Describe every backend without failing on those that cannot run."""
    from engine.backends.catalog import describe_backends

    rows = describe_backends(model_root=options.model_root, model_pack=options.model_pack, device=options.device)
    if options.json:
        return print_json([asdict(row) for row in rows])
    for row in rows:
        if row.info is None:
            print(f"{row.name}: not available: {shown(row.problem)}")
            if row.hint:
                print(f"  → {shown(row.hint)}")
            continue
        info = row.info
        print(f"{info.name}: runs on {info.device}; threshold {info.default_threshold:.2f} ({info.metric})")
        for model in info.models:
            origin = f"sha256 {model.sha256[:12]}…" if model.sha256 else "built in"
            print(f"  {model.task:<13} {shown(model.name)}  {origin}")
            print(f"  {'':<13} licence: {shown(model.licence)}")
        for warning in info.warnings:
            print(f"  warning: {shown(warning)}")
    return ExitCode.OK
