"""Trainers in all ways of control, against a stand-in that lives as DeepFaceLab's does."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dfl.model_files import ModelName
from sync.errors import CommandError, SyncError, TrainerError
from sync.places import places_of
from sync.trainers import commanded as trainer_command
from sync.trainers.contract import RefusedStates, SeenIterating, Trainer, read_state
from sync.trainers.cooperating import hook_line, hook_source
from sync.trainers.processes.process_list import list_processes
from sync.trainers.processes.trainer_processes import youngest
from sync.trainers.trainer import trainer_of
from sync.transports.local import LocalTransport
from sync.types import CommandResult, Machine
from tests.sync.training import MODEL, QUICK, TrainingMachine, cooperating, exchange_for, new_weights, trainer_on, until


@pytest.fixture
def gpu1(tmp_path: Path) -> Iterator[TrainingMachine]:
    folder = tmp_path / "work space" / "model"
    folder.mkdir(parents=True)
    made = TrainingMachine(Machine(name="gpu1", address="", model_dir=str(folder), transfer="local"))
    made.write_model()
    yield made
    made.kill()


# Commands.


def test_a_commanded_trainer_is_stopped_with_all_it_learned_on_disk(gpu1: TrainingMachine) -> None:
    gpu1.commanded().start()
    trainer = trainer_on(gpu1)
    before = gpu1.state()["iter"]
    until(lambda: gpu1.state()["iter"] > before, "a save")
    assert trainer.is_running()

    trainer.settle()

    assert not trainer.is_running()
    assert not gpu1.runs()


def test_a_commanded_trainer_starts_again_and_its_progress_is_seen(gpu1: TrainingMachine) -> None:
    gpu1.commanded()
    trainer = trainer_on(gpu1)
    iteration = gpu1.state()["iter"]
    assert trainer.progress(iteration) is None

    trainer.resume()

    assert trainer.is_running()
    progress = until(lambda: trainer.progress(iteration), "the first save")
    assert progress.iteration > iteration
    assert len(progress.losses) == min(500, progress.iteration - iteration)


def test_new_weights_are_trained_on_after_the_restart(gpu1: TrainingMachine, tmp_path: Path) -> None:
    gpu1.commanded().start()
    trainer = trainer_on(gpu1)
    trainer.settle()

    trainer.take(exchange_for(gpu1, new_weights(gpu1, tmp_path / "new")))

    pushed = gpu1.weights()
    trainer.resume()
    iteration = gpu1.state()["iter"]
    until(lambda: trainer.progress(iteration), "the first save")
    trainer.settle()
    moved = abs(gpu1.weights()["inter.npy"]["dense1/weight:0"] - pushed["inter.npy"]["dense1/weight:0"]).max()
    assert 0 < moved < 0.5, "trained on from what was pushed"


def test_a_trainer_that_ignores_sigint_is_found_out_at_once(gpu1: TrainingMachine) -> None:
    gpu1.commanded()
    gpu1.machine = replace(gpu1.machine, stop="")
    # What a script does with `trainer &`: no job control, so the program starts with SIGINT ignored.
    command = f"{gpu1.command_line()} </dev/null >/dev/null 2>&1 &"
    subprocess.run(["sh", "-c", command], check=True, start_new_session=True)
    until(lambda: gpu1.pid(), "the trainer's pid")

    with pytest.raises(TrainerError, match="ignores SIGINT") as error:
        trainer_on(gpu1).settle()

    assert "systemd" in error.value.hint
    assert gpu1.runs(), "it was left alone"


def test_dfld_sends_sigint_itself_where_only_the_pid_is_known(gpu1: TrainingMachine) -> None:
    gpu1.commanded().start()
    gpu1.machine = replace(gpu1.machine, stop="")
    trainer_on(gpu1).settle()
    assert not gpu1.runs()
    assert gpu1.state()["iter"] >= 20_000


def test_a_trainer_that_was_killed_instead_of_interrupted_is_told_as_unsaved(gpu1: TrainingMachine) -> None:
    gpu1.commanded()
    pid, data = shlex.quote(str(gpu1.pid_file)), shlex.quote(str(gpu1.folder / MODEL.file_name("data.dat")))
    killed = f"kill -KILL $(cat {pid}); rm {pid}; touch -d '100 seconds ago' {data}"
    gpu1.machine = replace(gpu1.machine, stop=killed, pid="")
    gpu1.start()

    with pytest.raises(TrainerError, match="ended without saving"):
        trainer_on(gpu1).settle()


def test_a_trainer_at_its_goal_needs_no_last_save(gpu1: TrainingMachine) -> None:
    gpu1.write_model(iteration=500, target_iter=500)
    gpu1.options = ["--save-every", "1000"]
    gpu1.commanded()
    path = gpu1.folder / MODEL.file_name("data.dat")
    pid, data = shlex.quote(str(gpu1.pid_file)), shlex.quote(str(path))
    killed = f"kill -KILL $(cat {pid}); rm {pid}; touch -d '100 seconds ago' {data}"
    gpu1.machine = replace(gpu1.machine, stop=killed, pid="")
    gpu1.start()

    def stops_now_that_it_saved() -> bool:
        os.utime(path)  # the save at its goal, which came after its start
        try:
            trainer_on(gpu1).settle()
        except TrainerError as error:
            return "was started at its target_iter" not in error.message
        return True

    until(stops_now_that_it_saved, "a trainer that is older than its save")
    assert not gpu1.runs()


def test_a_trainer_that_was_started_at_its_goal_is_never_stopped(gpu1: TrainingMachine) -> None:
    gpu1.write_model(iteration=500, target_iter=500)
    os.utime(gpu1.folder / MODEL.file_name("data.dat"), (time.time() - 60,) * 2)
    gpu1.options = ["--save-every", "1000"]
    gpu1.commanded().start()
    with pytest.raises(TrainerError, match="started at its target_iter"):
        trainer_on(gpu1).settle()
    assert gpu1.runs()


def test_a_trainer_that_does_not_stop_is_given_up_with_a_hint(gpu1: TrainingMachine) -> None:
    gpu1.commanded().start()
    gpu1.machine = replace(gpu1.machine, stop="true")
    with pytest.raises(TrainerError, match="still runs 1 s after `true`"):
        trainer_on(gpu1, replace(QUICK, stop_s=1)).settle()


def test_a_stop_command_that_times_out_leaves_nothing_running(gpu1: TrainingMachine, tmp_path: Path) -> None:
    gpu1.commanded().start()
    pids = shlex.quote(str(tmp_path / "pids"))
    waiting = f"echo $$ >> {pids}; (echo $(sh -c 'echo $PPID') >> {pids}; sleep 1000) & sleep 1000"
    gpu1.machine = replace(gpu1.machine, stop=waiting)
    with pytest.raises(SyncError, match="did not end within 1 s"):
        trainer_on(gpu1, replace(QUICK, stop_s=1)).settle()
    started = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(started) == 2
    until(lambda: not any(map(is_process, started)), "the end of what the stop command started")
    assert gpu1.runs(), "the trainer itself is left alone"


def is_process(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stop_command_that_fails_is_told_with_its_words(gpu1: TrainingMachine) -> None:
    gpu1.commanded().start()
    gpu1.machine = replace(gpu1.machine, stop="echo no such unit; exit 4")
    with pytest.raises(TrainerError, match="status 4: no such unit"):
        trainer_on(gpu1).settle()


def test_weights_are_not_put_under_a_trainer_that_somebody_restarted(gpu1: TrainingMachine, tmp_path: Path) -> None:
    exchange = exchange_for(gpu1, new_weights(gpu1, tmp_path / "new"))
    gpu1.commanded().start()
    with pytest.raises(TrainerError, match="runs although dfld stopped it"):
        trainer_on(gpu1).take(exchange)


# The hook.


def test_a_cooperating_trainer_saves_when_asked(gpu1: TrainingMachine) -> None:
    cooperating(gpu1).start()
    trainer = trainer_on(gpu1)
    until(trainer.is_running, "the first sign of life")
    until(lambda: (p := trainer.progress(20_000)) and p.iteration > 20_010, "some training")

    trainer.settle()

    assert gpu1.runs()
    assert gpu1.state()["iter"] > 20_010


def test_a_cooperating_trainer_loads_what_was_pushed_without_a_restart(gpu1: TrainingMachine, tmp_path: Path) -> None:
    cooperating(gpu1).start()
    trainer = trainer_on(gpu1)
    until(trainer.is_running, "the first sign of life")
    pid = gpu1.pid()
    files = new_weights(gpu1, tmp_path / "new")

    trainer.take(exchange_for(gpu1, files))
    pushed = {part: (gpu1.folder / MODEL.file_name(part)).read_bytes() for part in files}
    trainer.settle()

    assert pushed == {part: path.read_bytes() for part, path in files.items()}
    assert gpu1.pid() == pid
    new = pickle.loads(pushed["inter.npy"])["dense1/weight:0"]
    assert abs(gpu1.weights()["inter.npy"]["dense1/weight:0"] - new).max() < 0.5, "trained on from what was pushed"


def test_a_request_is_done_once_however_often_it_is_made(gpu1: TrainingMachine, tmp_path: Path) -> None:
    cooperating(gpu1).start()
    trainer = trainer_on(gpu1)
    until(trainer.is_running, "the first sign of life")
    exchange = exchange_for(gpu1, new_weights(gpu1, tmp_path / "new"))
    trainer.take(exchange)
    answer = (gpu1.folder / ".dfld" / MODEL.prefix / "answer.json").read_text(encoding="utf-8")
    trainer.take(exchange)
    assert (gpu1.folder / ".dfld" / MODEL.prefix / "answer.json").read_text(encoding="utf-8") == answer


def test_weights_that_the_trainer_cannot_load_are_told(gpu1: TrainingMachine, tmp_path: Path) -> None:
    cooperating(gpu1).start()
    trainer = trainer_on(gpu1)
    until(trainer.is_running, "the first sign of life")
    files = new_weights(gpu1, tmp_path / "new")
    files["inter.npy"].write_bytes(pickle.dumps({"dense1/weight:0": 1, "dense1/bias:0": 2}, 4))
    with pytest.raises(TrainerError, match="could not load"):
        trainer.take(exchange_for(gpu1, files))
    assert gpu1.runs(), "the hook never ends the training"


def failing_hook(gpu1: TrainingMachine, broken: str) -> Path:
    """Start a trainer in whose hook `broken` (of the hook's own functions) raises; return the hook's folder."""
    cooperating(gpu1)
    own = gpu1.folder / ".dfld" / MODEL.prefix
    broken_function = f"def {broken}(*_):\n    raise ZeroDivisionError('of the hook')\n\n\nnames = globals()"
    source = (own / "hook.py").read_text(encoding="utf-8")
    (own / "hook.py").write_text(source.replace("names = globals()", broken_function), encoding="utf-8")
    gpu1.start()
    return own


def test_what_fails_while_a_request_is_done_is_logged_with_its_traceback(
    gpu1: TrainingMachine, caplog: pytest.LogCaptureFixture
) -> None:
    failing_hook(gpu1, "do")
    trainer = trainer_on(gpu1)
    until(trainer.is_running, "the first sign of life")
    with pytest.raises(TrainerError, match="could not save: ZeroDivisionError: of the hook$"):
        trainer.settle()
    (logged,) = [record for record in caplog.records if "the line inside its trainer" in record.getMessage()]
    assert "in error_of" in logged.getMessage()
    assert logged.__dict__["fields"]["boundary"] == "round"


def test_a_hook_that_fails_before_any_sign_of_life_is_logged_once(
    gpu1: TrainingMachine, caplog: pytest.LogCaptureFixture
) -> None:
    own = failing_hook(gpu1, "process")
    until((own / "hook.py.error").exists, "what the hook says")
    trainer = trainer_on(gpu1)
    for _ in range(2):
        assert not trainer.is_running()
    (logged,) = [record for record in caplog.records if "the line inside its trainer" in record.getMessage()]
    assert "ZeroDivisionError: of the hook" in logged.getMessage()
    assert "Traceback" in logged.getMessage()


def test_an_error_from_before_the_last_sign_of_life_says_nothing(
    gpu1: TrainingMachine, caplog: pytest.LogCaptureFixture
) -> None:
    gpu1.machine = replace(gpu1.machine, control="cooperative")
    own = gpu1.folder / ".dfld" / MODEL.prefix
    own.mkdir(parents=True)
    for name, age_s in (("hook.py.error", 2000), ("alive.json", 1000)):
        (own / name).write_text("{}", encoding="utf-8")
        os.utime(own / name, (time.time() - age_s,) * 2)
    assert not trainer_on(gpu1).is_running()
    assert caplog.records == []


def test_a_trainer_without_the_hook_is_not_waited_for(gpu1: TrainingMachine) -> None:
    gpu1.machine = replace(gpu1.machine, control="cooperative")
    trainer = trainer_on(gpu1)
    assert not trainer.is_running()
    trainer.settle()


def test_a_request_that_reaches_outside_the_model_folder_is_refused(gpu1: TrainingMachine) -> None:
    cooperating(gpu1).start()
    trainer = trainer_on(gpu1)
    until(trainer.is_running, "the first sign of life")
    own = gpu1.folder / ".dfld" / MODEL.prefix
    (own / "x").write_bytes(b"x")
    request = {"do": "load", "token": "evil", "folder": "..", "files": ["../../x"]}
    (own / "request.json").write_text(json.dumps(request), encoding="utf-8")
    answer = until(lambda: json.loads((own / "answer.json").read_text()) if (own / "answer.json").exists() else {}, "")
    assert "holds a folder" in answer["error"]


def given_up_at_once(gpu1: TrainingMachine) -> Trainer:
    """A control that would wait for minutes if it did not see that the process is gone."""
    return trainer_on(gpu1, replace(QUICK, answer_s=600, alive_s=600, proof_s=600))


def test_a_cooperating_trainer_that_was_killed_is_seen_dead_at_once(gpu1: TrainingMachine) -> None:
    cooperating(gpu1).start()
    trainer = given_up_at_once(gpu1)
    until(trainer.is_running, "the first sign of life")
    pid = gpu1.pid()
    gpu1.kill()
    assert not trainer.is_running()
    assert trainer.why_gone() == f"its process {pid} has ended"


def test_a_trainer_that_dies_while_it_is_asked_is_not_waited_for(gpu1: TrainingMachine, tmp_path: Path) -> None:
    cooperating(gpu1).start()
    trainer = given_up_at_once(gpu1)
    until(trainer.is_running, "the first sign of life")
    os.kill(gpu1.pid(), signal.SIGSTOP)  # it lives and does not answer
    files = new_weights(gpu1, tmp_path / "new")
    request = gpu1.folder / ".dfld" / MODEL.prefix / "request.json"
    failed: list[SyncError] = []

    def settle() -> None:
        try:
            trainer.settle()
        except SyncError as error:
            failed.append(error)

    asking = threading.Thread(target=settle)
    asking.start()
    until(request.exists, "the request")
    assert trainer.is_running(), "a stopped process is no dead one"
    gpu1.kill()
    asking.join(60)
    assert not asking.is_alive()
    assert "did not save: its process" in str(failed[0])
    assert not request.exists(), "the next trainer is not asked for it"

    trainer.take(exchange_for(gpu1, files))
    assert {part: (gpu1.folder / MODEL.file_name(part)).read_bytes() for part in files} == {
        part: path.read_bytes() for part, path in files.items()
    }


def test_a_trainer_that_dies_while_it_loads_leaves_the_whole_new_set(gpu1: TrainingMachine, tmp_path: Path) -> None:
    cooperating(gpu1).start()
    trainer = given_up_at_once(gpu1)
    until(trainer.is_running, "the first sign of life")
    os.kill(gpu1.pid(), signal.SIGSTOP)
    files = new_weights(gpu1, tmp_path / "new")
    exchange = exchange_for(gpu1, files)
    taking = threading.Thread(target=trainer.take, args=(exchange,))
    taking.start()
    until((gpu1.folder / ".dfld" / MODEL.prefix / "request.json").exists, "the request")
    gpu1.kill()
    taking.join(60)
    assert not taking.is_alive()
    assert {part: (gpu1.folder / MODEL.file_name(part)).read_bytes() for part in files} == {
        part: path.read_bytes() for part, path in files.items()
    }


def test_a_sign_of_life_is_believed_however_old_while_its_process_lives(gpu1: TrainingMachine) -> None:
    """DeepFaceLab gives none during a save, which may take long."""
    cooperating(gpu1).start()
    trainer = trainer_on(gpu1, replace(QUICK, alive_s=1))
    until(trainer.is_running, "the first sign of life")
    os.kill(gpu1.pid(), signal.SIGSTOP)
    alive = gpu1.folder / ".dfld" / MODEL.prefix / "alive.json"
    os.utime(alive, (time.time() - 5000,) * 2)
    assert trainer.is_running()
    os.kill(gpu1.pid(), signal.SIGCONT)


def test_a_trainer_that_is_started_again_is_seen_while_it_loads(gpu1: TrainingMachine) -> None:
    cooperating(gpu1).start()
    trainer = given_up_at_once(gpu1)
    until(trainer.is_running, "the first sign of life")
    gpu1.kill()
    alive = gpu1.folder / ".dfld" / MODEL.prefix / "alive.json"
    os.utime(alive, (time.time() - 5000,) * 2)  # killed a while ago
    assert not trainer.is_running()
    gpu1.options.append("--hang-at-start")
    gpu1.start()
    assert trainer.is_running(), "files are not put under a trainer that is about to read them"


def test_the_hook_is_ascii_since_a_trainer_reads_it_in_whatever_its_machine_writes_in() -> None:
    assert hook_source().isascii()


def test_the_hook_is_python_3_6() -> None:
    ast.parse(hook_source(), feature_version=(3, 6))


def test_a_model_folder_that_no_line_can_name_is_refused() -> None:
    with pytest.raises(SyncError, match="no line can name it"):
        hook_line(places_of("/home/o'brien/model", ModelName("alice", "SAEHD")))


# Without control.


def test_without_control_files_are_changed_only_while_nothing_trains(gpu1: TrainingMachine, tmp_path: Path) -> None:
    exchange = exchange_for(gpu1, new_weights(gpu1, tmp_path / "new"))
    gpu1.machine = replace(gpu1.machine, status=f"test -e {shlex.quote(str(gpu1.pid_file))}")
    gpu1.start()
    trainer = trainer_on(gpu1)
    with pytest.raises(TrainerError, match="dfld may not stop it"):
        trainer.take(exchange)
    gpu1.interrupt()

    trainer.take(exchange)

    assert not trainer.is_running()


def test_without_control_and_status_nothing_is_refused_when_no_process_names_the_model(
    gpu1: TrainingMachine, tmp_path: Path
) -> None:
    trainer = trainer_on(gpu1)  # saved a moment ago, and nothing runs
    assert not trainer.is_running()
    trainer.take(exchange_for(gpu1, new_weights(gpu1, tmp_path / "new")))


def test_without_control_and_status_a_trainer_that_has_not_saved_yet_is_seen(
    gpu1: TrainingMachine, tmp_path: Path
) -> None:
    exchange = exchange_for(gpu1, new_weights(gpu1, tmp_path / "new"))
    for path in gpu1.folder.glob("alice*"):
        os.utime(path, (time.time() - 90_000,) * 2)
    gpu1.options = ["--save-every", "1000"]
    gpu1.start()
    stopped = trainer_on(gpu1, replace(QUICK, are_stopped=True))  # a word that is wrong does not outweigh a process
    for trainer in (trainer_on(gpu1), stopped):
        with pytest.raises(TrainerError, match=r"process \d+ .* names the model"):
            trainer.take(exchange)


class NoCommands(LocalTransport):
    """A machine that gives files only."""

    def run(self, command: str, *, timeout_s: float) -> CommandResult:
        raise CommandError(f"`{command}` is refused within {timeout_s}", machine=self.machine.name)


@pytest.mark.parametrize("locked", [False, True])
def test_without_any_proof_the_operators_word_is_asked_for_and_enough(
    gpu1: TrainingMachine, tmp_path: Path, locked: bool
) -> None:
    exchange = exchange_for(gpu1, new_weights(gpu1, tmp_path / "new"))
    if locked:
        (gpu1.folder / f"{MODEL.prefix}.lock").write_bytes(b"")
    transport = NoCommands(gpu1.machine)
    silent = trainer_of(transport, gpu1.places, QUICK, threading.Event(), RefusedStates())
    assert silent.is_running(), "it may"
    with pytest.raises(TrainerError, match="nothing proves that no trainer runs") as error:
        silent.take(exchange)
    assert ("lock is there" in error.value.message) == locked
    assert "status" in error.value.hint
    assert "--trainers-are-stopped" in error.value.hint
    trainer_of(transport, gpu1.places, replace(QUICK, are_stopped=True), threading.Event(), RefusedStates()).take(
        exchange
    )


# When a trainer may be stopped.


def saved_before_start(gpu1: TrainingMachine, seconds: float) -> None:
    """Start the trainer, which hangs in loading, and let its data.dat be saved so long before that."""
    gpu1.options = ["--hang-at-start"]
    gpu1.commanded().start()
    process = youngest(
        list_processes(LocalTransport(gpu1.machine), gpu1.places, timeout_s=20),
        frozenset((until(gpu1.pid, "its pid"),)),
    )
    assert process is not None
    assert process.started_s is not None
    os.utime(gpu1.folder / MODEL.file_name("data.dat"), (process.started_s - seconds,) * 2)


def test_a_trainer_that_loads_gets_no_signal_until_it_iterates(gpu1: TrainingMachine) -> None:
    saved_before_start(gpu1, 60)
    said: list[str] = []
    with pytest.raises(TrainerError, match="not seen iterating within 1 s"):
        trainer_on(gpu1, replace(QUICK, proof_s=1)).settle(on_wait=lambda what, _limit_s: said.append(what))
    assert gpu1.runs(), "nothing was stopped"
    assert "may be loading" in said[0]


def test_a_save_of_the_trainer_before_the_restart_shows_nothing(gpu1: TrainingMachine) -> None:
    """Only what was saved since the start of its process counts, and only what trained beyond it."""
    saved_before_start(gpu1, 1.2)
    with pytest.raises(TrainerError, match="not seen iterating"):
        trainer_on(gpu1, replace(QUICK, proof_s=1)).wait_until_stoppable()


def test_a_save_within_the_second_of_the_start_counts_as_made_since_then(gpu1: TrainingMachine) -> None:
    """Times of files are whole seconds on a machine; a save after the start must not be taken for one before it."""
    saved_before_start(gpu1, 0)
    trainer_on(gpu1, replace(QUICK, proof_s=1)).wait_until_stoppable()


@pytest.mark.parametrize("lists_processes", [True, False])
def test_a_trainer_that_was_started_again_since_it_was_seen_iterating_gets_no_signal(
    gpu1: TrainingMachine, monkeypatch: pytest.MonkeyPatch, lists_processes: bool
) -> None:
    """Also where no `pid` command tells the two apart."""

    def no_list(*_: object, **__: object) -> None:
        raise ValueError("the list of processes is empty")

    gpu1.commanded().start()
    gpu1.machine = replace(gpu1.machine, pid="")
    if not lists_processes:
        monkeypatch.setattr(trainer_command, "list_processes", no_list)
    stop = threading.Event()
    trainer = trainer_of(LocalTransport(gpu1.machine), gpu1.places, QUICK, stop, RefusedStates())
    seen = trainer.wait_until_stoppable()
    assert isinstance(seen, SeenIterating)
    gpu1.interrupt()
    saved_before_start(gpu1, 60)
    stop.set()
    with pytest.raises(TrainerError, match="may be loading, and was not stopped"):
        trainer.settle(seen=seen)
    assert gpu1.runs(), "nothing was stopped"
    stop.clear()


def test_a_trainer_that_was_seen_iterating_is_stopped_without_another_wait(gpu1: TrainingMachine) -> None:
    gpu1.options = ["--save-every", "1000"]
    gpu1.commanded().start()
    save = gpu1.folder / MODEL.file_name("data.dat")
    trainer = trainer_on(gpu1)
    process, _ = trainer._youngest(gpu1.pid())  # type: ignore[attr-defined]
    seen = SeenIterating(gpu1.pid(), process, gpu1.state()["iter"])
    os.utime(save, (time.time() - 60,) * 2)
    trainer.settle(on_wait=lambda what, _limit_s: None if "last save" in what else pytest.fail(what), seen=seen)
    assert not gpu1.runs()


def test_the_last_save_of_the_trainer_before_shows_nothing_of_the_one_that_followed_it(gpu1: TrainingMachine) -> None:
    saved_before_start(gpu1, 60)

    def restart(_what: str, _limit_s: float) -> None:
        gpu1.kill()
        state = gpu1.state()
        state["iter"] += 5
        (gpu1.folder / MODEL.file_name("data.dat")).write_bytes(pickle.dumps(state, 3))
        saved_before_start(gpu1, 60)

    with pytest.raises(TrainerError, match="not seen iterating within 2 s"):
        trainer_on(gpu1, replace(QUICK, proof_s=2)).wait_until_stoppable(restart)
    assert gpu1.runs()


def asked_to_stop(gpu1: TrainingMachine, age_s: float = 0.0) -> None:
    """Leave what a dfld leaves that is killed while it stops a trainer."""
    note = gpu1.folder / ".dfld" / MODEL.prefix / "stopping.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"pid": gpu1.pid()}), encoding="utf-8")
    os.utime(note, (time.time() - age_s,) * 2)


def test_a_trainer_whose_stop_was_under_way_is_started_when_it_has_ended(gpu1: TrainingMachine) -> None:
    gpu1.options = ["--file-delay", "0.4", "--save-every", "1000"]  # a last save of some seconds
    gpu1.commanded().start()
    before = gpu1.pid()
    asked_to_stop(gpu1)
    os.kill(before, signal.SIGINT)
    trainer_on(gpu1).resume()
    assert gpu1.runs()
    assert gpu1.pid() != before, "the next one"
    assert not (gpu1.folder / ".dfld" / MODEL.prefix / "stopping.json").exists()


@pytest.mark.parametrize("age_s", [0.0, 1000.0])
def test_a_trainer_whose_stop_never_reached_it_trains_on(gpu1: TrainingMachine, age_s: float) -> None:
    gpu1.options = ["--save-every", "1000" if age_s else "0.4"]
    gpu1.commanded().start()
    before = gpu1.pid()
    asked_to_stop(gpu1, age_s)
    for path in gpu1.folder.glob("alice*") if age_s else ():
        os.utime(path, (time.time() - 2000,) * 2)
    trainer_on(gpu1).resume()
    assert gpu1.pid() == before
    assert gpu1.runs()


def test_data_dat_is_read_without_its_pictures(gpu1: TrainingMachine) -> None:
    state = read_state(LocalTransport(gpu1.machine), gpu1.places, RefusedStates())
    assert state.iteration == 20_000
    assert state.options["archi"] == "df-ud"
