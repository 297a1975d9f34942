"""`dfld demo`: the real daemon on real faces, in one command, without any download.

It runs `dfld run` as its own process on a temporary configuration, drops a clip into the inbox in slow pieces as
a copy over a network would arrive, waits for the daemon's own metrics to say that the clip is extracted, masked and
curated, and prints what came out. Ctrl-C stops the daemon and removes everything.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.options import add_json_option, path_argument
from daemon.commands.output import print_json, steerable
from daemon.commands.stop import Stop, stop_on_signals
from daemon.errors import DaemonError, DemoError, ExitCode

if TYPE_CHECKING:
    import subprocess
    from argparse import _SubParsersAction

STABLE_FOR_S = 2
PIECES = 8
PIECE_PAUSE_S = 0.25
START_LIMIT_S = 60.0
JOB_LIMIT_S = 240.0
STOP_LIMIT_S = 20.0
LOOK_EVERY_S = 0.2
LACKS_SHOWN = 6

RESULTS = ("done", "failed", "quarantined")
JOBS = 3
"""Of the one clip: its extraction, its masks, and the curation of its side."""

METRICS_SHOWN = (
    "dfld_files_seen_total",
    "dfld_jobs_total",
    "dfld_frames_decoded_total",
    "dfld_faces_total",
    "dfld_masks_total",
    "dfld_faces_aside",
    "dfld_last_job_success_timestamp_seconds",
)

CONFIG = """[service]
state_dir = {state}
[http]
listen = "127.0.0.1:{port}"
[watch]
stable_for = "{stable}s"
rescan_every = "5s"
[[inbox]]
name = "demo"
path = {inbox}
references = [{reference}]
workspace = {workspace}
role = "src"
backend = "dlib"
on_done = "keep"
masks = {{ source = "hull" }}
curate = {{ enabled = true }}
"""


def add_commands(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="see the whole thing work on real faces, offline",
        description="Start the daemon on a temporary configuration, drop a short clip of a group photograph into its "
        "inbox, and show what it makes of one person in it. Takes about a minute; needs the embedded backend.",
    )
    parser.add_argument(
        "--keep-in", type=path_argument, metavar="DIR", help="an empty or new folder (default: a temporary one)"
    )
    add_json_option(parser)
    parser.set_defaults(run=run_demo)


def run_demo(options: argparse.Namespace) -> int:
    """Run the demonstration; leave its folder for inspection, or nothing at all when interrupted or failed."""
    import shutil

    say: Callable[[str], None] = (lambda _text: None) if options.json else (lambda text: print(text, flush=True))
    home = _home(options.keep_in)
    finished = False
    try:
        # An event, not an exception: one raised between starting the daemon and remembering it would orphan it.
        with stop_on_signals() as interrupted:
            outcome = _demonstrate(home, say, interrupted)
        finished = True
    finally:
        if not finished:
            shutil.rmtree(home, ignore_errors=True)
    if options.json:
        return print_json(asdict(outcome))
    return ExitCode.OK


def _home(wished: Path | None) -> Path:
    import tempfile

    if wished is None:
        return Path(tempfile.mkdtemp(prefix="dfld-demo-"))
    if wished.exists() and (not wished.is_dir() or any(wished.iterdir())):
        raise DaemonError(f"{wished} is not an empty folder", hint="name a new one")
    wished.mkdir(parents=True, exist_ok=True)
    return wished.absolute()


def _demonstrate(home: Path, say: Callable[[str], None], interrupted: Stop) -> _Outcome:
    import subprocess

    from core.files import replace_file
    from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
    from engine.backends.catalog import open_backend

    say("1/4 making a clip: a camera moving over a group photograph of six people")
    photo = group_photo()
    write_clip(home / "group photo.mp4", camera_move(photo))
    (home / "references").mkdir()
    write_reference(home / "references" / "person.png", photo, open_backend("dlib"))
    (home / "inbox").mkdir()
    port = _free_port()
    config = home / "config.toml"
    replace_file(config, _config_text(home, port).encode())

    say("2/4 starting the daemon: dfld run --config config.toml")
    with (home / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "daemon", "run", "--config", str(config)],
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches us alone; we stop the daemon as an operator would
        )
        patience = _Patience(daemon, home, interrupted)
        try:
            patience.wait(lambda: _get(port, "/readyz") is not None, START_LIMIT_S, "become ready")
            say("3/4 dropping the clip into the inbox, in slow pieces as a copy would arrive")
            _drop_slowly(home / "group photo.mp4", home / "inbox" / "group photo.mp4", interrupted)
            metrics = _watch_job(port, patience, show=sys.stderr.isatty())
            outcome = _outcome(home, metrics, interrupted)
        finally:
            _stop(daemon)
    say("4/4 done; the daemon has stopped\n")
    _print_outcome(outcome, say)
    return outcome


def _config_text(home: Path, port: int) -> str:
    quoted = {
        name: json.dumps(str(home / place))  # a JSON string is a TOML string
        for name, place in (("state", "state"), ("inbox", "inbox"), ("workspace", "workspace"))
    }
    return CONFIG.format(port=port, stable=STABLE_FOR_S, reference=json.dumps(str(home / "references")), **quoted)


def _drop_slowly(source: Path, target: Path, interrupted: Stop) -> None:
    data = source.read_bytes()
    size = -(-len(data) // PIECES)
    with target.open("wb") as file:
        for begin in range(0, len(data), size):
            file.write(data[begin : begin + size])
            file.flush()
            if interrupted.wait(PIECE_PAUSE_S):
                raise KeyboardInterrupt(interrupted.signal_number)


def _watch_job(port: int, patience: _Patience, *, show: bool) -> str:
    """Wait until the metrics say that the job ended, showing its progress; return the last metrics page."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    page = ""
    columns = (
        TextColumn("    {task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=steerable(sys.stderr)), transient=True, disable=not show) as bar:
        task = bar.add_task("waiting until the copy has settled", total=1.0)

        def ended() -> bool:
            nonlocal page
            page = _get(port, "/metrics") or page
            ratio = _metric(page, "dfld_job_progress_ratio")
            if ratio:
                bar.update(task, completed=ratio, description="finding and comparing faces")
            done, failed, refused = (_metric(page, "dfld_jobs_total", f'result="{how}"') for how in RESULTS)
            return done >= JOBS or failed + refused > 0

        patience.wait(ended, JOB_LIMIT_S, "finish the clip")
    return page


@dataclass(frozen=True)
class _Outcome:
    """What the demonstration made, and where it lies."""

    frames: int
    faces_found: int
    faces_kept: int
    faces_aside: int
    """Of these, the faces that training does not need: they lie beside the others."""
    reasons: Mapping[str, int]
    """Reason → faces with it."""
    threshold: float
    workspace: str
    aligned: str
    preview: str
    """Empty where no preview was written."""
    coverage: str
    """The page that shows which poses there are."""
    lacks: Sequence[str]
    """What the faces lack, in words."""
    log: str
    config: str
    metrics: Sequence[str]
    """Some of the daemon's metrics."""


def _outcome(home: Path, metrics: str, interrupted: Stop) -> _Outcome:
    from engine.coverage import cover_faceset, write_coverage
    from engine.facesets.faceset_folder import faceset_of

    logs = sorted((home / "workspace").rglob("*extraction_log.json"))
    if not logs:
        raise DemoError(f"the daemon ended the job without a workspace; its log:\n{_log_tail(home)}")
    log = json.loads(logs[0].read_text())
    folder = logs[0].parent.parent
    faceset = faceset_of(home / "workspace", "src")
    covered = cover_faceset(faceset, None, stop=interrupted, on_progress=lambda _done, _total: None)
    page, *_ = write_coverage(covered, home / "coverage.html")
    return _Outcome(
        frames=log["counts"]["frames_decoded"],
        faces_found=log["counts"]["faces_found"],
        faces_kept=log["counts"]["faces_kept"],
        faces_aside=len(list(faceset.aside.glob("*.jpg"))),
        reasons=log["counts"]["reasons"],
        threshold=log["settings"]["similarity_threshold"],
        workspace=str(home / "workspace"),
        aligned=str(folder / "aligned"),
        preview=str(next(iter(sorted(logs[0].parent.glob("*preview.jpg"))), "")),
        coverage=str(page),
        lacks=[one.sentence for one in covered.report.poses],
        log=str(logs[0]),
        config=str(home / "config.toml"),
        metrics=[line for line in metrics.splitlines() if line.startswith(METRICS_SHOWN) and not line.endswith(" 0.0")],
    )


def _print_outcome(outcome: _Outcome, say: Callable[[str], None]) -> None:
    say(f"{outcome.frames} frames, {outcome.faces_found} faces of six people; wanted: one of them")
    for reason, count in sorted(outcome.reasons.items(), key=lambda item: -item[1]):
        say(f"  {count:4d}  {reason}")
    trained = outcome.faces_kept - outcome.faces_aside
    say(f"\n{outcome.faces_kept} faces kept: all masked, {trained} to train on, {outcome.faces_aside} set aside")
    for sentence in outcome.lacks[:LACKS_SHOWN]:
        say(f"  missing: {sentence}")
    say(f"\nworkspace  {outcome.workspace}")
    say(f"faces      {outcome.aligned}   ({trained} files, ready for DeepFaceLab's trainer)")
    say(f"coverage   {outcome.coverage}")
    say(f"preview    {outcome.preview}")
    say(f"log        {outcome.log}")
    say(f"config     {outcome.config}")
    say("\nsome of the daemon's metrics:")
    for line in outcome.metrics:
        say(f"  {line}")
    say(f"\nDelete it all with: rm -r {Path(outcome.config).parent}")


@dataclass(frozen=True)
class _Patience:
    """Waiting for the daemon, as long as it lives and nobody interrupts."""

    daemon: subprocess.Popen[bytes]
    home: Path
    interrupted: Stop

    def wait(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            if self.daemon.poll() is not None:
                code = self.daemon.returncode
                raise DemoError(f"the daemon ended ({code}) before it could {what}:\n{_log_tail(self.home)}")
            if time.monotonic() > deadline:
                raise DemoError(f"the daemon did not {what} within {limit_s:.0f} s:\n{_log_tail(self.home)}")
            if self.interrupted.wait(LOOK_EVERY_S):
                raise KeyboardInterrupt(self.interrupted.signal_number)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    import subprocess

    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(STOP_LIMIT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            daemon.kill()
            daemon.wait()


def _get(port: int, path: str) -> str | None:
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:  # not there yet, or 503: not ready yet
        return None


def _metric(page: str, name: str, label: str = "") -> float:
    pattern = rf"^{name}\{{[^}}]*{re.escape(label)}[^}}]*\}} (\S+)$"
    return sum(float(value) for value in re.findall(pattern, page, re.MULTILINE))


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _log_tail(home: Path) -> str:
    lines = (home / "daemon.log").read_text(errors="replace").splitlines()[-15:]
    return "\n".join(f"    {line}" for line in lines)
