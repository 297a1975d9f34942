"""One trainer at a time: a lock beside the model, and DeepFaceLab's processes, which take no lock.

The lock ends with the process that holds it, however that ends. DeepFaceLab keeps no file open, so it is found in the
list of processes: `main.py train` whose command line or working directory names the model's folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.files import FILE_MODE
from core.processes import DFL_SCRIPT, PROC, NamedFolders, RunningProcess, running_processes
from dfl.model_files import ModelName
from trainer.errors import ModelFolderError, ModelInUseError

FORCED_NAME = "--force-model-name"
"""With it DeepFaceLab trains that model and asks for none; without it, any model in the folder."""


@contextmanager
def sole_trainer(folder: Path, model: ModelName, *, proc: Path = PROC) -> Iterator[None]:
    """Hold a model. Raise ModelInUseError where another trainer has it, ModelFolderError where no lock can be made."""
    path = folder / f".{model.prefix}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    except OSError as problem:
        raise ModelFolderError(f"{folder} cannot be written to: {problem.strerror}") from problem
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            if problem.errno not in (errno.EAGAIN, errno.EACCES):
                raise ModelFolderError(f"{path} cannot be locked: {problem.strerror}") from problem
            raise ModelInUseError(
                f"another dfld trains or changes {model.prefix} in {folder} at this moment", hint="stop that one first"
            ) from None
        require_no_dfl(folder, model, proc=proc)
        yield
    finally:
        os.close(descriptor)


def require_no_dfl(folder: Path, model: ModelName, *, proc: Path = PROC) -> None:
    """Raise ModelInUseError where DeepFaceLab may be training the model on this computer."""
    places = NamedFolders(folder, proc=proc)
    for process in running_processes(proc):
        if _may_train(process, model) and places.are_named_by(process):
            raise ModelInUseError(
                f"DeepFaceLab may be training {model.prefix} in {folder}: {process.words}",
                hint="stop it: two trainers overwrite each other's model at every save",
            )


def _may_train(process: RunningProcess, model: ModelName) -> bool:
    arguments = process.arguments
    if "train" not in arguments or DFL_SCRIPT not in (os.path.basename(one) for one in arguments):  # noqa: PTH119
        return False
    forced = arguments[arguments.index(FORCED_NAME) + 1 :][:1] if FORCED_NAME in arguments else ()
    return not forced or forced[0] == model.name
