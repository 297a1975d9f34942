"""The backends by name: open one, or describe them all.

The command line and the worker come here; nobody else needs to know which file holds which backend.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.backends.backend import Backend, BackendInfo
from engine.errors import ModelError, SettingsError

BACKENDS = ("insightface", "dlib", "opencv_cascade")


@dataclass(frozen=True)
class BackendDescription:
    """A line of `dfld backends`: what a backend is made of, or why it cannot be opened."""

    name: str
    info: BackendInfo | None
    """None when it cannot be opened."""
    problem: str = ""
    hint: str = ""

    @property
    def available(self) -> bool:
        return self.info is not None


def open_backend(
    name: str,
    *,
    model_root: Path | None = None,
    model_pack: str = "buffalo_l",
    device: str = "auto",
    allow_download: bool = True,
) -> Backend:
    """Open a backend by name, loading its models.

    `model_root`, `model_pack` and `allow_download` concern insightface alone. `device`: auto, cpu or cuda. Raise
    SettingsError for an unknown name, ModelError when models are missing, damaged, or cannot run on `device`.
    """
    if name == "insightface":
        from engine.backends.insightface import InsightFaceBackend

        return InsightFaceBackend(
            model_root=model_root,
            model_pack=model_pack,
            device=device,
            allow_download=allow_download,
        )
    if name == "dlib":
        from engine.backends.dlib import DlibBackend

        return DlibBackend(device=device)
    if name == "opencv_cascade":
        from engine.backends.opencv_cascade import OpencvCascadeBackend

        return OpencvCascadeBackend(device=device)
    meant = difflib.get_close_matches(name, BACKENDS, n=1)
    raise SettingsError(
        f"backend {name!r} is not known, expected one of {', '.join(BACKENDS)}",
        hint=f"did you mean {meant[0]}?" if meant else "",
    )


def describe_backends(
    names: Sequence[str] = BACKENDS,
    *,
    model_root: Path | None = None,
    model_pack: str = "buffalo_l",
    device: str = "auto",
) -> tuple[BackendDescription, ...]:
    """Try to open each backend, downloading nothing, and say what it is made of or why it cannot be opened."""
    lines = []
    for name in names:
        try:
            backend = open_backend(
                name, model_root=model_root, model_pack=model_pack, device=device, allow_download=False
            )
        except (ModelError, SettingsError) as problem:
            lines.append(BackendDescription(name, None, *_with_runtime_problem(name, problem.message, problem.hint)))
        else:
            lines.append(BackendDescription(name, backend.info))
    return tuple(lines)


def _with_runtime_problem(name: str, problem: str, hint: str) -> tuple[str, str]:
    """Add what is wrong with the installed ONNX Runtime to why the backend that needs it cannot be opened."""
    from engine.models.accelerators import accelerator_report

    report = accelerator_report()
    if name != "insightface" or not report.problem:
        return problem, hint
    return f"{problem}; besides, {report.problem}", f"{hint}; {report.hint}"
