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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from core.boundary import log_unforeseen
from core.text import escaped
from daemon.crew.contract import WorkerSaidError
from daemon.crew.local import ERROR_LINES_KEPT, child_environment
from daemon.errors import WorkerError
from daemon.ledger.faces import WrittenFace
from daemon.ledger.jobs import Job
from daemon.worker.process import UMASK, die_with, limit_memory
from engine.errors import OutputError
from engine.face_id import is_sha256

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


def survey_results(job: Job) -> SurveyTexts | None:
    """Return what lies there of a job; None where a redo removes nothing.

    Raise OutputError where the workspace cannot be read, WorkerError where the child gave no answer.
    """
    answer = _ask("survey", [clip_of(job)], SURVEY_LIMIT_S)
    return None if answer is None else SurveyTexts(**answer)


def clear_results(job: Job) -> None:
    """Remove what a job wrote, except manual changes. Raise as `survey_results`."""
    _ask("clear", [clip_of(job)], CLEAR_LIMIT_S)


def missing_faces(job: Job, written: Sequence[WrittenFace]) -> list[str]:
    """Return the names under which these faces of a job were written that are there no more. Raise as
    `survey_results`."""
    answer = _ask("missing", [clip_of(job)], SURVEY_LIMIT_S, faces=[[one.face_id, one.file] for one in written])
    return [str(name) for name in answer]


def remove_faces(clips: Sequence[Clip]) -> RemovedFaces:
    """Remove every face of these clips. Raise as `survey_results`."""
    answer = _ask("forget", clips, FORGET_LIMIT_S)
    return RemovedFaces(**{name: tuple(texts) for name, texts in answer.items()})


def _ask(what: str, clips: Sequence[Clip], limit_s: float, **more: object) -> Any:
    """Return the answer of a child process, as JSON values."""
    request = {"do": what, "clips": [asdict(clip) for clip in clips], **more}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "daemon.worker.workspaces", str(os.getpid())],
            input=json.dumps(request).encode(),
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
        raise _died(done.returncode, done.stderr, clips)
    return json.loads(done.stdout)


def _died(status: int, stderr: bytes, clips: Sequence[Clip]) -> WorkerError:
    """Return what to raise for a child that died, with what it said last as the cause."""
    lines = stderr.decode(errors="backslashreplace").strip().splitlines()[-ERROR_LINES_KEPT:]
    last = lines[-1] if lines else ""
    problem = WorkerError(f"the search of the workspace ended with {status}: {last}")
    problem.__cause__ = WorkerSaidError(lines)
    if status > 0:  # it ended itself: of an error that nobody foresaw, whose traceback is what it said last
        workspaces = sorted({clip.workspace for clip in clips})
        log_unforeseen("job", f"the search of {', '.join(map(escaped, workspaces))}", problem)
    return problem


def _answer(request: Mapping[str, Any]) -> object:
    from daemon.worker.outputs import clip_files
    from engine.results.clearing import clear_results
    from engine.results.earlier_run import find_earlier_run
    from engine.results.missing_faces import faces_not_found
    from engine.results.removal import ClipFaces, remove_faces
    from engine.workspace.file_names import inbox_layout

    clips = [Clip(**clip) for clip in request["clips"]]
    layouts = [inbox_layout(Path(clip.workspace), clip.role, clip.slug) for clip in clips]
    if request["do"] == "forget":
        known = [
            ClipFaces(layout, clip.source_sha256, frozenset(clip.face_ids))
            for layout, clip in zip(layouts, clips, strict=True)
        ]
        try:
            return vars(remove_faces(known, clip_files))
        except OSError as problem:
            raise OutputError(f"cannot remove {problem.filename}: {problem.strerror}") from problem
    (layout,), (clip,) = layouts, clips
    if request["do"] == "missing":
        return faces_not_found(layout, request["faces"], clip.source_sha256)
    if request["do"] == "clear":
        clear_results(layout)
    elif (earlier := find_earlier_run(layout)) is not None:
        texts = SurveyTexts(
            holds=earlier.text(),
            goes=earlier.would_go_text(),
            went=earlier.replaced_text(discard_changes=False),
            went_with_changes=earlier.replaced_text(discard_changes=True),
        )
        return asdict(texts)
    return None


def main(parent: int) -> int:
    """Answer the request on standard input."""
    die_with(parent)
    limit_memory(MEMORY_BYTES)
    os.umask(UMASK)
    answer: object
    try:
        answer, code = _answer(json.load(sys.stdin)), 0
    except OutputError as problem:
        answer, code = {"error": problem.message, "hint": problem.hint}, EXIT_REFUSED
    json.dump(answer, sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
