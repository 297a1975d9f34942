"""What all programs use of the GPUs' memory, asked of a program that stands in for nvidia-smi."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from daemon.crew.gpu import ASK_MEMORY, gpu_memory_used_bytes
from daemon.metrics.registry import Metrics, Names
from daemon.readings import gpu_reading

TWO = ("0", "1")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `nvidia-smi` on the path, to be written."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "nvidia-smi"


def write(program: Path, body: str) -> None:
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def test_the_memory_of_all_gpus_is_summed(program: Path) -> None:
    write(program, f'[ "$*" = "{" ".join(ASK_MEMORY)}" ] && printf "1024\\n512\\n"')
    assert gpu_memory_used_bytes(TWO) == 1536 * 2**20


def test_without_a_gpu_or_its_program_nothing_is_told(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(program.parent))
    assert gpu_memory_used_bytes(TWO) is None
    write(program, "exit 1")
    assert gpu_memory_used_bytes(()) is None


@pytest.mark.parametrize("body", ["exit 9", "echo '[N/A]'"])
def test_a_driver_that_does_not_answer_spoils_no_other_number(program: Path, body: str) -> None:
    write(program, body)
    with pytest.raises((subprocess.CalledProcessError, ValueError)):
        gpu_memory_used_bytes(TWO)
    registry = CollectorRegistry()
    metrics = Metrics(registry, Names(inboxes=("alice",)))
    metrics.add_reader("gpu", lambda: {"dfld_gpu_memory_used_bytes": {(): gpu_memory_used_bytes(TWO) or 0}})
    metrics.add_reader("progress", lambda: {"dfld_job_progress_ratio": {("alice",): 0.5}})
    assert registry.get_sample_value("dfld_job_progress_ratio", {"inbox": "alice"}) == 0.5
    assert registry.get_sample_value("dfld_gpu_memory_used_bytes") is None
    assert registry.get_sample_value("dfld_collector_success", {"collector": "gpu"}) == 0.0


def test_a_machine_without_a_gpu_has_no_such_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.readings.installed_gpus", tuple)
    assert gpu_reading() == {}
