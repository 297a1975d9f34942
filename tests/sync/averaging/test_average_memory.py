"""Archives are averaged without having all of them, or even one array of each, in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from sync.averaging.average_files import average_files

MIB = 2**20
ARRAY_MIB = 16


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_average_needs_less_memory_than_one_of_its_arrays(tmp_path: Path, save: object) -> None:
    inputs = [tmp_path / f"{number}.npz" for number in range(4)]
    base = np.random.default_rng(0).standard_normal(ARRAY_MIB * MIB // 4, dtype=np.float32)
    for number, path in enumerate(inputs):
        save(path, weight=base + 0.01 * number, steps=np.arange(MIB))  # type: ignore[operator]
    average_files(inputs, tmp_path / "warm.npz")  # what is imported at the first use is not counted
    tracemalloc.start()
    try:
        average_files(inputs, tmp_path / "out.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < ARRAY_MIB * MIB
    with np.load(tmp_path / "out.npz") as found:
        expected = np.mean([(base + 0.01 * number).astype(np.float64) for number in range(4)], axis=0)
        np.testing.assert_allclose(found["weight"], expected, rtol=1e-6)
        np.testing.assert_array_equal(found["steps"], np.arange(MIB))


def test_pytorch_files_are_mapped_and_not_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from sync.averaging.torch_files import load_torch

    path = tmp_path / "model.pt"
    torch.save({"weight": torch.ones(64 * MIB // 4)}, path)
    load_torch(path)  # what is imported at the first use is not counted
    before = own_memory_bytes()
    content = load_torch(path)
    assert own_memory_bytes() - before < 16 * MIB
    assert content["weight"].sum() == 64 * MIB // 4


def own_memory_bytes() -> int:
    """The memory of this process that is no part of a file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell RssAnon")
