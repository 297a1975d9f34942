"""What `dfld doctor` finds on this computer: real folders, real sockets, a real ledger."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.config.load import read_config
from daemon.config.schema import Config, HttpConfig
from daemon.doctor import folders as doctor_folders
from daemon.doctor import system as doctor_system
from daemon.doctor.diagnosis import Diagnosis, ok, problem, warning, worst
from daemon.doctor.examination import examine
from daemon.doctor.folders import examine_disks, examine_folders, examine_watches, judge_space, judge_watches
from daemon.doctor.ledger_file import examine_ledger, judge_sqlite
from daemon.doctor.models import examine_models, judge_runtime
from daemon.doctor.system import judge_clock, judge_unit
from daemon.ledger.ledger import Ledger
from daemon.metrics.http import HttpServer, make_application
from daemon.metrics.registry import new_registry
from engine.models.accelerators import AcceleratorReport

ROOT = Path(__file__).parents[2]


def write_config(folder: Path, *, inbox: str = "", top: str = "") -> Path:
    """One inbox that works, below `folder`; `inbox` and `top` are further lines."""
    for name in ("inbox", "references", "state"):
        (folder / name).mkdir(mode=0o750, exist_ok=True)
    path = folder / "config.toml"
    path.write_text(
        f'{top}\n[service]\nstate_dir = "state"\n[http]\nlisten = ""\n[disk]\nreserve = "1MiB"\nreserve_percent = 0\n'
        'resume_margin = "1MiB"\n[[inbox]]\nname = "alice"\npath = "inbox"\nworkspace = "workspace"\n'
        f'references = ["references"]\nbackend = "dlib"\n{inbox}\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return read_config(write_config(tmp_path)).config


def bad(found: list[Diagnosis]) -> dict[str, str]:
    """Sentence of each warning and problem by verdict and subject."""
    return {f"{one.verdict} {one.subject}": one.sentence for one in found if one.verdict != "ok"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", "doctor", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_exit_code_is_the_worst_verdict() -> None:
    good, warned, wrong = ok("a", "."), warning("b", ".", "do"), problem("c", ".", "do")
    assert [worst([]), worst([good]), worst([warned, good]), worst([good, wrong, warned])] == [0, 0, 1, 2]


def test_every_bad_finding_of_a_broken_installation_has_a_remedy(tmp_path: Path) -> None:
    path = write_config(tmp_path, inbox='quarantine_dir = "q"')
    (tmp_path / "inbox").rmdir()
    (tmp_path / "references").rmdir()
    found = list(examine(path))
    assert {"problem inbox alice"} <= set(bad(found))
    assert "is refused as it is: 1 file that it names is missing" in bad(found)["problem configuration"], (
        "dfld check and dfld run refuse it"
    )
    assert [one for one in found if one.verdict != "ok" and not one.remedy] == []


def test_a_check_says_that_an_inbox_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path)
    assert main(["check", str(path)]) == 0
    assert "is not there" not in capsys.readouterr().out
    (tmp_path / "inbox").rmdir()
    assert main(["check", str(path)]) == 0
    assert f"inbox alice: the folder {tmp_path / 'inbox'} is not there" in capsys.readouterr().out


def test_without_a_configuration_it_looks_at_what_needs_none() -> None:
    found = list(examine(None))
    subjects = {one.subject for one in found}
    assert {"configuration", "SQLite", "ONNX Runtime", "backend dlib", "clock"} <= subjects
    assert not any(one.subject.startswith(("inbox", "machine", "disk")) for one in found)


def test_each_mistake_in_a_configuration_is_a_problem_with_its_line(tmp_path: Path) -> None:
    path = write_config(tmp_path, inbox='rol = "src"\npriority = 1000')
    wrong = [one.sentence for one in examine(path) if one.subject == "configuration"]
    assert len(wrong) == 2
    assert all(f"{path}:" in sentence for sentence in wrong)


def test_the_command_prints_json_and_exits_with_2_for_a_problem(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    (tmp_path / "inbox").rmdir()
    done = run("--config", str(path), "--json")
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    assert {"subject", "verdict", "sentence", "remedy"} == set(found[0])
    assert "is not there" in next(one["sentence"] for one in found if one["verdict"] == "problem")


def test_the_command_says_the_remedy_and_a_summary(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    (tmp_path / "inbox").rmdir()
    done = run("--config", str(path), "--quiet")
    assert f"→ mkdir -p {tmp_path / 'inbox'}" in done.stdout
    assert "ok  " not in done.stdout
    assert "problems: 1" in done.stdout.splitlines()[-1]


def test_help_documents_the_exit_codes() -> None:
    assert "2  problems" in run("--help").stdout


def test_good_folders_are_good(config: Config) -> None:
    assert bad(list(examine_folders(config))) == {}


def test_a_folder_open_to_everybody_is_warned_of(config: Config) -> None:
    config.service.state_dir.chmod(0o755)
    assert "mode 0755" in bad(list(examine_folders(config)))["warning state folder"]


def test_a_workspace_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    # Not even root may write there.
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace('"workspace"', '"/proc/self/workspace"'))
    found = bad(list(examine_folders(read_config(path).config)))
    assert "cannot be written" in found["problem inbox alice"]


def test_the_folders_that_originals_go_to_are_tried(tmp_path: Path) -> None:
    lines = 'on_done = "move"\ndone_dir = "/proc/self/done"\nquarantine_dir = "/proc/self/bad"'
    found = list(examine_folders(read_config(write_config(tmp_path, inbox=lines)).config))
    assert sum(one.verdict == "problem" for one in found) == 2


def test_an_inbox_that_must_be_mounted_and_is_not_is_a_problem(tmp_path: Path) -> None:
    found = bad(list(examine_folders(read_config(write_config(tmp_path, inbox="require_mount = true")).config)))
    mounted = Path("/").stat().st_dev != tmp_path.stat().st_dev
    assert found == ({} if mounted else {"problem inbox alice": found["problem inbox alice"]})


def test_folders_are_counted_for_file_events(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    assert doctor_folders.count_folders(tmp_path, recursive=True) == 4
    assert doctor_folders.count_folders(tmp_path, recursive=False) == 1


@pytest.mark.parametrize(
    ("folders", "inboxes", "verdict"), [(10, 1, "ok"), (60, 1, "warning"), (100, 1, "problem"), (10, 9, "problem")]
)
def test_file_events_are_judged_by_the_kernels_limits(folders: int, inboxes: int, verdict: str) -> None:
    assert judge_watches(folders=folders, inboxes=inboxes, watches=100, instances=8).verdict == verdict


def test_the_watches_of_a_polled_inbox_are_not_counted(tmp_path: Path) -> None:
    assert list(examine_watches(read_config(write_config(tmp_path, inbox='mode = "poll"')).config)) == []


@pytest.mark.parametrize(
    ("free", "reserve", "verdict"),
    [(500, 100, "ok"), (130, 100, "warning"), (90, 100, "problem"), (990, 980, "problem")],
)
def test_space_is_judged_by_the_reserve(free: int, reserve: int, verdict: str) -> None:
    found = judge_space(Path("/w"), free_bytes=free, total_bytes=1000, reserve_bytes=reserve, margin_bytes=50)
    assert found.verdict == verdict


def test_one_filesystem_is_told_of_once(config: Config) -> None:
    assert [one.verdict for one in examine_disks(config)] == ["ok"]


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((3, 40, 1), "warning"), ((3, 51, 2), "warning"), ((3, 51, 3), "ok"), ((3, 52, 0), "warning"), ((3, 53, 0), "ok")],
)
def test_sqlite_is_judged_by_the_wal_reset_bug(version: tuple[int, ...], verdict: str) -> None:
    assert judge_sqlite(version).verdict == verdict


def test_a_ledger_in_use_is_read_and_whole(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    try:
        assert [one.verdict for one in examine_ledger(tmp_path)] == ["ok"]
    finally:
        ledger.close()


def test_a_damaged_ledger_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    assert [one.verdict for one in examine_ledger(tmp_path)] == ["problem"]


def test_a_ledger_of_a_newer_dfld_is_a_problem(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.write(lambda writer: writer.execute("PRAGMA user_version = 999"))
    ledger.close()
    assert "schema 999" in bad(list(examine_ledger(tmp_path)))["problem ledger"]


def test_two_onnx_runtimes_are_a_problem_and_an_idle_gpu_a_warning() -> None:
    clash = AcceleratorReport(("onnxruntime 1", "onnxruntime-gpu 1"), ("CPUExecutionProvider",), False, "both", "hint")
    idle = AcceleratorReport(("onnxruntime 1",), ("CPUExecutionProvider",), True, "the CPU one", "hint")
    fine = AcceleratorReport(("onnxruntime 1",), ("CPUExecutionProvider",), False, "", "")
    assert [judge_runtime(one).verdict for one in (clash, idle, fine)] == ["problem", "warning", "ok"]


def test_the_models_of_the_inboxes_are_loaded_and_their_licence_told(config: Config) -> None:
    (found,) = examine_models(config)
    assert found.verdict == "ok"
    assert "runs on cpu" in found.sentence
    assert "300-W" in found.sentence


def test_a_pack_that_can_be_downloaded_is_a_warning_and_another_a_problem(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    text = path.read_text().replace('backend = "dlib"', "")
    path.write_text(text)
    assert [one.verdict for one in examine_models(read_config(path).config)] == ["warning"]
    path.write_text(text + 'model_pack = "of_our_own"\n')
    assert [one.verdict for one in examine_models(read_config(path).config)] == ["problem"]


def test_a_free_port_is_good_and_one_that_another_program_holds_is_not() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        other.settimeout(0.1)
        port = other.getsockname()[1]
        doctor_system_limit = doctor_system.ANSWER_LIMIT_S
        doctor_system.ANSWER_LIMIT_S = 0.2
        try:
            (held,) = doctor_system.examine_listening(HttpConfig(f"127.0.0.1:{port}"))
        finally:
            doctor_system.ANSWER_LIMIT_S = doctor_system_limit
    (free,) = doctor_system.examine_listening(HttpConfig(f"127.0.0.1:{port}"))
    assert (held.verdict, free.verdict) == ("problem", "ok")


def test_a_port_that_dfld_itself_holds_is_good() -> None:
    server = HttpServer("127.0.0.1", 0, make_application(new_registry(), lambda: [], lambda: []))
    try:
        (found,) = doctor_system.examine_listening(HttpConfig(f"127.0.0.1:{server.port}"))
    finally:
        server.close()
    assert found.verdict == "ok"
    assert "dfld listens" in found.sentence


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"LoadState": "not-found"}, "ok"),
        ({"LoadState": "loaded", "ActiveState": "active", "NRestarts": "0"}, "ok"),
        ({"LoadState": "loaded", "ActiveState": "active", "NRestarts": "3"}, "warning"),
        ({"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "enabled"}, "warning"),
        ({"LoadState": "loaded", "ActiveState": "failed", "Result": "watchdog"}, "problem"),
    ],
)
def test_the_unit_is_judged_by_what_systemd_says(facts: dict[str, str], verdict: str) -> None:
    assert judge_unit(facts).verdict == verdict


NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "synchronised", "jump_s", "verdict"),
    [
        (NOW, True, 0.01, "ok"),
        (NOW, None, 0.01, "ok"),
        (NOW, False, 0.01, "warning"),
        (NOW, True, -3600.0, "warning"),
        (datetime(1970, 1, 1, tzinfo=UTC), True, 0.0, "problem"),
    ],
)
def test_the_clock_is_judged(now: datetime, synchronised: bool | None, jump_s: float, verdict: str) -> None:
    assert judge_clock(now, synchronised=synchronised, jump_s=jump_s).verdict == verdict


def test_the_kernel_is_asked_whether_the_clock_is_kept_right() -> None:
    assert doctor_system.clock_is_synchronised() in (True, False, None)


def test_an_examination_by_root_says_so() -> None:
    assert [one.verdict for one in doctor_system.examine_user(0)] == ["warning"]
    assert list(doctor_system.examine_user(1000)) == []
