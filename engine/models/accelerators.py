"""Where ONNX Runtime runs: the GPU that was asked for, or the CPU, and never one in place of the other silently.

Two things go wrong in the field. `onnxruntime` (which insightface depends on) and `onnxruntime-gpu` ship the same
module, so that installing both leaves whichever was unpacked last. And a CUDA provider that is listed may fail to
load (driver, cuDNN), upon which ONNX Runtime goes on without an error with the CPU. Both are found and reported here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from engine.errors import ModelError, SettingsError
from engine.models.onnx_session import BindableSession, Session

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

Device = Literal["auto", "cpu", "cuda"]

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
INSTALL_GPU_HINT = "run `make install-gpu`: it removes onnxruntime and onnxruntime-gpu and puts the GPU one back alone"

# Distributions that all unpack a module called `onnxruntime`.
RUNTIME_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
NVIDIA_DEVICE = Path("/dev/nvidia0")

# What insightface's classes raise over a graph that is not what its shapes promised.
SURPRISES = (OSError, RuntimeError, ValueError, AssertionError, LookupError, AttributeError, TypeError)


@dataclass(frozen=True)
class AcceleratorReport:
    """What this machine and this environment could run models on."""

    distributions: tuple[str, ...]
    """Installed distributions of ONNX Runtime, `name version`."""
    providers: tuple[str, ...]
    """Execution providers that ONNX Runtime lists; being listed is no proof that it loads."""
    gpu_seen: bool
    """Whether the machine shows an NVIDIA device."""
    problem: str
    """What is wrong, in one sentence; empty when nothing is."""
    hint: str
    """The remedy of `problem`."""


def accelerator_report() -> AcceleratorReport:
    """Look at what is installed and return it, with the problem and its remedy where there is one."""
    distributions = _installed(RUNTIME_DISTRIBUTIONS)
    providers = available_providers()
    gpu_seen = NVIDIA_DEVICE.exists()
    problem = runtime_problem(distributions, providers, gpu_seen=gpu_seen)
    return AcceleratorReport(
        distributions=tuple(f"{name} {version}" for name, version in distributions.items()),
        providers=providers,
        gpu_seen=gpu_seen,
        problem=problem,
        hint=INSTALL_GPU_HINT if problem else "",
    )


def runtime_problem(distributions: Collection[str], providers: Sequence[str], *, gpu_seen: bool) -> str:
    """Given what is installed and what it lists, say in one sentence what is wrong; "" when nothing is."""
    if len(distributions) > 1:
        return (
            f"{' and '.join(sorted(distributions))} are both installed; they overwrite each other's files, "
            f"and this environment now runs whichever was unpacked last"
        )
    if gpu_seen and CUDA_PROVIDER not in providers:
        return "this machine has an NVIDIA GPU, but the installed onnxruntime is the CPU one"
    return ""


def available_providers() -> tuple[str, ...]:
    """Return the execution providers that the installed ONNX Runtime was built with."""
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


def choose_providers(device: str, available: Sequence[str]) -> list[str]:
    """Given what was asked for and what is listed, return the providers to open a session with.

    Raise ModelError when CUDA was asked for and is not even listed, SettingsError for an unknown device.
    """
    if device not in get_args(Device):
        raise SettingsError(f"device is {device!r}, expected one of {', '.join(get_args(Device))}")
    if device == "cpu":
        return [CPU_PROVIDER]
    if CUDA_PROVIDER in available:
        return [CUDA_PROVIDER, CPU_PROVIDER]
    if device == "cuda":
        raise ModelError(
            f"the GPU was asked for, but the installed onnxruntime offers only {', '.join(available)}; nothing was run",
            hint=INSTALL_GPU_HINT,
        )
    return [CPU_PROVIDER]


def check_device(device: str, wanted: Sequence[str], used: Sequence[str], *, problem: str = "") -> tuple[str, ...]:
    """Compare the providers a session was opened with to those it really got, and return warnings.

    `problem` is what `accelerator_report` found: unless the CPU was asked for it becomes a warning, since the GPU may
    be idle because of it. Raise ModelError when CUDA was asked for and the session fell back to the CPU.
    """
    fell_back = CUDA_PROVIDER in wanted and CUDA_PROVIDER not in used
    story = "ONNX Runtime lists CUDA, but could not load it (driver, CUDA or cuDNN do not fit) and fell back to the CPU"
    if fell_back and device == "cuda":
        raise ModelError(f"the GPU was asked for; {story}; nothing was run", hint=INSTALL_GPU_HINT)
    if fell_back:
        return (f"{story}: everything runs, slowly; {INSTALL_GPU_HINT}",)
    if device != "cpu" and problem:
        return (f"{problem}; {INSTALL_GPU_HINT}",)
    return ()


def session_options() -> SessionOptions:
    """Return ONNX Runtime session options: no spinning, no messages.

    How many threads one run has is left to the runtime (one a core). Spinning threads use a core that the decoder
    wants; severity 4 keeps ONNX Runtime off stderr, since what goes wrong is reported by the exceptions and by
    `check_device`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


CUDA_OPTIONS = MappingProxyType(
    {
        # By default each convolution is searched anew for every shape of input, exhaustively: 0.3 to 1.3 s a shape
        # where the heuristic takes 5 ms and is no slower afterwards (PaddleX pull request 5057, on an RTX 2080 Ti).
        # Pictures and batches here come in many sizes. DEFAULT is a third thing, and slow (onnxruntime issue 22705).
        "cudnn_conv_algo_search": "HEURISTIC",
        # Memory grows by what is asked for, not by doubling, so that other workers and trainers fit beside.
        "arena_extend_strategy": "kSameAsRequested",
        # By default single precision multiplies in TF32, with half precision's 10 bits. What runs in single precision
        # here is either the answer that half precision is held against, or a model that half precision changed.
        "use_tf32": "0",
    }
)
"""The options of CUDA that are set. Left alone, since a GPU would have to show that they help: `prefer_nhwc`, which
pays or costs depending on the graph; `enable_cuda_graph`, which wants one shape; `cudnn_conv_use_max_workspace`, on
already; `do_copy_in_default_stream`, whose other value races. TensorRT is not offered: see docs/architecture.md."""


def provider_options(providers: Sequence[str]) -> list[dict[str, str]]:
    """Return the options to open each provider with: CUDA_OPTIONS for CUDA, none for others."""
    return [dict(CUDA_OPTIONS) if provider == CUDA_PROVIDER else {} for provider in providers]


def runs_on(session: Session, device: str) -> bool:
    """Say whether a session runs on `device` (`cuda`, or `cpu`, where all of them can)."""
    return {"cuda": CUDA_PROVIDER, "cpu": CPU_PROVIDER}[device] in session.get_providers()


def open_session(path: Path, providers: Sequence[str]) -> BindableSession:
    """Open an ONNX file for running. Raise ModelError, naming it, when it cannot be loaded."""
    import onnxruntime
    from insightface.model_zoo.onnxruntime_utils import preload_cuda_libraries

    with naming(path):
        preload_cuda_libraries(providers)
        onnxruntime.disable_telemetry_events()  # where a build has any: nothing about faces leaves this machine
        session: BindableSession = onnxruntime.InferenceSession(
            str(path),
            session_options(),
            providers=list(providers),
            provider_options=provider_options(providers),
        )
    return session


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever ONNX Runtime or insightface raise over the file `path` into a ModelError that names it."""
    try:
        yield
    except graph_errors() as problem:
        raise ModelError(
            f"model file {path} cannot be loaded or run: {problem}", hint="delete it and fetch it again"
        ) from problem


def graph_errors() -> tuple[type[Exception], ...]:
    """Return whatever ONNX, ONNX Runtime or insightface raise over a graph that does not fit."""
    from google.protobuf.message import DecodeError
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    return (
        errors.EPFail,
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NoSuchFile,
        errors.NotImplemented,
        errors.RuntimeException,
        DecodeError,
        *SURPRISES,
    )


def runtime_version() -> str:
    """Return the version of the ONNX Runtime that runs."""
    import onnxruntime

    return str(onnxruntime.__version__)


def _installed(names: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
