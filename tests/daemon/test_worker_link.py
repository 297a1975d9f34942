"""The service's end of a worker: what a worker is given when it starts."""

from __future__ import annotations

import sys

from daemon.worker.link import WorkerLink
from tests.daemon_rig import ROOT, wait_until

WHERE = "import os, sys; sys.stdin.read(); sys.stderr.write(os.environ['PYTHONPATH'].split(os.pathsep)[0] + chr(10))"


def test_a_worker_runs_the_program_that_its_service_runs_whatever_else_is_installed() -> None:
    said: list[str] = []
    link = WorkerLink(command=(sys.executable, "-c", WHERE), on_error_line=said.append)
    link.close()  # ends its input, upon which it speaks
    wait_until(lambda: said, "the worker to speak")
    assert said == [str(ROOT)]
