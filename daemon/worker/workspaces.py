"""What the service asks about the pictures of a workspace, answered by a child process: they may be anybody's.

    survey   what a redo of a clip would remove, and what a person changed
    clear    remove a clip's results, except manual changes
    missing  which of a clip's faces are there no more, under any name
    forget   remove every face of given clips, whatever its name

The service itself loads nothing that reads pictures; a file that hangs or crashes the child costs the answer alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from core.boundary import log_unforeseen
from daemon.crew.contract import WorkerSaidError
from daemon.crew.local import ERROR_LINES_KEPT, child_environment
from daemon.errors import WorkerError
from daemon.ledger.faces import WrittenFace
from daemon.ledger.jobs import Job
from daemon.worker.process import UMASK, die_with, limit_memory
from engine.errors import OutputError
from engine.face_id import is_sha256

if TYPE_CHECKING:
    from engine.workspace.file_names import Layout

V = TypeVar("V")
Values = Mapping[str, Any]
"""A JSON object."""

SURVEY_LIMIT_S = 600.0
CLEAR_LIMIT_S = 45.0
"""The thread that waits is one of the service's pulse; what is not cleared by then, the next run of the clip clears."""
FORGET_LIMIT_S = 4 * 3600.0
MEMORY_BYTES = 4 << 30
EXIT_REFUSED = 65  # EX_DATAERR of <sysexits.h>: no exit of Python's own


@dataclass(frozen=True)
class Clip:
    """What names a job's files, and its faces, to the child."""

    workspace: str
    role: Literal["src", "dst"]
    slug: str
    source_sha256: str = ""
    """Of a video, as ids of its faces are made of it; "" where it has none."""
    face_ids: tuple[str, ...] = ()
    """Those of its faces that the ledger names."""


@dataclass(frozen=True)
class SurveyTexts:
    """What lies in a workspace of a job, each a sentence."""

    holds: str
    goes: str
    """What a redo would remove."""
    went: str
    """The same once it was asked for."""
    went_with_changes: str
    """The same where manual changes are to go as well."""


@dataclass(frozen=True)
class RemovedFaces:
    """What a removal did, as engine.results.removal says it."""

    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()


def clip_of(job: Job, written: Sequence[WrittenFace] = ()) -> Clip:
    """Return what names a job's files, and these faces of it."""
    source_sha256 = job.sha256 if job.source_kind == "video" and is_sha256(job.sha256) else ""
    face_ids = tuple(one.face_id for one in written if one.face_id)
    return Clip(job.workspace, job.role, job.slug, source_sha256, face_ids)


@dataclass(frozen=True)
class Survey:
    """`survey`: what lies there of a clip; None where a redo removes nothing."""

    clip: Clip


@dataclass(frozen=True)
class Clear:
    """`clear`: remove what a clip's run wrote, except manual changes."""

    clip: Clip


@dataclass(frozen=True)
class Missing:
    """`missing`: which of these faces are there no more."""

    clip: Clip
    faces: tuple[tuple[str, str], ...]
    """Id and name of each."""


@dataclass(frozen=True)
class Forget:
    """`forget`: remove every face of these clips."""

    clips: tuple[Clip, ...]


Request = Survey | Clear | Missing | Forget


def survey_results(job: Job) -> SurveyTexts | None:
    """Return what lies there of a job; None where a redo removes nothing.

    Raise OutputError where the workspace cannot be read, WorkerError where the child gave no answer.
    """
    return _ask(Survey(clip_of(job)), SURVEY_LIMIT_S, lambda said: None if said is None else SurveyTexts(**said))


def clear_results(job: Job) -> None:
    """Remove what a job wrote, except manual changes. Raise as `survey_results`."""
    _ask(Clear(clip_of(job)), CLEAR_LIMIT_S, lambda _said: None)


def missing_faces(job: Job, written: Sequence[WrittenFace]) -> list[str]:
    """Return the names under which these faces of a job were written that are there no more. Raise as
    `survey_results`."""
    faces = tuple((one.face_id, one.file) for one in written)
    return _ask(Missing(clip_of(job), faces), SURVEY_LIMIT_S, lambda said: [str(name) for name in said])


def remove_faces(clips: Sequence[Clip]) -> RemovedFaces:
    """Remove every face of these clips. Raise as `survey_results`."""
    return _ask(
        Forget(tuple(clips)),
        FORGET_LIMIT_S,
        lambda said: RemovedFaces(**{name: tuple(texts) for name, texts in said.items()}),
    )


def _ask(request: Request, limit_s: float, parse: Callable[[Any], V]) -> V:
    """Return what `parse` makes of the JSON that a child process answers."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "daemon.worker.workspaces", str(os.getpid())],
            input=json.dumps({"do": _NAMES[type(request)], **asdict(request)}).encode(),
            capture_output=True,
            timeout=limit_s,
            check=False,
            env=child_environment(),
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as problem:
        raise WorkerError(f"the workspace was not gone through within {limit_s:.0f} s") from problem
    if done.returncode == EXIT_REFUSED:
        refusal = json.loads(done.stdout)
        raise OutputError(refusal["error"], hint=refusal["hint"])
    if done.returncode:
        raise _died(done.returncode, done.stderr)
    try:
        return parse(json.loads(done.stdout))
    except (LookupError, TypeError, ValueError, AttributeError) as problem:
        raise WorkerError(f"the search of the workspace answered {done.stdout[:80]!r}") from problem


def _died(status: int, stderr: bytes) -> WorkerError:
    """Return what to raise for a child that died, with what it said last as the cause."""
    lines = stderr.decode(errors="backslashreplace").strip().splitlines()[-ERROR_LINES_KEPT:]
    last = lines[-1] if lines else ""
    problem = WorkerError(f"the search of the workspace ended with {status}: {last}")
    problem.__cause__ = WorkerSaidError(lines)
    if status > 0:  # it ended itself: of an error that nobody foresaw, whose traceback is what it said last
        log_unforeseen("job", "the search of a workspace", problem)
    return problem


def _survey(request: Survey) -> object:
    from engine.results.earlier_run import find_earlier_run

    earlier = find_earlier_run(_layout(request.clip))
    if earlier is None:
        return None
    texts = SurveyTexts(
        holds=earlier.text(),
        goes=earlier.would_go_text(),
        went=earlier.replaced_text(discard_changes=False),
        went_with_changes=earlier.replaced_text(discard_changes=True),
    )
    return asdict(texts)


def _clear(request: Clear) -> object:
    from engine.results.clearing import clear_results

    clear_results(_layout(request.clip))
    return None


def _missing(request: Missing) -> object:
    from engine.results.missing_faces import faces_not_found

    return faces_not_found(_layout(request.clip), request.faces, request.clip.source_sha256)


def _forget(request: Forget) -> object:
    from daemon.worker.outputs import clip_files
    from engine.results.removal import ClipFaces, remove_faces

    known = [ClipFaces(_layout(clip), clip.source_sha256, frozenset(clip.face_ids)) for clip in request.clips]
    try:
        return vars(remove_faces(known, clip_files))
    except OSError as problem:
        raise OutputError(f"cannot remove {problem.filename}: {problem.strerror}") from problem


def _layout(clip: Clip) -> Layout:
    from engine.workspace.file_names import inbox_layout

    return inbox_layout(Path(clip.workspace), clip.role, clip.slug)


def _clip(values: Values) -> Clip:
    return Clip(**{**values, "face_ids": tuple(values["face_ids"])})


def _faces(values: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((face_id, file) for face_id, file in values)


_NAMES: Mapping[type[Request], str] = {Survey: "survey", Clear: "clear", Missing: "missing", Forget: "forget"}
_ANSWERS: Mapping[str, Callable[[Values], object]] = {
    "survey": lambda said: _survey(Survey(_clip(said["clip"]))),
    "clear": lambda said: _clear(Clear(_clip(said["clip"]))),
    "missing": lambda said: _missing(Missing(_clip(said["clip"]), _faces(said["faces"]))),
    "forget": lambda said: _forget(Forget(tuple(_clip(one) for one in said["clips"]))),
}
"""What the child does with the JSON of each request."""


def main(parent: int) -> int:
    """Answer the request on standard input."""
    die_with(parent)
    limit_memory(MEMORY_BYTES)
    os.umask(UMASK)
    answer: object
    try:
        said = json.load(sys.stdin)
        answer, code = _ANSWERS[said["do"]](said), 0
    except OutputError as problem:
        answer, code = {"error": problem.message, "hint": problem.hint}, EXIT_REFUSED
    json.dump(answer, sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
