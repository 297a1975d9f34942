from __future__ import annotations

import io
import pickle
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import OutputError, ReferencePhotoError
from engine.identity.identity_file import load_identity, save_identity
from engine.types import Identity


@pytest.fixture
def identity() -> Identity:
    embeddings = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    return Identity(
        "Ålice 李",
        "dlib",
        "resnet",
        "one_minus_distance",
        embeddings,
        embeddings.mean(0),
        ("a.jpg", "b ü.png", "x/c.jpg"),
    )


def rewrite(path: Path, **changes: Any) -> None:
    """Change fields of a saved identity; None takes one away."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def test_what_is_saved_is_what_is_loaded(identity: Identity, tmp_path: Path) -> None:
    path = tmp_path / "alice.npz"
    save_identity(identity, path)
    loaded = load_identity(path)
    assert (loaded.name, loaded.backend, loaded.model, loaded.metric, loaded.photos) == (
        identity.name,
        identity.backend,
        identity.model,
        identity.metric,
        identity.photos,
    )
    np.testing.assert_array_equal(loaded.embeddings, identity.embeddings)
    np.testing.assert_array_equal(loaded.mean, identity.mean)


def test_the_file_is_not_for_everyone_and_nothing_else_is_left(identity: Identity, tmp_path: Path) -> None:
    save_identity(identity, tmp_path / "alice.npz")
    assert stat.S_IMODE((tmp_path / "alice.npz").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["alice.npz"]


def test_saving_replaces_the_old_file(identity: Identity, tmp_path: Path) -> None:
    path = tmp_path / "alice.npz"
    path.write_bytes(b"old")
    save_identity(identity, path)
    assert load_identity(path).name == identity.name


def test_saving_where_it_cannot_be_written_is_told(identity: Identity, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        save_identity(identity, tmp_path / "missing" / "alice.npz")


def test_a_pickle_in_the_archive_is_refused_and_never_run(identity: Identity, tmp_path: Path) -> None:
    path, proof = tmp_path / "alice.npz", tmp_path / "it_ran"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (proof,)

    save_identity(identity, path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    with zipfile.ZipFile(path, "w") as changed:
        for name, value in arrays.items():
            member = io.BytesIO()
            if name == "name":
                member.write(header.getvalue() + pickle.dumps(Attack()))
            else:
                np.save(member, value)
            changed.writestr(f"{name}.npy", member.getvalue())
    with pytest.raises(ReferencePhotoError, match="is not an identity file"):
        load_identity(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": np.array(2)}, "format"),
        ({"mean": None}, "does not hold exactly"),
        ({"extra": np.zeros(3)}, "does not hold exactly"),
        ({"metric": np.array("euclid")}, "metric is 'euclid'"),
        ({"name": np.array("x" * 300)}, "name is not a text"),
        ({"name": np.array(5)}, "name is not a text"),
        ({"photos": np.array(["a.jpg"])}, "photo names"),
        ({"photos": np.zeros(3)}, "photos is not a list"),
        ({"embeddings": np.zeros((3, 8))}, "expected float32"),
        ({"embeddings": np.full((3, 8), np.nan, dtype=np.float32)}, "not finite"),
        ({"mean": np.zeros(9, dtype=np.float32)}, "shape"),
        ({"embeddings": np.zeros((20_000, 1024), dtype=np.float32)}, "unpacks to"),
    ],
)
def test_an_archive_that_is_not_an_identity_is_refused_by_what_is_wrong(
    identity: Identity, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "alice.npz"
    save_identity(identity, path)
    rewrite(path, **changes)
    with pytest.raises(ReferencePhotoError, match=complaint):
        load_identity(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04N.", b"\x93NUMPY\x01\x00"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "alice.npz"
    path.write_bytes(content)
    with pytest.raises(ReferencePhotoError, match="is not an identity file"):
        load_identity(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReferencePhotoError, match="cannot be read"):
        load_identity(tmp_path / "nobody.npz")


def test_a_truncated_file_is_refused(identity: Identity, tmp_path: Path) -> None:
    path = tmp_path / "alice.npz"
    save_identity(identity, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ReferencePhotoError):
            load_identity(path)
