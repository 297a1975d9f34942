"""Pure: does the very process live that wrote a sign of life? What is asked of its machine, and what the answer says.

A number of a process is given to another one as soon as it is free, and a model folder may lie on a disk that several
computers mount. So the hook inside a trainer writes down, with its number, when its process began, the kernel's mark of
this boot, the computer's name and the namespace of its numbers; only where all of that fits does the answer count. A
trainer that was started again has another number and gives no sign while it loads: the hook's path stands in its
command line, so that the list of processes shows it. Where nothing certain can be said, the answer is `unknown`.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Life = Literal["lives", "gone", "unknown"]

MOST_TEXT = 200
"""Of a name in a note: longer than any computer's name."""
SLACK_S = 5.0
"""Between times of files, whole seconds by one clock, and times of processes by another."""
_STAT = re.compile(r"(?P<pid>\d+) \(.{0,64}?\) (?P<state>[A-Za-z])(?: -?\d+){18} (?P<started>\d+) ", re.DOTALL)
"""/proc/PID/stat: the name may hold anything, the state is field 3, the start field 22, in ticks since the boot."""
_ENDED_STATES = "ZXx"


@dataclass(frozen=True)
class ProcessMark:
    """Which process of which computer wrote a sign of life."""

    pid: int
    started: int
    """Linux: clock ticks since the boot (/proc/PID/stat, field 22); Windows: its creation time as FILETIME."""
    host: str
    """The computer's own name."""
    system: Literal["Linux", "Windows"]
    boot: str = ""
    """Linux: /proc/sys/kernel/random/boot_id."""
    pids: str = ""
    """Linux: the namespace of process numbers, what /proc/self/ns/pid links to."""


def mark_of(note: Mapping[str, object]) -> ProcessMark | None:
    """Read the mark in a sign of life; None for an older hook's, another system's, or anything odd."""
    found = note.get("process")
    if not isinstance(found, dict):
        return None
    pid, started = (_number(found.get(key)) for key in ("pid", "started"))
    host, boot, pids = (_text(found.get(key)) for key in ("host", "boot", "pids"))
    if not pid or not started or not host:
        return None
    if found.get("system") == "Linux" and boot and pids:
        return ProcessMark(pid, started, host, "Linux", boot, pids)
    return ProcessMark(pid, started, host, "Windows") if found.get("system") == "Windows" else None


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 < value < 2**63 else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MOST_TEXT else ""


def question(mark: ProcessMark, hook: str) -> str:
    """Return the command that asks the machine; `hook` is the path of the hook's program there."""
    return _question_windows(mark, hook) if mark.system == "Windows" else _question_linux(mark, hook)


def judge(mark: ProcessMark, answer: str, *, silent_s: float) -> Life:
    """Given what that command printed, say what became of the process.

    `silent_s`: how long ago the sign of life was written, by the machine's clock.
    """
    lines = answer.replace("\r", "").split("\n")
    if mark.system == "Windows":
        return _judge_windows(mark, lines)
    return _judge_linux(mark, lines, silent_s)


# Linux: six lines, then /proc/PID/stat of the process and of all that have the hook in their command line.


def _question_linux(mark: ProcessMark, hook: str) -> str:
    # The path is put together by printf (a part of the shell), so that neither this line nor grep has it among its
    # own words and is taken for a trainer.
    half = len(hook) // 2
    needle = f"{shlex.quote(hook[:half])} {shlex.quote(hook[half:])}"
    trainers = f"$(printf '%s%s' {needle} | grep -lF -f - /proc/[0-9]*/cmdline 2>/dev/null)"
    return (
        "LC_ALL=C; export LC_ALL; cat /proc/sys/kernel/random/boot_id || echo; uname -n || echo; "
        'echo "$(readlink /proc/self/ns/pid)"; cat /proc/uptime || echo; getconf CLK_TCK || echo 100; '
        f'echo "$(kill -0 {mark.pid} 2>&1)"; cat /proc/{mark.pid}/stat 2>/dev/null; '
        f'for found in {trainers}; do cat "${{found%cmdline}}stat" 2>/dev/null; done; true'
    )


def _judge_linux(mark: ProcessMark, lines: list[str], silent_s: float) -> Life:
    if len(lines) < 6:
        return "unknown"
    boot, host, pids, uptime, ticks, signalled = (line.strip() for line in lines[:6])
    up = re.match(r"\d+(\.\d+)?", uptime)
    if host != mark.host or not boot or not up or not ticks.isdecimal() or not int(ticks):
        return "unknown"
    found = {int(one["pid"]): one for one in _STAT.finditer("\n".join(lines[6:]))}
    living = {pid: int(one["started"]) for pid, one in found.items() if one["state"] not in _ENDED_STATES}
    same_kernel = boot == mark.boot and pids == mark.pids
    if same_kernel and living.get(mark.pid) == mark.started:
        return "lives"
    since_s = silent_s + SLACK_S if silent_s >= 0 else float("inf")
    if any(float(up[0]) - started / int(ticks) < since_s for pid, started in living.items() if pid != mark.pid):
        # Begun after the last sign of life: a new trainer, which is loading. What is older is what a killed one left.
        return "lives"
    if boot != mark.boot:
        # Begun anew since, unless another computer of the same name writes into this folder.
        return "gone" if silent_s > float(up[0]) - SLACK_S else "unknown"
    if pids != mark.pids:
        return "unknown"
    # Without a word from the kernel that there is no such process, it may only be hidden from this user.
    return "gone" if mark.pid in found or "No such process" in signalled else "unknown"


# Windows: three lines.


def _question_windows(mark: ProcessMark, hook: str) -> str:
    wanted = hook.replace("'", "''")
    script = (
        "$ErrorActionPreference = 'Stop'; $env:COMPUTERNAME; "
        "$own = @(Get-CimInstance Win32_Process | Where-Object { $_.CommandLine -and "
        f"$_.CommandLine.IndexOf('{wanted}', [StringComparison]::OrdinalIgnoreCase) -ge 0 }}); "
        f"$own.Count; $p = Get-Process -Id {mark.pid} -ErrorAction SilentlyContinue; "
        "if ($p) { $p.StartTime.ToFileTimeUtc() } else { 'none' }"
    )
    # Encoded: cmd and PowerShell, whichever the user's shell is, read no sign of it.
    return "powershell -NoProfile -NonInteractive -EncodedCommand " + base64.b64encode(
        script.encode("utf-16-le")
    ).decode("ascii")


def _judge_windows(mark: ProcessMark, lines: list[str]) -> Life:
    found = [line.strip() for line in lines if line.strip()]
    if len(found) != 3 or found[0].casefold() != mark.host.casefold() or not found[1].isdecimal():
        return "unknown"
    if int(found[1]):
        return "lives"
    if found[2].isdecimal():
        return "lives" if int(found[2]) == mark.started else "gone"
    return "gone" if found[2] == "none" else "unknown"
