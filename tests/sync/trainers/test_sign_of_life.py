"""Whether a process lives, by what its machine answers. Against real processes in `test_trainer`."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sync.trainers.processes.sign_of_life import Life, ProcessMark, judge, mark_of, question

HOOK = "/work space/it's/model/.dfld/alice_SAEHD/hook.py"
LINUX = ProcessMark(pid=4321, started=500_000, host="gpu1", system="Linux", boot="b-1", pids="pid:[7]")
WINDOWS = ProcessMark(pid=4321, started=133_000_000_000_000_000, host="GPU1", system="Windows")
NO_SUCH = "sh: kill: (4321) - No such process"


def stat(pid: int, started: int, *, state: str = "S", name: str = "python") -> str:
    return f"{pid} ({name}) {state} " + " ".join(["1"] * 18) + f" {started} 1 2 3"


def answer(
    *stats: str,
    boot: str = "b-1",
    host: str = "gpu1",
    pids: str = "pid:[7]",
    uptime: str = "9000.5 1.0",
    kill: str = "",
) -> str:
    return "\n".join([boot, host, pids, uptime, "100", kill, *stats])


@pytest.mark.parametrize(
    ("told", "silent_s", "life"),
    [
        (answer(stat(4321, 500_000)), 3, "lives"),
        (answer(stat(4321, 500_000)), 9999, "lives"),
        (answer(stat(4321, 500_000, name="a) S (b")), 3, "lives"),
        (answer(stat(4321, 500_000, state="Z")), 3, "gone"),
        (answer(stat(4321, 500_001)), 9, "gone"),  # the number was given to another process
        (answer(kill=NO_SUCH), 3, "gone"),
        (answer(kill="sh: kill: (4321) - Operation not permitted"), 3, "unknown"),  # hidden from this user
        (answer(), 3, "unknown"),
        (answer(kill=NO_SUCH, host="nas"), 3, "unknown"),  # a folder that two computers mount
        (answer(kill=NO_SUCH, pids="pid:[8]"), 3, "unknown"),  # the trainer runs in a container
        (answer(kill=NO_SUCH, boot="b-2", uptime="60.0 1.0"), 3000, "gone"),  # begun anew since
        (answer(kill=NO_SUCH, boot="b-2"), 3, "unknown"),  # another computer of that name writes here now
        (answer(stat(77, 899_000), kill=NO_SUCH), 60, "lives"),  # another trainer, begun 10 s ago, loads
        (answer(stat(77, 500_100), kill=NO_SUCH), 60, "gone"),  # a part of the killed one that was left behind
        (answer(stat(77, 899_000, state="Z"), kill=NO_SUCH), 60, "gone"),
        (answer(stat(77, 500_100), kill=NO_SUCH), -5, "lives"),  # the clock was set back: nothing is certain
        ("", 3, "unknown"),
        ("Welcome\nto\ngpu1\n", 3, "unknown"),
        (answer(uptime="?", kill=NO_SUCH), 3, "unknown"),
    ],
)
def test_a_process_is_gone_only_where_that_is_certain(told: str, silent_s: float, life: Life) -> None:
    assert judge(LINUX, told, silent_s=silent_s) == life


@pytest.mark.parametrize(
    ("told", "life"),
    [
        ("GPU1\r\n0\r\n133000000000000000\r\n", "lives"),
        ("gpu1\r\n0\r\n133000000000000001\r\n", "gone"),
        ("GPU1\r\n0\r\nnone\r\n", "gone"),
        ("GPU1\r\n1\r\nnone\r\n", "lives"),
        ("OTHER\r\n0\r\nnone\r\n", "unknown"),
        ("'powershell' is not recognized as an internal or external command", "unknown"),
        ("GPU1\r\nGet-CimInstance : Access denied\r\n", "unknown"),
        ("", "unknown"),
    ],
)
def test_windows_answers_are_read(told: str, life: Life) -> None:
    assert judge(WINDOWS, told, silent_s=3) == life


def test_what_is_asked_of_windows_has_no_sign_that_a_shell_reads() -> None:
    *words, encoded = question(WINDOWS, "C:/o'brien/model/hook.py").split(" ")
    assert words == ["powershell", "-NoProfile", "-NonInteractive", "-EncodedCommand"]
    script = base64.b64decode(encoded).decode("utf-16-le")
    assert "-Id 4321 " in script
    assert "IndexOf('C:/o''brien/model/hook.py'" in script


@pytest.mark.parametrize(
    "process",
    [
        None,
        "1",
        {},
        {"pid": 1, "started": 5, "host": "a", "system": "Linux", "boot": "b", "pids": "p"},
        {"pid": "4321; rm -rf /", "started": 5, "host": "a", "system": "Linux", "boot": "b", "pids": "p"},
        {"pid": True, "started": 5, "host": "a", "system": "Linux", "boot": "b", "pids": "p"},
        {"pid": 44, "started": 5, "host": "", "system": "Linux", "boot": "b", "pids": "p"},
        {"pid": 44, "started": 5, "host": "a", "system": "Linux", "boot": "", "pids": "p"},
        {"pid": 44, "started": 5, "host": "a" * 999, "system": "Windows"},
        {"pid": 44, "started": 5, "host": "a", "system": "Darwin"},
    ],
)
def test_an_odd_mark_is_no_mark(process: Any) -> None:
    assert mark_of({"process": process}) is None


def test_the_question_is_answered_of_a_real_process_and_of_its_successor(tmp_path: Path) -> None:
    hook = str(tmp_path / "it's a model" / "hook.py")

    def ask(mark: ProcessMark, silent_s: float = 0) -> Life:
        done = subprocess.run(["sh", "-c", question(mark, hook)], capture_output=True, text=True, check=False)
        return judge(mark, done.stdout.strip(), silent_s=silent_s)

    def started(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = ProcessMark(
        child.pid, started(child.pid), os.uname().nodename, "Linux",
        Path("/proc/sys/kernel/random/boot_id").read_text().strip(), str(Path("/proc/self/ns/pid").readlink()),
    )  # fmt: skip
    assert ask(mark) == "lives"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ask(mark) == "gone", "nobody has collected it yet"
    child.communicate()
    assert ask(mark) == "gone"
    with subprocess.Popen([sys.executable, "-c", "input()", hook], stdin=subprocess.PIPE) as successor:
        assert ask(mark, silent_s=600) == "lives"
        assert ask(mark, silent_s=600) == "lives"
        successor.communicate(b"\n")
    assert ask(mark, silent_s=600) == "gone"
