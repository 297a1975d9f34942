"""A trainer that saves again and again is killed at random steps: the model is whole, and at most one save is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.model_rig import ALICE, saved_model
from trainer.model_folder.examination import examine
from trainer.model_folder.generations import generations, recover, require_intact
from trainer.model_folder.lock import sole_trainer
from trainer.model_folder.model import read_model

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("DFLD_MODEL_KILLS", "6"))
TRAIN = """
import os, signal, sys
from pathlib import Path
import numpy as np
from tests.core.steps import at_step
from tests.model_rig import ALICE
from trainer.model_folder.generations import recover
from trainer.model_folder.lock import sole_trainer
from trainer.model_folder.model import Model, read_model, save_model

steps = ("open", "pwrite", "fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "utime", "ftruncate")
folder = Path(sys.argv[1])
at_step(int(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL), steps)
with sole_trainer(folder, ALICE):
    recover(folder, ALICE)
    model = read_model(folder, ALICE)
    while True:
        iteration = model.data.iteration + 1
        tensors = {
            part: {key: np.full_like(values, iteration) for key, values in one.items()}
            for part, one in model.tensors.items()
        }
        model = Model(ALICE, model.data.changed(iteration=iteration, losses=[[iteration, 0]]), tensors)
        save_model(folder, model, device="CPU")
        print(iteration, flush=True)
"""
STEPS_OF_FOUR_SAVES = 1200


def test_a_trainer_killed_at_a_random_step_loses_at_most_one_save(tmp_path: Path) -> None:
    saved_model(tmp_path, gan_power=0.1)
    chosen = random.Random(11)
    before = 10
    for _ in range(KILLS):
        command = [sys.executable, "-c", TRAIN, str(tmp_path), str(chosen.randrange(1, STEPS_OF_FOUR_SAVES))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == -9, done.stderr
        saved = int(done.stdout.split()[-1]) if done.stdout else before
        with sole_trainer(tmp_path, ALICE):
            recover(tmp_path, ALICE)
            model = read_model(tmp_path, ALICE)
        assert model.data.iteration in (saved, saved + 1)
        assert model.data.losses_recorded == model.data.iteration
        if model.data.iteration > 10:
            numbers = {float(one) for part in model.tensors.values() for v in part.values() for one in np.unique(v)}
            assert numbers == {model.data.iteration}
        assert examine(tmp_path, ALICE).problems == ()
        for one in generations(tmp_path, ALICE):
            require_intact(one)
        before = model.data.iteration
    assert before > 10
