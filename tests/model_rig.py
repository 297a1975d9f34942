"""Small SAEHD models, made and not trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dfl.model_files import ModelName
from trainer.model_folder.data_file import DataFile
from trainer.model_folder.model import Model, expected_tensors, save_model

ALICE = ModelName("alice", "SAEHD")
OPTIONS: dict[str, Any] = {
    "resolution": np.int64(64), "face_type": "wf", "models_opt_on_gpu": True, "archi": "df-ud", "ae_dims": np.int64(3),
    "e_dims": np.int64(2), "d_dims": np.int64(2), "d_mask_dims": np.int64(1), "masked_training": True,
    "eyes_mouth_prio": False, "uniform_yaw": False, "blur_out_mask": False, "adabelief": True, "lr_dropout": "n",
    "random_warp": True, "random_hsv_power": 0.0, "true_face_power": 0.0, "face_style_power": 0.0,
    "bg_style_power": 0.0, "ct_mode": "none", "clipgrad": False, "pretrain": False, "autobackup_hour": 0,
    "write_preview_history": False, "target_iter": 0, "random_src_flip": False, "random_dst_flip": True,
    "batch_size": 4, "gan_power": 0.0, "gan_patch_size": 8, "gan_dims": 4,
}  # fmt: skip


def made_model(name: ModelName = ALICE, *, seed: int = 0, iteration: int = 10, **options: Any) -> Model:
    """A model with random weights and moments."""
    random = np.random.default_rng(seed)
    stored = {**OPTIONS, **options}
    chosen = {key: value.item() if isinstance(value, np.generic) else value for key, value in stored.items()}
    shapes = dict(expected_tensors(name, chosen))
    tensors = {
        part: {
            key: np.array(iteration, np.int64) if key == "iters:0" else random.random(shape, np.float32)
            for key, shape in keys.items()
        }
        for part, keys in shapes.items()
    }
    losses = [[float(one) for one in random.random(2, np.float32)] for _ in range(iteration)]
    samples = [[random.random((1, 4, 4, 3), np.float32)] * 2 for _ in range(2)]
    content = {
        "iter": iteration, "options": stored, "loss_history": losses, "sample_for_preview": samples,
        "choosed_gpu_indexes": None,
    }  # fmt: skip
    return Model(name, DataFile(content), tensors)


def saved_model(folder: Path, name: ModelName = ALICE, **given: Any) -> Model:
    """The same, saved in a folder."""
    folder.mkdir(exist_ok=True)
    model = made_model(name, **given)
    save_model(folder, model, device="CPU")
    return model


def contents(folder: Path, name: ModelName = ALICE) -> dict[str, bytes]:
    """The files of a model by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob(f"{name.prefix}_*.*"))}
