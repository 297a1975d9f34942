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
from pathlib import Path
from typing import Any

from daemon.crew.local import child_environment
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


def clip_of(job: Job) -> dict[str, str]:
    """Return what names a job's files to the child."""
    return {"workspace": job.workspace, "role": job.role, "slug": job.slug}


def identified_clip_of(job: Job) -> dict[str, str]:
    """Return what names a job's files, and the hash that ids of its faces are made of; "" where it has none."""
    is_known = job.source_kind == "video" and is_sha256(job.sha256)
    return {**clip_of(job), "source_sha256": job.sha256 if is_known else ""}


def survey_results(job: Job) -> dict[str, Any] | None:
    """Return what lies there of a job, each a sentence; None where a redo removes nothing.

    `holds`; `goes`: what a redo would remove; `went` and `went_with_changes`: the same once it was asked for.

    Raise OutputError where the workspace cannot be read, WorkerError where the child gave no answer.
    """
    answer: dict[str, Any] | None = _ask({"do": "survey", "clip": clip_of(job)}, SURVEY_LIMIT_S)
    return answer


def clear_results(job: Job) -> None:
    """Remove what a job wrote, except manual changes. Raise as `survey_results`."""
    _ask({"do": "clear", "clip": clip_of(job)}, CLEAR_LIMIT_S)


def missing_faces(job: Job, written: Sequence[WrittenFace]) -> list[str]:
    """Return the names under which these faces of a job were written that are there no more. Raise as
    `survey_results`."""
    faces = [[one.face_id, one.file] for one in written]
    answer: list[str] = _ask({"do": "missing", "clip": identified_clip_of(job), "faces": faces}, SURVEY_LIMIT_S)
    return answer


def remove_faces(clips: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Remove every face of these clips; return `removed`, `left` and `remains`. Raise as `survey_results`.

    A clip is what `identified_clip_of` returns, with `face_ids`, those of its faces in the ledger.
    """
    answer: dict[str, list[str]] = _ask({"do": "forget", "clips": list(clips)}, FORGET_LIMIT_S)
    return answer


def _ask(request: Mapping[str, Any], limit_s: float) -> Any:
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
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise WorkerError(f"the look into the workspace ended with {done.returncode}: {' '.join(said)}")
    return json.loads(done.stdout)


def _answer(request: Mapping[str, Any]) -> Any:
    from daemon.worker.outputs import clip_files
    from engine.results.clearing import clear_results
    from engine.results.earlier_run import find_earlier_run
    from engine.results.missing_faces import faces_not_found
    from engine.results.removal import ClipFaces, remove_faces
    from engine.workspace.layout import inbox_layout

    def layout(clip: Mapping[str, Any]) -> Any:
        return inbox_layout(Path(clip["workspace"]), clip["role"], clip["slug"])

    if request["do"] == "forget":
        clips = [
            ClipFaces(layout(clip), clip["source_sha256"], frozenset(clip["face_ids"])) for clip in request["clips"]
        ]
        try:
            return vars(remove_faces(clips, clip_files))
        except OSError as problem:
            raise OutputError(f"cannot remove {problem.filename}: {problem.strerror}") from problem
    clip = layout(request["clip"])
    if request["do"] == "missing":
        return faces_not_found(clip, request["faces"], request["clip"]["source_sha256"])
    if request["do"] == "clear":
        clear_results(clip)
    elif (earlier := find_earlier_run(clip)) is not None:
        return {
            "holds": earlier.text(),
            "goes": earlier.would_go_text(),
            "went": earlier.replaced_text(discard_changes=False),
            "went_with_changes": earlier.replaced_text(discard_changes=True),
        }
    return None


def main(parent: int) -> int:
    """Answer the request on standard input."""
    die_with(parent)
    limit_memory(MEMORY_BYTES)
    os.umask(UMASK)
    try:
        answer, code = _answer(json.load(sys.stdin)), 0
    except OutputError as problem:
        answer, code = {"error": problem.message, "hint": problem.hint}, EXIT_REFUSED
    json.dump(answer, sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
