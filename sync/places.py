"""Where dfld keeps things in a machine's model folder. Pure. How a model's own files are named: dfl.model_files.

Everything of dfld's lies in `<model dir>/.dfld/<name>_<Class>/`: on the same disk as the model, so that a rename or a
hard link works, and out of the way of DeepFaceLab, which reads files of the model folder only.
"""

from __future__ import annotations

from dataclasses import dataclass

from dfl.model_files import ModelName


@dataclass(frozen=True)
class RemotePlaces:
    """Paths on one machine for one model."""

    model_dir: str
    model: ModelName

    @property
    def own(self) -> str:
        return f"{self.model_dir}/.dfld/{self.model.prefix}"

    def live(self, part: str) -> str:
        """Where the trainer reads and writes `part`."""
        return f"{self.model_dir}/{self.model.file_name(part)}"

    def snapshot(self, number: int) -> str:
        """Folder of hard links that hold one save still while it is pulled."""
        return f"{self.own}/snapshot-{number:06d}"

    def staged(self, number: int) -> str:
        """Folder of the files that a round will put in place."""
        return f"{self.own}/round-{number:06d}"

    @property
    def given(self) -> str:
        """What was given last: round and hashes, written after the last file is in place."""
        return f"{self.own}/given.json"

    @property
    def stopping(self) -> str:
        """Lies there from just before a trainer is asked to stop until it has ended."""
        return f"{self.own}/stopping.json"

    @property
    def hook(self) -> str:
        return f"{self.own}/hook.py"

    @property
    def hook_error(self) -> str:
        """The traceback of what failed in the hook last, while it answered no request."""
        return f"{self.hook}.error"

    @property
    def request(self) -> str:
        return f"{self.own}/request.json"

    @property
    def answer(self) -> str:
        return f"{self.own}/answer.json"

    @property
    def alive(self) -> str:
        return f"{self.own}/alive.json"


def places_of(model_dir: str, model: ModelName) -> RemotePlaces:
    """Return the places for a model folder as a person wrote it: backslashes and a last slash are forgiven."""
    return RemotePlaces(model_dir.replace("\\", "/").rstrip("/") or "/", model)
