"""How busy the GPU is while something runs, as nvidia-smi says; nothing where there is none.

For the other programs of this folder; run by itself it does nothing.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
from types import TracebackType

EVERY_MS = 200


class GpuWatch:
    """Asks for the first GPU's load and memory until the block ends."""

    def __init__(self) -> None:
        self._asking: subprocess.Popen[str] | None = None
        self._lines: list[str] = []

    def __enter__(self) -> GpuWatch:
        program = shutil.which("nvidia-smi")
        if program:
            wanted = "--query-gpu=utilization.gpu,memory.used"
            self._asking = subprocess.Popen(
                [program, wanted, "--format=csv,noheader,nounits", "--id=0", f"--loop-ms={EVERY_MS}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        return self

    def __exit__(self, _kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        if self._asking:
            self._asking.terminate()
            self._lines = self._asking.communicate()[0].splitlines()

    def result(self) -> dict[str, float]:
        """Return `gpu_percent` (mean), `gpu_percent_peak` and `gpu_memory_mib_peak`; empty where nothing was heard."""
        samples = [numbers for line in self._lines if len(numbers := _numbers(line)) == 2]
        if not samples:
            return {}
        loads, memory = zip(*samples, strict=True)
        return {
            "gpu_percent": round(statistics.mean(loads), 1),
            "gpu_percent_peak": max(loads),
            "gpu_memory_mib_peak": max(memory),
        }


def _numbers(line: str) -> list[float]:
    try:
        return [float(part) for part in line.split(",")]
    except ValueError:  # "[N/A]", or a line that was cut off
        return []
