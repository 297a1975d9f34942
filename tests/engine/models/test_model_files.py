from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.models.model_files import describe_model_file, hash_of_model_file


def test_a_model_file_is_described_by_name_hash_and_licence(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    path.write_bytes(b"weights")
    found = describe_model_file(path, task="recognition", licence="any use")
    assert (found.task, found.name, found.licence) == ("recognition", "w.onnx", "any use")
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_a_file_that_changed_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    path.write_bytes(b"first")
    first = hash_of_model_file(path)
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))
    assert hash_of_model_file(path) == hashlib.sha256(b"other").hexdigest() != first


@pytest.mark.parametrize("kind", ["missing", "folder", "empty"])
def test_what_is_no_model_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "w.onnx"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    with pytest.raises(ModelError, match=r"w\.onnx"):
        hash_of_model_file(path)
