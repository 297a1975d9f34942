"""A stand-in for DeepFaceLab's trainer: trains nothing, but lives, saves and dies as dfl-formats.md h says.

Run as a program. It reads its files only at start (a missing or misshaped weight file is silently made anew, a file
that cannot be unpickled hangs it for ever), keeps the weights in memory, saves on a timer and on SIGINT: summary.txt,
then each weight and optimizer file, then data.dat, each written as `<file>.tmp`, unlinked and renamed. SIGTERM ends it
at once. `--execute-program N CODE` is executed in the training loop, with `model` and `model_save` in scope.

Its "loss" is the distance of its weights to a fixed target plus noise, so a file that was lost shows as a jump.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

SHAPES = {
    "encoder.npy": {"down1/conv1/weight:0": (5, 5, 3, 8), "down1/conv1/bias:0": (8,)},
    "inter.npy": {"dense1/weight:0": (64, 32), "dense1/bias:0": (32,)},
    "decoder_src.npy": {"out_conv/weight:0": (3, 3, 8, 12), "out_conv/bias:0": (12,)},
    "decoder_dst.npy": {"out_conv/weight:0": (3, 3, 8, 12), "out_conv/bias:0": (12,)},
}
OPTIMIZER = "src_dst_opt.npy"
OPTIONS = {
    "archi": "df-ud",
    "resolution": 64,
    "face_type": "wf",
    "ae_dims": 32,
    "e_dims": 8,
    "d_dims": 8,
    "d_mask_dims": 4,
    "pretrain": False,
    "adabelief": True,
    "gan_power": 0.0,
    "true_face_power": 0.0,
    "batch_size": 4,
    "target_iter": 0,
}


def target(part: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = sum(map(ord, part + key))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Saveable:
    """One file's tensors; the two methods have DeepFaceLab's names because the hook calls them."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.tensors: dict[str, np.ndarray] = {}
        self.loaded_sha256 = ""
        self.make_anew()

    def make_anew(self) -> None:
        rng = np.random.default_rng()
        self.tensors = {
            key: (5 * rng.normal(size=shape)).astype(np.float32) for key, shape in SHAPES[self.part].items()
        }

    def load_weights(self, path: str) -> bool:
        if not Path(path).exists():
            return False
        raw = Path(path).read_bytes()
        self.loaded_sha256 = hashlib.sha256(raw).hexdigest()
        content = pickle.loads(raw)
        for key, have in self.tensors.items():
            if key not in content:
                continue
            if content[key].size != have.size:
                self.make_anew()
                return False
            self.tensors[key] = np.reshape(content[key], have.shape).astype(np.float32)
        return True


class Model:
    def __init__(self, folder: Path, name: str, file_delay_s: float) -> None:
        self.folder = folder
        self.prefix = f"{name}_SAEHD"
        self.file_delay_s = file_delay_s
        self.rng = np.random.default_rng()
        data = pickle.loads((folder / f"{self.prefix}_data.dat").read_bytes())
        self.iter = data["iter"]
        self.options = data["options"]
        self.loss_history = data["loss_history"]
        self.preview = data["sample_for_preview"]
        self.files = [Saveable(part) for part in SHAPES]
        self.optimizer: dict[str, Any] = {"iters:0": np.int64(self.iter)}
        for saveable in self.files:
            path = self.get_strpath_storage_for_file(saveable.part)
            if not saveable.load_weights(path):
                saveable.make_anew()
        self.note_loaded = ""
        self.note_what_was_loaded()
        opt = folder / f"{self.prefix}_{OPTIMIZER}"
        if opt.exists():
            self.optimizer = pickle.loads(opt.read_bytes())

    def note_what_was_loaded(self) -> None:
        """Write down which files this trainer trains on from: what proves that it never saw a mixed set."""
        loaded = {saveable.part: saveable.loaded_sha256 for saveable in self.files}
        if json.dumps(loaded) != self.note_loaded:
            self.note_loaded = json.dumps(loaded)
            self.note("loaded", loaded)

    def note(self, what: str, hashes: dict[str, str]) -> None:
        with (self.folder.parent / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({what: hashes, "at": time.time()}) + "\n")

    def get_iter(self) -> int:
        return self.iter

    def get_model_filename_list(self) -> list[list[Any]]:
        return [[saveable, saveable.part] for saveable in self.files]

    def get_strpath_storage_for_file(self, filename: str) -> str:
        return str(self.folder / f"{self.prefix}_{filename}")

    def train_one_iteration(self) -> None:
        distance = []
        for saveable in self.files:
            for key, value in saveable.tensors.items():
                wanted = target(saveable.part, key, value.shape)
                value += 0.001 * (wanted - value) + 0.001 * self.rng.normal(size=value.shape).astype(np.float32)
                distance.append(float(np.mean((value - wanted) ** 2)))
        self.iter += 1
        self.optimizer["iters:0"] = np.int64(self.iter)
        loss = 0.1 + float(np.mean(distance)) + 0.01 * float(self.rng.normal())
        self.loss_history.append([loss, loss])

    def save(self) -> None:
        (self.folder / f"{self.prefix}_summary.txt").write_text(f"== {self.iter} ==\n", encoding="utf-8")
        contents = {saveable.part: pickle.dumps(saveable.tensors, 4) for saveable in self.files}
        self.note("saved", {part: hashlib.sha256(content).hexdigest() for part, content in contents.items()})
        for part, content in contents.items():
            self.write(part, content)
        self.write(OPTIMIZER, pickle.dumps(self.optimizer, 4))
        state = {
            "iter": self.iter,
            "options": self.options,
            "loss_history": self.loss_history,
            "sample_for_preview": self.preview,
            "choosed_gpu_indexes": None,
        }
        self.write("data.dat", pickle.dumps(state, 3))

    def write(self, part: str, content: bytes) -> None:
        path = Path(self.get_strpath_storage_for_file(part))
        beside = path.with_name(path.name + ".tmp")
        beside.write_bytes(content)
        time.sleep(self.file_delay_s)  # a real save takes 2 to 60 s, one tensor after the other
        path.unlink(missing_ok=True)
        beside.rename(path)


def write_model(folder: Path, name: str, *, seed: int = 0, iteration: int = 20_000, **options: Any) -> None:
    """Write a whole model that a stand-in trainer can start from; equal seeds give equal weights."""
    rng = np.random.default_rng(seed)
    prefix = folder / f"{name}_SAEHD"
    optimizer: dict[str, Any] = {"iters:0": np.int64(iteration)}
    Path(f"{prefix}_summary.txt").write_text("== new ==\n", encoding="utf-8")
    for part, shapes in SHAPES.items():
        tensors = {
            key: (target(part, key, shape) + 0.1 * rng.normal(size=shape)).astype(np.float32)
            for key, shape in shapes.items()
        }
        Path(f"{prefix}_{part}").write_bytes(pickle.dumps(tensors, 4))
        optimizer |= {f"ms_{part[:-4]}/{key.replace(':0', '_0')}:0": 0 * value for key, value in tensors.items()}
    Path(f"{prefix}_{OPTIMIZER}").write_bytes(pickle.dumps(optimizer, 4))
    state = {
        "iter": iteration,
        "options": OPTIONS | options,
        "loss_history": [[0.11, 0.11] for _ in range(iteration)],
        "sample_for_preview": [[np.full((4, 16, 16, 3), 0.5, np.float32)]],
        "choosed_gpu_indexes": None,
    }
    Path(f"{prefix}_data.dat").write_bytes(pickle.dumps(state, 3))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--force-model-name", required=True)
    parser.add_argument("--save-every", type=float, default=25 * 60.0)
    parser.add_argument("--file-delay", type=float, default=0.0)
    parser.add_argument("--iteration-s", type=float, default=0.01)
    parser.add_argument("--pid-file", type=Path)
    parser.add_argument("--hang-at-start", action="store_true")
    parser.add_argument("--load-s", type=float, default=0.0)
    parser.add_argument("--background", action="store_true")
    parser.add_argument("--execute-program", nargs=2, action="append", default=[])
    arguments = parser.parse_args()
    if arguments.background:
        return start_in_background(arguments.pid_file)
    stop = []

    def on_interrupt(_signal: int, _frame: FrameType | None) -> None:
        stop.append(True)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as Python itself does, and so DeepFaceLab
        signal.signal(signal.SIGINT, on_interrupt)
    if arguments.pid_file:
        beside = arguments.pid_file.with_suffix(".new")
        beside.write_text(str(os.getpid()), encoding="utf-8")
        beside.rename(arguments.pid_file)
    if arguments.hang_at_start:
        signal.pause()
    time.sleep(arguments.load_s)  # a real one takes half a minute to minutes
    try:
        model = Model(arguments.model_dir, arguments.force_model_name, arguments.file_delay)
    except Exception as error:
        sys.stderr.write(f"Error: {error}\n")
        signal.pause()  # DeepFaceLab's training thread dies and the process waits for ever
        return 1
    train(model, arguments, stop)
    if arguments.pid_file:
        arguments.pid_file.unlink(missing_ok=True)
    return 0


def start_in_background(pid_file: Path) -> int:
    """Start this program again without --background, as a service manager would, and wait until it has a pid.

    Starting what runs already does nothing, also for two that start it at once: so does `systemctl start`.
    """
    with pid_file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_alive(pid_file):
            return 0
        pid_file.unlink(missing_ok=True)
        child = subprocess.Popen(
            [sys.executable, *(word for word in sys.argv if word != "--background")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not pid_file.exists():
            if child.poll() is not None:
                return 1
            time.sleep(0.01)
    return 0


def is_alive(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text(encoding="utf-8")), 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def train(model: Model, arguments: argparse.Namespace, stop: list[bool]) -> None:
    def model_save() -> None:
        model.save()

    saved_at = time.monotonic()
    executed_at = dict.fromkeys(range(len(arguments.execute_program)), 0.0)
    while not stop:
        model.train_one_iteration()
        for index, (seconds, program) in enumerate(arguments.execute_program):
            if time.monotonic() - executed_at[index] >= -float(seconds):
                exec(program)  # noqa: S102 - as DeepFaceLab does
                executed_at[index] = time.monotonic()
                model.note_what_was_loaded()
        if time.monotonic() - saved_at >= arguments.save_every:
            model_save()
            saved_at = time.monotonic()
        time.sleep(arguments.iteration_s)
    model_save()


if __name__ == "__main__":
    sys.exit(main())
