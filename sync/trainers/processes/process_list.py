"""The processes of a machine: the question that returns them, and its answer, read.

One question to the machine returns its processes (number, parent, user, age, command line, working directory), its
mounts and what it shares with other hosts; what they prove about a
trainer is judged in `sync.trainers.processes.trainer_processes`.

The question must not name the model's folder in any program that counts, or the list would show the question itself:
only the shell names it, and shells are passed over.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import basename

from sync.places import RemotePlaces
from sync.transports.remote_command import RunsLines, run_command

MOST_LIST_BYTES = 16 * 2**20
"""Unpacked; 10 000 processes with long command lines are about 3 MiB."""
BEGIN, STARTS, FOLDERS, MOUNTS, SHARES, END = (
    f"dfld-{word}" for word in ("processes", "starts", "folders", "mounts", "shares", "end")
)
POSIX_QUESTION = (
    "LC_ALL=C; export LC_ALL; cd -- {folder} 2>/dev/null && here=$(pwd -P) && cd / ; { "
    f'echo {BEGIN}; uname -s; id -u; printf "%s\\n" "$here"; '
    "ps -eww -o pid= -o ppid= -o uid= -o etime= -o args= 2>/dev/null"
    " || ps -axww -o pid= -o ppid= -o uid= -o etime= -o args=; "
    f"echo {STARTS}; date +%s.%N; cat /proc/uptime 2>/dev/null; getconf CLK_TCK; cat /proc/[0-9]*/stat 2>/dev/null; "
    f"echo {FOLDERS}; ls -ld /proc/[0-9]*/cwd 2>/dev/null; "
    f"echo {MOUNTS}; cat /proc/self/mounts 2>/dev/null || mount; "
    f"echo {SHARES}; cat /var/lib/nfs/etab /etc/exports /etc/samba/smb.conf 2>/dev/null; echo {END}; "
    "} | gzip -c | base64"
)
"""`{folder}` is the quoted model folder: its real path is what processes name. Packed, since of a command's output only
the end is kept; what was cut off does not unpack."""
WINDOWS_QUESTION = (
    "$ProgressPreference='SilentlyContinue';$n=Get-Date;"
    f"$l=@('{BEGIN}','Windows','0','')+@(Get-CimInstance Win32_Process|%{{"
    "$c=$_.CommandLine;if(-not $c){$c=$_.Name};"
    "$f=if($_.CommandLine){'+'}else{'?'};"
    "'{0} {1} {2} {3} {4}' -f $_.ProcessId,$_.ParentProcessId,$f,[int](($n-$_.CreationDate).TotalSeconds),"
    "($c -replace '[\\r\\n]',' ')})"
    f"+@('{STARTS}','{FOLDERS}','{MOUNTS}')+@(Get-CimInstance Win32_LogicalDisk -Filter 'DriveType=4'|%{{$_.DeviceID}})"
    f"+@('{SHARES}')+@(Get-CimInstance Win32_Share|%{{$_.Name+'|'+$_.Path}})+@('{END}');"
    "$b=[Text.Encoding]::UTF8.GetBytes($l -join [char]10);$m=New-Object IO.MemoryStream;"
    "$g=New-Object IO.Compression.GZipStream($m,[IO.Compression.CompressionMode]::Compress);"
    "$g.Write($b,0,$b.Length);$g.Close();[Convert]::ToBase64String($m.ToArray())"
)
AGES_MAY_DIFFER_S = 1
"""An age is whole seconds of two clocks, each rounded."""
SAME_START_S = 2.0
"""A clock that is set between two lists moves a start; a number comes again only much later."""


@dataclass(frozen=True)
class Process:
    """One process of a machine."""

    number: int
    parent: int
    age_s: int
    command: str
    folder: str | None
    """Its working directory; None where the machine does not say."""
    is_readable: bool = True
    """Whether its command line is known."""
    started_s: float | None = None
    """When it started, on the machine's clock, to a hundredth of a second; None where the machine does not say."""

    @property
    def program(self) -> str:
        """The name of its program, in small letters and without folder and `.exe`."""
        first = self.command.replace("\\", "/").split(" ")[0].strip("\"'").rstrip(":").removeprefix("-")
        return basename(first).lower().removesuffix(".exe")


@dataclass(frozen=True)
class ProcessList:
    """What a machine answered."""

    processes: tuple[Process, ...]
    real_folder: str
    """The model folder with links resolved; empty where unknown."""
    is_windows: bool
    gap: str
    """Why processes of others may be missing; empty when the list is whole."""
    mounts: tuple[tuple[str, str], ...]
    """(mount point, kind)."""
    shares: tuple[str, ...]
    """Folders that this machine offers to other hosts now."""
    now_s: float | None = None
    """The machine's clock as it answered; None where it does not give parts of a second."""


def list_processes(there: RunsLines, places: RemotePlaces, *, timeout_s: float) -> ProcessList:
    """Ask a machine for its processes. Raise TransportError when it cannot be asked, ValueError for no whole answer."""
    if is_windows_path(places.model_dir):
        encoded = base64.b64encode(WINDOWS_QUESTION.encode("utf-16-le")).decode()
        command = f"powershell -NoProfile -NonInteractive -EncodedCommand {encoded}"
    else:
        command = POSIX_QUESTION.replace("{folder}", shlex.quote(places.model_dir))
    result = run_command(there, command, timeout_s=timeout_s)
    return parse_answer(result.output)


def is_windows_path(path: str) -> bool:
    """Whether a path begins with a drive, or names another host's share: `C:/x`, `//nas/x`."""
    return re.match(r"[A-Za-z]:/|//", path) is not None


def parse_answer(output: str) -> ProcessList:
    """Unpack and read a machine's answer. Raise ValueError for anything but one whole answer."""
    sections = _sections(_unpacked(output))
    system, user, real_folder, *rows = sections[BEGIN] + [""] * (3 - len(sections[BEGIN]))
    is_windows = system == "Windows"
    folders = dict(_folders(sections[FOLDERS]))
    now_s, starts = _starts(sections[STARTS])
    processes = tuple(_processes(rows, folders, starts, is_windows=is_windows))
    if not processes:
        raise ValueError("the list of processes is empty")
    if is_windows:
        mounts = tuple((f"{line.strip().lower()}/", "smb") for line in sections[MOUNTS] if line.strip())
        shares = tuple(
            path for name, _, path in (line.partition("|") for line in sections[SHARES]) if path and name[-1:] != "$"
        )
    else:
        mounts = tuple(_mounts(sections[MOUNTS]))
        shares = tuple(_shares(sections[SHARES], processes))
    gap = ""
    if not is_windows and user != "0":
        hidden = any(point == "/proc" and "hidepid" in line for point, line in _proc_options(sections[MOUNTS]))
        if hidden or not any(process.number == 1 for process in processes):
            gap = "it hides the processes of other users (hidepid)"
    return ProcessList(processes, real_folder, is_windows, gap, mounts, shares, now_s)


def is_same_process(before: Process, after: Process) -> bool:
    """Whether two lists of one machine, the second taken later, show the same process and not only its number again."""
    if before.number != after.number or after.age_s + AGES_MAY_DIFFER_S < before.age_s:
        return False
    if before.started_s is None or after.started_s is None:
        return True
    return abs(after.started_s - before.started_s) <= SAME_START_S


# What the question returned.


def _unpacked(output: str) -> str:
    packed = "".join(output.split())
    try:
        plain = base64.b64decode(packed, validate=True)
        unpack = zlib.decompressobj(wbits=31)
        content = unpack.decompress(plain, MOST_LIST_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"the list of processes cannot be read ({error})") from error
    if not unpack.eof:
        raise ValueError("the list of processes is cut off")
    return content.decode("utf-8", "replace")


def _sections(text: str) -> dict[str, list[str]]:
    lines = text.replace("\r\n", "\n").split("\n")
    try:
        places = [lines.index(title) for title in (BEGIN, STARTS, FOLDERS, MOUNTS, SHARES, END)]
    except ValueError as error:
        raise ValueError("the list of processes has not all its parts") from error
    titles = (BEGIN, STARTS, FOLDERS, MOUNTS, SHARES)
    return {
        title: lines[at + 1 : places[index + 1]] for index, (title, at) in enumerate(zip(titles, places, strict=False))
    }


def _folders(lines: list[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        found = re.search(r" /proc/([0-9]+)/cwd -> (.*)$", line)
        if found:
            yield int(found[1]), found[2]


def _starts(lines: list[str]) -> tuple[float | None, dict[int, float]]:
    """Return the machine's clock, and process → when it started on it; nothing where it does not say both exactly.

    The first lines are the clock, the uptime and the ticks a second; each other one is a /proc/PID/stat, whose 22nd
    field is the start in ticks since boot (proc(5)).
    """
    try:
        now_s, up_s, ticks = float(lines[0]), float(lines[1].split()[0]), int(lines[2])
    except (IndexError, ValueError):
        return None, {}
    found = {}
    for line in lines[3:]:
        number, _, rest = line.partition(" (")
        fields = rest.rpartition(")")[2].split()
        if number.isdecimal() and len(fields) > 19 and fields[19].isdecimal() and ticks > 0:
            found[int(number)] = now_s - up_s + int(fields[19]) / ticks
    return now_s, found


def _processes(
    lines: list[str], folders: dict[int, str], starts: dict[int, float], *, is_windows: bool
) -> Iterator[Process]:
    for line in lines:
        found = re.match(r"\s*([0-9]+)\s+([0-9]+)\s+(\S+)\s+([0-9:-]+)\s(.*)$", line)
        if found is None:
            continue
        number = int(found[1])
        age_s = abs(int(found[4])) if is_windows else _elapsed_s(found[4])
        parent, command, readable = int(found[2]), found[5].strip(), found[3] != "?"
        yield Process(number, parent, age_s, command, folders.get(number), readable, starts.get(number))


def _elapsed_s(text: str) -> int:
    """Return seconds for `[[dd-]hh:]mm:ss`."""
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part or 0)
    return int(days or 0) * 86_400 + seconds


def _mounts(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        words = line.split(" ")
        bsd = re.match(r".* on (.*) \(([^,)]*)", line)
        if bsd:
            yield bsd[1], bsd[2]
        elif len(words) >= 3:
            yield re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), words[1]), words[2]


def _proc_options(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        words = line.split(" ")
        if len(words) >= 4:
            yield words[1], re.sub(r"hidepid=(0|off)\b", "", words[3])


def _shares(lines: list[str], processes: tuple[Process, ...]) -> Iterator[str]:
    """Folders in the servers' own files, as far as the server runs."""
    programs = {process.program.strip("[]") for process in processes}
    for line in lines:
        plain = line.strip()
        path = re.match(r"path\s*=\s*(/.*)$", plain)
        if path and "smbd" in programs:
            yield path[1].strip()
        export = re.match(r'"(/[^"]*)"|(/\S*)', plain)
        if export and "nfsd" in programs:
            yield (export[1] or export[2]).replace("\\040", " ")


# What it means.
