"""The service's end of a worker: what a worker is given when it starts, and one that does not listen."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.crew.contract import WorkerDiedError
from daemon.crew.gpu import gpu_for, installed_gpus
from daemon.crew.local import LocalCrew, LocalLink
from daemon.crew.messages import PieceSent, Task, message_bytes
from daemon.jobs.kinds.contract import Needs
from tests.daemon_rig import ROOT, wait_until

WHERE = "import os, sys; sys.stdin.read(); sys.stderr.write(os.environ['PYTHONPATH'].split(os.pathsep)[0] + chr(10))"


def test_a_worker_runs_the_program_that_its_service_runs_whatever_else_is_installed() -> None:
    said: list[str] = []
    link = LocalLink(command=(sys.executable, "-c", WHERE), on_error_line=said.append)
    link.close()  # ends its input, upon which it speaks
    wait_until(lambda: said, "the worker to speak")
    assert said == [str(ROOT)]


ECHO = "import sys; sys.stderr.write(str(len(sys.stdin.readline())) + chr(10))"
LARGE = PieceSent(Task(1, 1), {"records": ["x" * 1000] * 1000})
"""A megabyte: a pipe holds 64 KiB."""


def test_a_worker_that_reads_nothing_holds_up_nobody_and_gets_every_byte_once_it_reads() -> None:
    said: list[str] = []
    link = LocalLink(command=(sys.executable, "-c", ECHO), on_error_line=said.append)
    os.kill(link.pid, signal.SIGSTOP)
    left = link.send(LARGE)
    assert len(message_bytes(LARGE)) > left > 0
    assert link.flush(0.05) == left, "it takes nothing"
    os.kill(link.pid, signal.SIGCONT)
    wait_until(lambda: link.flush(0.05) == 0, "the worker to take the rest")
    wait_until(lambda: said, "the worker to speak")
    assert said == [str(len(message_bytes(LARGE)))]
    link.close()


@pytest.mark.parametrize("end", [LocalLink.kill, LocalLink.close])
def test_a_worker_that_reads_nothing_can_be_ended_with_words_on_their_way(end: Callable[[LocalLink], None]) -> None:
    link = LocalLink(command=(sys.executable, "-c", ECHO))
    os.kill(link.pid, signal.SIGSTOP)
    assert link.send(LARGE)
    end(link)
    assert not link.is_alive
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        link.flush(0.05)


def test_a_worker_that_dies_with_words_on_their_way_is_known_to_be_dead() -> None:
    link = LocalLink(command=(sys.executable, "-c", ECHO))
    os.kill(link.pid, signal.SIGSTOP)
    assert link.send(LARGE)
    os.kill(link.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        wait_until(lambda: link.flush(0.05) == 0, "the pipe to break")
    link.close()


SEES = "import os, sys; sys.stdin.read(); sys.stderr.write(os.environ.get('CUDA_VISIBLE_DEVICES', 'all') + chr(10))"


@pytest.mark.parametrize("gpu", ["1", "GPU-5f", None])
def test_a_worker_sees_the_gpu_it_was_given(gpu: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    said: list[str] = []
    link = LocalLink(command=(sys.executable, "-c", SEES), on_error_line=said.append, gpu=gpu)
    link.close()
    wait_until(lambda: said, "the worker to speak")
    assert said == [gpu or "all"]


@pytest.mark.parametrize(("needs_it", "sees"), [(True, "1"), (False, "")])
def test_a_worker_whose_jobs_need_no_gpu_sees_none(needs_it: bool, sees: str) -> None:
    said: list[str] = []
    crew = LocalCrew(command=(sys.executable, "-c", SEES), on_error_line=said.append, gpus=lambda _slot: "1")
    crew.open_link(0, Needs(models=False, gpu=needs_it), 0).close()
    wait_until(lambda: said, "the worker to speak")
    assert said == [sees]


def test_workers_take_the_gpus_in_turn() -> None:
    assert [gpu_for(slot, None, ("0", "1", "2")) for slot in range(5)] == ["0", "1", "2", "0", "1"]
    assert [gpu_for(slot, "3, GPU-5f", ("0", "1", "2", "3")) for slot in range(3)] == ["3", "GPU-5f", "3"]
    assert gpu_for(1, None, ("0",)) is None, "one GPU is shared"
    assert gpu_for(1, "", ("0", "1")) is None, "no GPU for the service, none for its workers"
    assert gpu_for(0, None, ()) is None


def test_the_gpus_of_this_machine_are_told_from_the_drivers_other_devices(tmp_path: Path) -> None:
    for name in ("nvidia10", "nvidia0", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert installed_gpus(tmp_path) == ("0", "2", "10")
