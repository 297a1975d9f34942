"""In what precision the networks of a training compute; losses and optimizers always do in float32.

fp32    everything
tf32    convolutions on a GPU by tensor cores with 10 bits of fraction; dense layers stay in float32
bf16    convolutions in bfloat16
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import torch

from trainer.errors import SettingsError

Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
_CPU_BF16 = ("avx512_bf16", "amx_bf16")


def checked_precision(name: str, device: torch.device, cpu_flags: frozenset[str] | None = None) -> Precision:
    """Return the precision of this name; raise SettingsError, with the reason, where `device` cannot use it.

    `cpu_flags` are those of this machine's processor where they are not given.
    """
    if name == "fp16":
        raise SettingsError(
            "precision fp16 is refused: its small range loses the gradients of these losses", hint="take bf16"
        )
    known = {one: one for one in PRECISIONS}
    if name not in known:
        raise SettingsError(f"precision is {name}, expected {', '.join(PRECISIONS)}")
    precision = known[name]
    if device.type == "cpu" and precision == "tf32":
        raise SettingsError("precision tf32 is refused on a CPU: only tensor cores of a GPU have it", hint="take fp32")
    if device.type == "cpu" and precision == "bf16":
        flags = _flags_of_this_cpu() if cpu_flags is None else cpu_flags
        if flags.isdisjoint(_CPU_BF16):
            raise SettingsError(
                f"precision bf16 is refused: this CPU has none of {', '.join(_CPU_BF16)}, and would imitate it slowly",
                hint="take fp32",
            )
    return precision


def network_context(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return what the networks' forward passes run in."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def _flags_of_this_cpu() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith("flags") for word in line.partition(":")[2].split())
