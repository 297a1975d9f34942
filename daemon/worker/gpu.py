"""Which GPU a worker gets: one each, in turn. Pure but for a look at the devices.

CUDA shows a program the devices that `CUDA_VISIBLE_DEVICES` names; a worker is started with one of them, so that its
models and its video decoder lie on the same one and no worker crowds another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
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
