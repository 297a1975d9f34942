"""The machine's process list: which processes may train the model, and when the list proves that none does."""

from __future__ import annotations

import base64
import gzip
import random
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dfl.model_files import ModelName
from sync.places import RemotePlaces, places_of
from sync.trainers.processes.process_list import (
    BEGIN,
    END,
    FOLDERS,
    MOUNTS,
    SHARES,
    STARTS,
    WINDOWS_QUESTION,
    ProcessList,
    list_processes,
    parse_answer,
)
from sync.trainers.processes.trainer_processes import trainers_among, why_no_proof, youngest
from sync.transports.local import LocalTransport
from sync.types import Machine

ALICE = ModelName("alice", "SAEHD")
HERE = places_of("/data/faces/workspace/model", ALICE)
WINDOWS = places_of("D:\\DFL\\workspace\\model", ALICE)
LOCAL_DISK = "/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw 0 0"


def answer(
    processes: str,
    *,
    folders: str = "",
    mounts: str = LOCAL_DISK,
    shares: str = "",
    user: str = "1000",
    real: str = "",
    system: str = "Linux",
    starts: str = "",
) -> str:
    """What a machine prints: sections, packed."""
    lines = [
        BEGIN,
        system,
        user,
        real,
        processes,
        STARTS,
        starts,
        FOLDERS,
        folders,
        MOUNTS,
        mounts,
        SHARES,
        shares,
        END,
        "",
    ]
    packed = base64.encodebytes(gzip.compress("\n".join(lines).encode())).decode()
    return packed.strip()


INIT = "    1     0     0 10-02:03:04 /sbin/init"


def listed(process: str, folder: str = "", **parts: str) -> ProcessList:
    folders = f"lrwxrwxrwx 1 train train 0 Nov 1 12:00 /proc/77/cwd -> {folder}" if folder else ""
    return parse_answer(answer(f"{INIT}\n   77     1  1000    05:06 {process}", folders=folders, **parts))


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        ("python main.py train --model-dir /data/faces/workspace/model --model SAEHD", ""),
        ("/opt/py/bin/python3.7 main.py train --model-dir=/data/faces/workspace/model", "/opt/dfl"),
        ("python main.py train --training-data-src-dir /data/faces/workspace/data_src/aligned", ""),
        ("python main.py train --model-dir ../faces/workspace/model", "/data/dfl"),
        ("python main.py train --model-dir model", "/data/faces/workspace"),
        ("python -c print()", "/data/faces/workspace/model"),
        ("some-fork --gui", "/data/faces/workspace/data_src"),
        ("python main.py train --force-model-name alice --model-dir ../model", ""),
    ],
)
def test_a_process_that_names_the_model_or_its_workspace_may_train_it(command: str, folder: str) -> None:
    assert [one.number for one in trainers_among(listed(command, folder), HERE)] == [77]


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        ("python main.py train --model-dir /data/faces/workspace-2/model", "/opt/dfl"),
        ("python main.py train --model-dir /data/faces/workspace/model --force-model-name bob", "/opt/dfl"),
        ("python main.py train --force-model-name bob", "/data/faces/workspace"),
        ("python main.py train --model-dir /data/faces/workspace2/model", "/opt/dfl"),
        ("python main.py train --model-dir /mnt/data/faces/workspace/model", "/opt/dfl"),
        ("python main.py train --force-model-name alice --model-dir /other/model", "/opt/dfl"),
        ("python main.py train --force-model-name alice2 --model-dir ../model", "/opt/dfl"),
        ("-bash", "/data/faces/workspace/model"),
        ("/bin/sh -c cd /data/faces/workspace/model; ps", "/"),
        ("vim notes.txt", "/data/faces/workspace"),
        ("sshd: train@notty", "/data/faces/workspace"),
        ("sftp-server", "/data/faces/workspace/model"),
    ],
)
def test_others_and_shells_and_file_tools_do_not(command: str, folder: str) -> None:
    listing = listed(command, folder)
    assert trainers_among(listing, HERE) == ()
    assert why_no_proof(listing, HERE) == ""


def test_a_linked_model_folder_is_known_by_its_real_path() -> None:
    listing = listed("python main.py train --model-dir /mnt/big/alice/model", real="/mnt/big/alice/model")
    assert len(trainers_among(listing, HERE)) == 1


def test_a_process_of_dfld_itself_does_not_count() -> None:
    listing = listed("python -m daemon average /data/faces/workspace/model")
    assert trainers_among(listing, HERE, but=frozenset((77,))) == ()


def test_the_home_around_a_model_folder_is_no_workspace() -> None:
    listing = listed("jupyter-lab", "/home/train")
    assert trainers_among(listing, places_of("/home/train/model", ALICE)) == ()


@pytest.mark.parametrize(
    ("mounts", "proves"),
    [
        (LOCAL_DISK, True),
        (f"{LOCAL_DISK}\nnas:/x /data nfs4 rw 0 0", False),
        (f"{LOCAL_DISK}\n//nas/x /data/faces cifs rw 0 0", False),
        (f"{LOCAL_DISK}\nme@nas: /data/faces/workspace fuse.sshfs rw 0 0", False),
        (f"{LOCAL_DISK}\nnas:/x /data/elsewhere nfs4 rw 0 0", True),
        (f"{LOCAL_DISK}\nnas:/x /data nfs4 rw 0 0\n/dev/sdb1 /data/faces xfs rw 0 0", True),
        (f"{LOCAL_DISK}\n/dev/sdb1 /data fuseblk rw 0 0", True),
        ("nas:/x on /data/faces (nfs, nodev)", False),
        ("/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw,hidepid=2 0 0", False),
        ("/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw,hidepid=invisible 0 0", False),
        ("/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw,hidepid=0 0 0", True),
    ],
)
def test_a_list_proves_nothing_where_other_hosts_reach_the_folder_or_processes_are_hidden(
    mounts: str, proves: bool
) -> None:
    assert (why_no_proof(listed("cron", mounts=mounts), HERE) == "") == proves


@pytest.mark.parametrize(
    ("server", "shares", "proves"),
    [
        ("[nfsd]", "/data 10.0.0.0/8(rw)", False),
        ("[nfsd]", '"/data/faces/workspace/model" *(rw)', False),
        ("[nfsd]", "/srv *(rw)", True),
        ("cron", "/data 10.0.0.0/8(rw)", True),
        ("/usr/sbin/smbd --foreground", "[x]\n  path = /data/faces", False),
        ("/usr/sbin/smbd --foreground", "[x]\n  ; path = /data/faces", True),
        ("cron", "[x]\n  path = /data/faces", True),
    ],
)
def test_a_folder_that_this_machine_shares_needs_more_than_its_own_list(server: str, shares: str, proves: bool) -> None:
    assert (why_no_proof(listed(server, shares=shares), HERE) == "") == proves


def test_a_trainer_of_another_user_whose_folder_is_hidden_leaves_doubt() -> None:
    listing = listed("python main.py train --model-dir ../model")
    assert trainers_among(listing, HERE) == ()
    assert "cannot be read" in why_no_proof(listing, HERE)


def test_a_list_without_the_first_process_is_not_whole() -> None:
    listing = parse_answer(answer("   77     5  1000    05:06 cron"))
    assert "hides" in why_no_proof(listing, HERE)
    assert why_no_proof(parse_answer(answer("   77     5  0    05:06 cron", user="0")), HERE) == ""


def age_of(listing: ProcessList, number: int) -> int:
    found = youngest(listing, frozenset((number,)))
    assert found is not None
    return found.age_s


STAT = "9 (python (x) y) S 1 9 9 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 {ticks} 1000 1"


@pytest.mark.parametrize(
    ("starts", "started_s"),
    [
        (f"1700000000.50\n1000.25 3.5\n100\n{STAT.format(ticks=99_025)}", 1_699_999_990.5),
        (f"1700000000\n1000.25 3.5\n100\n{STAT.format(ticks=99_025)}", 1_699_999_990.0),
        (f"1700000000.%N\n1000.25 3.5\n100\n{STAT.format(ticks=99_025)}", None),  # a date without nanoseconds
        (f"1700000000.50\n100\n{STAT.format(ticks=99_025)}", None),  # no /proc/uptime
        ("1700000000.50\n1000.25 3.5\n100\n9 (python) S 1", None),
        ("", None),
    ],
)
def test_the_start_of_a_process_is_read_to_a_hundredth_of_a_second(starts: str, started_s: float | None) -> None:
    listing = parse_answer(answer(f"{INIT}\n 9 1 0 00:10 python x", starts=starts))
    found = youngest(listing, frozenset((9,)))
    assert found is not None
    assert found.started_s == (None if started_s is None else pytest.approx(started_s, abs=0.01))


def test_a_real_machine_says_when_a_process_started(tmp_path: Path) -> None:
    machine = Machine(name="gpu1", address="", model_dir=str(tmp_path), transfer="local")
    before_s = time.time()
    with subprocess.Popen(["sleep", "60"]) as child:
        after_s = time.time()
        listing = list_processes(LocalTransport(machine), places_of(str(tmp_path), ALICE), timeout_s=20)
        child.kill()
    found = youngest(listing, frozenset((child.pid,)))
    assert found is not None
    assert found.started_s is not None
    # /proc/uptime and the start are whole hundredths; the clock is asked a moment before the uptime.
    assert before_s - 0.5 <= found.started_s <= after_s + 0.5


@pytest.mark.parametrize(("elapsed", "seconds"), [("05", 5), ("01:05", 65), ("2:00:01", 7201), ("3-00:00:10", 259_210)])
def test_ages_are_read_as_ps_prints_them(elapsed: str, seconds: int) -> None:
    listing = parse_answer(answer(f"{INIT}\n 9 1 0 {elapsed} python x"))
    assert age_of(listing, 9) == seconds


def test_a_script_is_as_young_as_the_trainer_that_it_started_last() -> None:
    listing = parse_answer(answer(f"{INIT}\n 9 1 0 1:00:00 run-forever\n 10 9 0 50:00 python\n 11 10 0 00:07 python"))
    assert age_of(listing, 9) == 7
    assert youngest(listing, frozenset((12,))) is None


def test_a_cut_or_changed_answer_is_no_answer() -> None:
    whole = answer(f"{INIT}\n" + "\n".join(f" {number} 1 0 00:01 program {number}" for number in range(2, 300)))
    rng = random.Random(5)
    for _ in range(300):
        begin, end = sorted(rng.sample(range(len(whole)), 2))
        with pytest.raises(ValueError, match="list of processes"):
            parse_answer(whole[:begin] + whole[end:])
    for text in ("", "ps: not found", base64.b64encode(gzip.compress(b"hello")).decode(), answer("")):
        with pytest.raises(ValueError, match="list of processes"):
            parse_answer(text)


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(ValueError, match="cut off"):
        parse_answer(base64.b64encode(gzip.compress(bytes(64 * 2**20))).decode())


# Windows.


def on_windows(process: str, *, drives: str = "", shares: str = "C$|C:\\\nADMIN$|C:\\Windows") -> ProcessList:
    return parse_answer(
        answer(f"4 0 + 900000 System\n{process}", system="Windows", user="0", mounts=drives, shares=shares)
    )


@pytest.mark.parametrize(
    "command",
    [
        'C:\\DFL\\python\\python.exe "main.py" train --model-dir "d:\\dfl\\Workspace\\model" --model SAEHD',
        "python.exe main.py train --training-data-src-dir D:/DFL/workspace/data_src/aligned",
    ],
)
def test_on_windows_names_count_whatever_their_case_and_slashes(command: str) -> None:
    (found,) = trainers_among(on_windows(f"321 4 + 65 {command}"), WINDOWS)
    assert (found.number, found.age_s) == (321, 65)


def test_on_windows_a_list_without_a_trainer_proves_that_there_is_none() -> None:
    listing = on_windows("321 4 + 65 C:\\Windows\\explorer.exe /n,D:\\DFL\\workspace\\model")
    assert trainers_among(listing, WINDOWS) == ()
    assert why_no_proof(listing, WINDOWS) == ""


def test_on_windows_doubts_are_told() -> None:
    assert "another user" in why_no_proof(on_windows("321 4 ? 65 python.exe"), WINDOWS)
    assert "shared" in why_no_proof(on_windows("1 4 + 1 x", shares="faces|D:\\DFL"), WINDOWS)
    assert "network disk" in why_no_proof(on_windows("1 4 + 1 x", drives="D:"), WINDOWS)
    assert "another host" in why_no_proof(on_windows("1 4 + 1 x"), places_of("\\\\nas\\dfl\\model", ALICE))


def test_the_question_to_windows_fits_into_a_command_line() -> None:
    assert len(base64.b64encode(WINDOWS_QUESTION.encode("utf-16-le"))) < 8000  # cmd.exe takes 8191 characters


# The real machine that the test runs on.


def test_this_very_machine_answers(tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "work 'space" / "model"
    folder.mkdir(parents=True)
    machine = Machine(name="gpu1", address="", model_dir=str(folder), transfer="local")
    places = RemotePlaces(str(folder), ALICE)
    listing = list_processes(LocalTransport(machine), places, timeout_s=20)
    assert any(process.number == 1 for process in listing.processes)
    assert listing.real_folder == str(folder.resolve())
    assert trainers_among(listing, places) == (), "the question does not find itself"
    assert replace(listing, shares=()) == listing
