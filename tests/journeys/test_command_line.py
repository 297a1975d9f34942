"""The command as other programs and impatient people meet it: JSON, odd names, closed folders, signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.cli import build_parser
from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from daemon.commands.stop import stop_on_signals
from daemon.errors import ExitCode
from docs.command_line import all_parsers
from tests import command
from tests.footage import write_shots

ROOT = Path(__file__).parents[2]
PLAIN_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    photo = group_photo()
    write_clip(folder / "clip.mp4", camera_move(photo, 4))
    write_reference(folder / "person.png", photo, command.opened("dlib"))
    return folder


def dfld(*arguments: object, **environment: str) -> command.Ended | subprocess.CompletedProcess[str]:
    """Run a command; in a process of its own where that must have another environment."""
    if not environment:
        return command.dfld(*arguments)
    program = [sys.executable, "-m", "daemon", *map(os.fspath, arguments)]  # type: ignore[call-overload]
    done = subprocess.run(
        program, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def extract(
    footage: Path, out: Path, source: Path, *more: object, **environment: str
) -> command.Ended | subprocess.CompletedProcess[str]:
    reference = ("--reference", footage / "person.png", "--backend", "dlib")
    return dfld("extract", source, "--out", out, *reference, *more, **environment)


@pytest.mark.parametrize("environment", [{}, PLAIN_LOCALE], ids=["utf-8", "plain"])
def test_a_clip_whose_name_is_no_text_is_extracted_and_may_be_extracted_again(
    footage: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    clip = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff \xc3\xbc\n.mp4"))
    shutil.copy(footage / "clip.mp4", clip)
    done = extract(footage, tmp_path / "out", clip, **environment)
    assert done.returncode == 0, done.stderr
    assert "faces kept" in done.stdout.splitlines()[0], "the line break in the name stayed"
    log = json.loads((tmp_path / "out" / "debug" / "extraction_log.json").read_bytes())
    if not environment:
        assert log["source"] == str(clip)
    again = extract(footage, tmp_path / "out", clip, "--json", "--replace", **environment)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)[0]["source"] == log["source"]


def test_a_wrong_command_line_is_json_where_json_was_asked_for() -> None:
    done = dfld("extract", "a.mp4", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    said = json.loads(done.stdout)
    assert "--out" in said["error"]
    assert said["exit_code"] == 2


@pytest.mark.parametrize("option", ["--out", "--reference", "--model-root"])
def test_an_empty_path_is_refused(footage: Path, tmp_path: Path, option: str) -> None:
    done = extract(footage, tmp_path / "out", footage / "clip.mp4", option, "")
    assert done.returncode == 2
    assert "the path is empty" in done.stderr


def test_a_missing_clip_among_good_ones_does_not_stop_them(footage: Path, tmp_path: Path) -> None:
    done = dfld("extract", tmp_path / "gone.mp4", footage / "clip.mp4", "--reference", footage / "person.png",
                "--out", tmp_path / "out", "--backend", "dlib")  # fmt: skip
    assert done.returncode == 3
    assert "gone.mp4: there is no such file" in done.stderr
    assert list((tmp_path / "out" / "aligned").glob("clip-*.jpg"))


@pytest.mark.parametrize("place", ["source", "reference", "out"])
def test_a_name_that_is_too_long_is_a_sentence(footage: Path, tmp_path: Path, place: str) -> None:
    paths = {"source": footage / "clip.mp4", "reference": footage / "person.png", "out": tmp_path / "out"}
    paths[place] = tmp_path / ("x" * 300)
    done = dfld("extract", paths["source"], "--reference", paths["reference"], "--out", paths["out"],
                "--backend", "dlib")  # fmt: skip
    assert done.returncode == 1
    assert "File name too long" in done.stderr


CLOSED = {
    "reference": ("extract", "{clip}", "--reference", "{closed}", "--out", "{out}", "--backend", "dlib"),
    "source": ("extract", "{closed}/x.mp4", "--reference", "{person}", "--out", "{out}", "--backend", "dlib"),
    "out": ("extract", "{clip}", "--reference", "{person}", "--out", "{closed}/x", "--backend", "dlib"),
    "photo": ("match", "{closed}/a.png", "{person}", "--backend", "dlib"),
    "unreadable video": ("extract", "{locked}", "--reference", "{person}", "--out", "{out}", "--backend", "dlib"),
    "unreadable photo": ("extract", "{clip}", "--reference", "{locked}", "--out", "{out}", "--backend", "dlib"),
    "configuration": ("check", "{closed}/config.toml"),
}


@pytest.mark.parametrize("what", CLOSED)
def test_what_may_not_be_read_or_written_is_a_sentence_and_its_own_exit_code(
    footage: Path, tmp_path: Path, what: str
) -> None:
    open_folder, closed = tmp_path / "open", tmp_path / "closed"
    open_folder.mkdir()
    closed.mkdir()
    locked = Path(shutil.copy(footage / "clip.mp4", open_folder / "locked.mp4"))
    places = {
        "clip": shutil.copy(footage / "clip.mp4", open_folder),
        "person": shutil.copy(footage / "person.png", open_folder),
        "out": open_folder / "out", "closed": closed, "locked": locked,
    }  # fmt: skip
    closed.chmod(0)
    locked.chmod(0)
    script = "import sys; from daemon.__main__ import start; start()"
    if os.geteuid() == 0:  # root may read everything: give its rights up, once everything is imported from its folders
        script = (
            "import os, sys, daemon.cli, daemon.commands.extract, engine.extract, engine.backends.dlib;"
            "import engine.identity.identity_file, engine.results.earlier_run, engine.workspace.sole_writer;"
            "import engine.backends.catalog, daemon.config.load, dlib, cv2, av;"
            "from engine.backends.catalog import open_backend; open_backend('dlib'); daemon.cli.build_parser();"
            "[os.chmod(p, 0o755) for p in sys.argv.pop(1).split(':')]; os.setgroups([]); os.setgid(65534);"
            "os.setuid(65534); from daemon.__main__ import start; start()"
        )
    open_folder.chmod(0o777)
    parents = [str(path) for path in (tmp_path, *tmp_path.parents) if path.name.startswith(("pytest-", tmp_path.name))]
    words = [argument.format(**places) for argument in CLOSED[what]]
    done = subprocess.run(
        [sys.executable, "-c", script, *([":".join(parents)] if os.geteuid() == 0 else []), *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    closed.chmod(0o700)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == (78 if what == "configuration" else 77), done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_signal_that_ended_it_stands_in_the_exit_code(
    footage: Path, tmp_path: Path, number: int, code: int
) -> None:
    write_shots(tmp_path / "long.mp4", shots=60)
    program = subprocess.Popen(
        [sys.executable, "-m", "daemon", "extract", str(tmp_path / "long.mp4"), "--reference",
         str(footage / "person.png"), "--out", str(tmp_path / "out"), "--backend", "dlib"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: list((tmp_path / "out").glob("debug/extraction_log.json")) or program.poll() is not None)
    program.send_signal(number)
    out, err = program.communicate(timeout=60)
    assert "Traceback" not in err
    assert program.returncode == code, (out, err)


def test_a_second_signal_interrupts_and_says_which_it_was() -> None:
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        assert stop.exit_code is ExitCode.INTERRUPTED
        with pytest.raises(KeyboardInterrupt) as interrupt:
            signal.raise_signal(signal.SIGTERM)
    assert interrupt.value.args == (signal.SIGTERM,)


def test_ctrl_c_while_the_program_is_still_loading_is_no_traceback(tmp_path: Path) -> None:
    # The moment is fixed, not guessed: the interrupt comes while daemon.cli is being imported.
    script = (
        "import os, signal, sys\n"
        "class AtImport:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'daemon.commands.extract':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, AtImport())\n"
        "from daemon.__main__ import start\n"
        "start()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_every_command_that_a_message_names_exists() -> None:
    words = {
        parser.prog.removeprefix("dfld "): {
            word for one in parser._actions if not one.option_strings for word in one.choices or ()
        }
        for parser in all_parsers(build_parser())
    }
    named: dict[str, set[str]] = {}
    for path in [*(ROOT / "daemon").rglob("*.py"), *(ROOT / "engine").rglob("*.py"), *(ROOT / "sync").glob("*.py")]:
        text = path.read_text()
        in_prose = re.findall(r"""hint=f?"dfld ([a-z]+)""", text)
        for found in re.findall(r"`dfld ([a-z]+(?: [a-z]+)?)", text) + [one for one in in_prose if one != "needs"]:
            named.setdefault(found, set()).add(path.name)
    wrong = {}
    for found, where in named.items():
        command, _, word = found.partition(" ")
        if command not in words or (word and words[command] and word not in words[command]):
            wrong[f"dfld {found}"] = where
    assert wrong == {}
    assert len(named) > 10


def wait_for(condition: Callable[[], object]) -> None:
    import time

    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen within 60 s"
        time.sleep(0.02)
