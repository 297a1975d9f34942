"""The commands of synchronisation, on machines that are folders."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.commands.machines import fingerprint_in
from daemon.commands.models import print_progress
from daemon.errors import UsageError
from sync.journal.journal import FileJournal
from sync.rounds.round_work import Waiting
from tests.sync.fleet import Fleet, make_fleet
from tests.sync.journal_entries import entry
from tests.sync.sshd import SshMachine
from tests.sync.training import MODEL

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return make_fleet(tmp_path, ("gpu1", "gpu2"))


@pytest.fixture
def config(fleet: Fleet, tmp_path: Path) -> str:
    machines = "".join(
        f'[[machine]]\nname = "{one.machine.name}"\naddress = "localhost"\ntransfer = "local"\n'
        f'status = "false"\nmodel_dir = {json.dumps(str(one.folder))}\n'
        for one in fleet.machines
    )
    path = tmp_path / "config.toml"
    path.write_text(
        f'[service]\nstate_dir = "{tmp_path / "state"}"\n{machines}'
        f'[[sync]]\nname = "{MODEL.name}"\nmodel_class = "SAEHD"\nmachines = ["gpu1", "gpu2"]\n',
        encoding="utf-8",
    )
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_init_then_once_then_rounds_then_rollback(
    fleet: Fleet, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = MODEL.name
    code, out, _ = run(capsys, "sync", "init", name, "--from", "gpu1", "--config", config)
    assert (code, out.splitlines()[0]) == (0, "round 1 of alice two_SAEHD: initialised: 2 of 2 machines have it")

    fleet.train_by_hand()
    code, out, err = run(capsys, "sync", name, "--once", "--config", config)
    assert code == 0, out + err
    assert "round 2 of alice two_SAEHD: averaged" in out
    assert "drift_rel" in out
    assert "gpu1: pulled (iteration 20100)" in err
    assert len(set(fleet.sets().values())) == 1

    code, out, _ = run(capsys, "rounds", "--config", config)
    assert [line.split()[0] for line in out.splitlines()] == ["1", "2"]
    code, out, _ = run(capsys, "rounds", "show", "2", "--json", "--config", config)
    assert json.loads(out)["contributors"] == ["gpu1", "gpu2"]

    fleet.train_by_hand()
    code, out, err = run(capsys, "rollback", name, "1", "--config", config)
    assert code == 0, out + err
    assert "rolled_back" in out


def test_what_an_earlier_dfld_left_is_said_before_it_is_finished(
    fleet: Fleet, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "sync", "init", MODEL.name, "--from", "gpu1", "--config", config)
    fleet.train_by_hand()
    journal = FileJournal(tmp_path / "state" / "sync" / MODEL.prefix / "rounds")
    left = journal.begin()
    running = {"gpu1": False, "gpu2": False}
    journal.append(left, entry("planned", "", {"kind": "average", "machines": list(running), "running": running}))
    code, _, err = run(capsys, "sync", MODEL.name, "--config", config)
    assert code == 0, err
    assert err.splitlines()[0] == f"round {left} was left unfinished; it is brought to its end first"


def test_what_is_waited_for_is_said_with_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    print_progress(Waiting("gpu1", "its trainer to save", 1500.0))
    assert capsys.readouterr().err == "  gpu1: waiting for at most 25 min: its trainer to save\n"


def test_watching_does_what_is_due_until_interrupted_and_ends_by_itself_at_the_target(
    fleet: Fleet, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(config)
    path.write_text(
        path.read_text().replace('model_class = "SAEHD"', 'model_class = "SAEHD"\npoll_every = "1s"')
        + '[[sync.stage]]\nname = "early"\nevery_iterations = 100\n',
        encoding="utf-8",
    )
    run(capsys, "sync", "init", MODEL.name, "--from", "gpu1", "--config", config)
    fleet.train_by_hand()
    command = [sys.executable, "-m", "daemon", "sync", MODEL.name, "--watch", "--config", config]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stdout
            assert "round 2 of alice two_SAEHD: averaged" in watching.stdout.readline()
            watching.send_signal(signal.SIGINT)
            _, told = watching.communicate(timeout=60)
        finally:
            watching.kill()
    assert watching.returncode == 0
    assert "every 100 iterations: gpu1 100, gpu2 100 of 100" in told

    path.write_text(path.read_text().replace('poll_every = "1s"', "target_loss = 0.5"), encoding="utf-8")
    fleet.train_by_hand(iterations=600)
    code, _, err = run(capsys, "sync", MODEL.name, "--watch", "--config", config)
    assert code == 0
    assert "the target loss 0.5 is reached" in err


def test_a_dry_run_pushes_nothing_and_a_held_round_has_its_own_exit_code(
    fleet: Fleet, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fleet.sets()
    code, out, _ = run(capsys, "sync", MODEL.name, "--dry-run", "--config", config)
    assert out.startswith("dry run of alice two_SAEHD, nothing was changed: ")
    assert (code, "never given a common start" in out) == (75, True), "as the round itself would end"
    code, out, _ = run(capsys, "sync", MODEL.name, "--json", "--config", config)
    assert code == 75
    assert json.loads(out)["outcome"] == "held"
    assert fleet.sets() == before


def test_a_configuration_without_models_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[service]\nstate_dir = "{tmp_path / "state"}"\n', encoding="utf-8")
    code, _, err = run(capsys, "rounds", "--config", str(path))
    assert (code, "has no [[sync]]" in err) == (2, True)
    code, out, _ = run(capsys, "machines", "--config", str(path))
    assert (code, "no [[sync]] names a machine" in out) == (0, True)
    code, _, err = run(capsys, "machines", "trust", "gpu1", "--config", str(path))
    assert (code, "sync-guide.md" in err) == (2, True)


def test_an_unknown_model_or_a_wrong_word_is_told(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "sync", "bob", "--config", config)
    assert (code, "'alice two_SAEHD'" in err) == (2, True)
    code, _, err = run(capsys, "sync", "do", MODEL.name, "--config", config)
    assert (code, "expected NAME, init NAME or hook NAME" in err) == (2, True)
    code, _, err = run(capsys, "sync", "init", MODEL.name, "--config", config)
    assert (code, "--from MACHINE" in err) == (2, True)


def test_machines_are_listed_with_how_far_they_are(
    fleet: Fleet, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (fleet["gpu2"].folder / MODEL.file_name("data.dat")).unlink()
    code, out, _ = run(capsys, "machines", "--json", "--config", config)
    first, second = json.loads(out)
    assert (first["iteration"], first["error"]) == (20_000, "")
    assert "data.dat" in second["error"]
    assert code == 3


def ssh_config(machine: SshMachine, folder: Path, known_hosts: Path) -> str:
    path = folder / "ssh.toml"
    one = machine.machine()
    path.write_text(
        f'[service]\nstate_dir = "{folder / "state"}"\n'
        f'[[machine]]\nname = "gpu1"\naddress = "127.0.0.1"\nport = {one.port}\nuser = "{one.user}"\n'
        f'key = "{one.key}"\nknown_hosts = "{known_hosts}"\nmodel_dir = {json.dumps(one.model_dir)}\n'
        'control = "cooperative"\n[[sync]]\nname = "alice"\nmachines = ["gpu1"]\nquorum = 1\n',
        encoding="utf-8",
    )
    return str(path)


def test_trust_shows_the_fingerprint_and_writes_it_only_when_it_is_the_expected_one(
    ssh_machines: list[SshMachine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known_hosts"
    config = ssh_config(ssh_machines[0], tmp_path, known)

    code, out, _ = run(capsys, "machines", "trust", "gpu1", "--fingerprint", f"SHA256:{'x' * 43}", "--config", config)
    assert (code, known.exists()) == (1, False)
    shown = next(word for word in out.split() if word.startswith("SHA256:"))
    code, _, _ = run(capsys, "machines", "trust", "gpu1", "--fingerprint", shown, "--config", config)
    assert (code, known.read_text()) == (0, ssh_machines[0].known_hosts.read_text())
    code, out, _ = run(capsys, "machines", "trust", "gpu1", "--config", config)
    assert (code, "trusted already" in out) == (0, True)

    known.write_text(f"[127.0.0.1]:{ssh_machines[0].port} " + Path(f"{ssh_machines[1].host_key}.pub").read_text())
    code, _, err = run(capsys, "machines", "trust", "gpu1", "--config", config)
    assert (code, "holds another key" in err) == (2, True)


@pytest.mark.parametrize(
    ("answer", "trusted"),
    [("y\n", True), ("yes\n", True), (" YES ", True), ("", False), ("no\n", False), ("\n", False)],
)
def test_trust_takes_a_piped_answer(ssh_machines: list[SshMachine], tmp_path: Path, answer: str, trusted: bool) -> None:
    known = tmp_path / "known_hosts"
    config = ssh_config(ssh_machines[0], tmp_path, known)
    command = [sys.executable, "-m", "daemon", "machines", "trust", "gpu1", "--config", config]
    done = subprocess.run(command, cwd=ROOT, input=answer, capture_output=True, text=True, check=False)
    assert (done.returncode, known.exists()) == ((0, True) if trusted else (1, False)), done.stdout + done.stderr
    if not answer:
        shown = next(word for word in done.stdout.split() if word.startswith("SHA256:"))
        assert f"--fingerprint {shown}" in done.stdout


def test_a_fingerprint_is_taken_as_ssh_keygen_prints_it() -> None:
    digest = "uNiVztksCsDhcc0u9e8BrrVPqTOqXtgoDpx+AmGZx/s"
    for text in (digest, f"SHA256:{digest}", f"SHA256:{digest}=", f"256 SHA256:{digest} root@gpu1 (ED25519)"):
        assert fingerprint_in(text) == f"SHA256:{digest}"
    for text in ("", "yes", "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", digest[:-1], digest + "A"):
        with pytest.raises(UsageError, match="no SHA256 fingerprint"):
            fingerprint_in(text)


def test_the_hook_line_is_printed_and_its_program_lies_on_the_machine(
    ssh_machines: list[SshMachine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ssh_config(ssh_machines[0], tmp_path, ssh_machines[0].known_hosts)
    code, out, err = run(capsys, "sync", "hook", "alice", "--config", config)
    assert code == 0, err
    flag, seconds, program = shlex.split(out.splitlines()[1])
    assert (flag, seconds) == ("--execute-program", "-1")
    assert "hook.py" in program
    assert (ssh_machines[0].model_dir / ".dfld" / "alice_SAEHD" / "hook.py").exists()


def test_weights_lie_where_no_other_user_reads_them(
    fleet: Fleet, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "sync", "init", MODEL.name, "--from", "gpu1", "--config", config)
    assert (tmp_path / "state").stat().st_mode & 0o007 == 0
