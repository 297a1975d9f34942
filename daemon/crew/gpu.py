"""Which GPU a worker gets: one each, in turn; and how full their memory is. Lists the devices, and asks the driver.

CUDA shows a program the devices that `CUDA_VISIBLE_DEVICES` names; a worker is started with one of them, so that its
models and its video decoder lie on the same one and no worker crowds another.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
ASK_MEMORY = ("--query-gpu=memory.used", "--format=csv,noheader,nounits")
ANSWER_S = 5.0
"""A driver that has to wake its GPU takes a second or two; a scrape may last ten."""
MIB = 2**20
_DEVICE = re.compile(r"nvidia\d+")


def installed_gpus(devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the numbers of the NVIDIA GPUs that this machine shows, smallest first."""
    found = (path.name for path in devices.glob("nvidia*"))
    return tuple(sorted((name.removeprefix("nvidia") for name in found if _DEVICE.fullmatch(name)), key=int))


def gpu_for(slot: int, visible: str | None, installed: Sequence[str]) -> str | None:
    """Return what `CUDA_VISIBLE_DEVICES` should be for the worker of a slot (0, 1, …); None to leave it as it is.

    `visible`: the service's own setting, which is shared out where it is there; else the `installed` ones are. With
    fewer than two there is nothing to share.
    """
    names = [name.strip() for name in visible.split(",")] if visible is not None else list(installed)
    return names[slot % len(names)] if len(names) > 1 else None


def gpu_memory_used_bytes(installed: Sequence[str]) -> int | None:
    """Return what all programs together use of the memory of this machine's GPUs, as nvidia-smi says.

    None without a GPU or without nvidia-smi. Raise OSError, subprocess.SubprocessError or ValueError where it does not
    answer in ANSWER_S, or not with numbers of MiB.
    """
    program = shutil.which("nvidia-smi")
    if not installed or program is None:
        return None
    answer = subprocess.run([program, *ASK_MEMORY], check=True, capture_output=True, text=True, timeout=ANSWER_S)
    return sum(int(line) for line in answer.stdout.splitlines()) * MIB
