"""`dfld average`: every format averaged by its own rules, mixtures and hostile files refused, inputs untouched."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import DfldError
from dfl.errors import FormatError
from sync.averaging.average_files import average_files
from sync.errors import AverageError, DisagreementError

PARTS = ("decoder", "encoder", "inter_AB", "inter_B")


def arrays(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Near each other, of several types."""
    generator = np.random.default_rng(seed)
    base = generator.standard_normal((40, 70))
    return [
        {
            "single": (base + 0.01 * generator.standard_normal((40, 70))).astype(np.float32),
            "double": base[:3] + 0.01 * number,
            "half": (base[5] + 0.01 * number).astype(np.float16),
            "steps": np.arange(4) + number,
        }
        for number in range(count)
    ]


def mean_of(models: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    stacked = np.stack([model[name] for model in models]).astype(np.float64)
    return stacked.mean(axis=0).astype(models[0][name].dtype)


def assert_averaged(found: dict[str, Any], models: list[dict[str, np.ndarray]]) -> None:
    assert list(found) == list(models[0])
    for name in ("single", "double", "half"):
        np.testing.assert_array_equal(np.asarray(found[name]), mean_of(models, name))
        assert np.asarray(found[name]).dtype == models[0][name].dtype
    np.testing.assert_array_equal(np.asarray(found["steps"]), models[0]["steps"])


def write_safetensors(path: Path, model: dict[str, np.ndarray], types: dict[str, str] | None = None) -> Path:
    """By the format's own description, without its library."""
    names = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "uint16": "BF16"}
    header, content = {"__metadata__": {"made by": "test"}}, b""
    for name, value in model.items():
        data = value.tobytes()
        header[name] = {
            "dtype": (types or {}).get(name, names[value.dtype.name]),
            "shape": list(value.shape),
            "data_offsets": [len(content), len(content) + len(data)],
        }
        content += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    length = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    types = {"F32": np.float32, "F64": np.float64, "F16": np.float16, "I64": np.int64, "BF16": np.uint16}
    return {
        name: np.frombuffer(content[8 + length :][slice(*facts["data_offsets"])], types[facts["dtype"]]).reshape(
            facts["shape"]
        )
        for name, facts in header.items()
    }


# -- DeepFaceLab


def test_folders_of_one_model_give_the_golden_means(shared: Path, tmp_path: Path) -> None:
    models = shared / "golden/models"
    out = tmp_path / "average"
    report = average_files([models / f"machine_{letter}" for letter in "abc"], out)
    expected = json.loads((models / "expected_mean.json").read_text())["files"]
    assert sorted(path.name for path in out.iterdir()) == [f"alice_SAEHD_{part}.npy" for part in PARTS]
    for path in out.iterdir():
        mean = pickle.loads(path.read_bytes())
        digest = hashlib.sha256(b"".join(mean[key].tobytes() for key in sorted(mean)))
        assert digest.hexdigest() == expected[path.name]["file_sha256"]
        assert report.written[path] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert 0 < report.divergence.spread_rel < 0.2
    assert report.warnings == ()


def test_the_optimizer_file_by_itself_keeps_its_own_counter(shared: Path, tmp_path: Path) -> None:
    models = shared / "golden/models"
    name = "alice_SAEHD_src_dst_opt.npy"
    average_files([models / f"machine_{letter}" / name for letter in "bc"], tmp_path / name)
    own = pickle.loads((models / "machine_b" / name).read_bytes())["iters:0"]
    assert pickle.loads((tmp_path / name).read_bytes())["iters:0"] == own


def test_a_folder_of_another_network_is_refused_by_its_options(shared: Path, tmp_path: Path) -> None:
    models = shared / "golden/models"
    inputs = [models / name for name in ("machine_a", "machine_b", "machine_mismatch")]
    with pytest.raises(DisagreementError, match=r"machine_mismatch is other than .*: ae_dims|resolution"):
        average_files(inputs, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_hostile_and_cut_files_are_refused_by_name_and_nothing_is_run(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    monkeypatch.setenv("DFLD_GOLDEN_MARKER", str(marker))
    models = shared / "golden/models"
    name = "alice_SAEHD_encoder.npy"
    for bad, words in (("hostile", "builtins.eval"), ("truncated", "cut off")):
        with pytest.raises(FormatError, match=f"^{models / bad / name} is no usable weight file: .*{words}"):
            average_files([models / "machine_a" / name, models / bad / name], tmp_path / "out.npy")
    assert list(tmp_path.iterdir()) == []


def test_folders_without_a_common_model_say_what_each_has(shared: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "bob_SAEHD_encoder.npy").write_bytes(b"")
    with pytest.raises(DisagreementError, match="bob_SAEHD"):
        average_files([shared / "golden/models/machine_a", other], tmp_path / "out")


def test_names_with_spaces_are_normal(tmp_path: Path) -> None:
    models = arrays(2)
    for number, model in enumerate(models):
        folder = tmp_path / f"gpu {number}"
        folder.mkdir()
        (folder / "my face 2_SAEHD_encoder.npy").write_bytes(pickle.dumps(model, 4))
    report = average_files([tmp_path / "gpu 0", tmp_path / "gpu 1"], tmp_path / "out")
    assert_averaged(pickle.loads((tmp_path / "out" / "my face 2_SAEHD_encoder.npy").read_bytes()), models)
    assert "not compared" in report.warnings[0]


# -- plain arrays


@pytest.mark.parametrize("fortran", [False, True])
def test_true_npy_files(tmp_path: Path, fortran: bool) -> None:
    models = arrays(3)
    for number, model in enumerate(models):
        np.save(tmp_path / f"{number}.npy", np.asfortranarray(model["single"]) if fortran else model["single"])
    average_files([tmp_path / f"{number}.npy" for number in range(3)], tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), mean_of(models, "single"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_archives(tmp_path: Path, save: Any) -> None:
    models = arrays(3)
    for number, model in enumerate(models):
        save(tmp_path / f"{number}.npz", **model)
    average_files([tmp_path / f"{number}.npz" for number in range(3)], tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert_averaged(dict(found), models)
    kinds = [
        [info.compress_type for info in zipfile.ZipFile(tmp_path / name).infolist()] for name in ("0.npz", "out.npz")
    ]
    assert kinds[0] == kinds[1]


def test_safetensors(tmp_path: Path) -> None:
    models = arrays(3)
    paths = [write_safetensors(tmp_path / f"{number}.safetensors", model) for number, model in enumerate(models)]
    average_files(paths, tmp_path / "out.safetensors")
    assert_averaged(read_safetensors(tmp_path / "out.safetensors"), models)


def test_bfloat16_is_rounded_to_the_nearest(tmp_path: Path) -> None:
    bits = [np.array([0x3F80, 0x4000, 0xBF80], np.uint16), np.array([0x3F81, 0x4000, 0xBF80], np.uint16)]
    types = {"weight": "BF16"}
    paths = [
        write_safetensors(tmp_path / f"{number}.safetensors", {"weight": value}, types)
        for number, value in enumerate(bits)
    ]
    average_files(paths, tmp_path / "out.safetensors")
    # 1 and 1.0078125: halfway between two bfloat16 numbers, so the even one
    assert read_safetensors(tmp_path / "out.safetensors")["weight"].tolist() == [0x3F80, 0x4000, 0xBF80]


def test_what_safetensors_itself_writes_is_read_and_what_is_written_it_reads(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    models = arrays(2)
    for number, model in enumerate(models):
        library.save_file(model, tmp_path / f"{number}.safetensors")
    average_files([tmp_path / "0.safetensors", tmp_path / "1.safetensors"], tmp_path / "out.safetensors")
    found = library.load_file(tmp_path / "out.safetensors")
    assert_averaged({name: found[name] for name in models[0]}, models)


def test_pytorch_state_dicts_keep_types_ties_and_everything_that_is_no_float(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    models = arrays(3)
    for number, model in enumerate(models):
        state = {name: torch.from_numpy(value) for name, value in model.items()}
        state["bfloat"] = torch.tensor([1.0, 2.0 + number], dtype=torch.bfloat16)
        state["tied"] = state["single"]
        torch.save({"model": state, "epoch": 7 + number, "sizes": [1, 2]}, tmp_path / f"{number}.pth")
    average_files([tmp_path / f"{number}.pth" for number in range(3)], tmp_path / "out.pth")
    found = torch.load(tmp_path / "out.pth", weights_only=True)
    assert found["epoch"] == 7
    assert found["sizes"] == [1, 2]
    assert found["model"]["bfloat"].tolist() == [1.0, 3.0]
    assert found["model"]["bfloat"].dtype == torch.bfloat16
    assert found["model"]["tied"].data_ptr() == found["model"]["single"].data_ptr()
    assert_averaged({name: found["model"][name].numpy() for name in models[0]}, models)


def test_a_pytorch_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class Runs:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (tmp_path / "marker",)

    torch.save({"weight": torch.ones(3)}, tmp_path / "good.pt")
    torch.save({"weight": Runs()}, tmp_path / "bad.pt")
    with pytest.raises(FormatError, match=r"bad\.pt is no PyTorch file of plain tensors"):
        average_files([tmp_path / "good.pt", tmp_path / "bad.pt"], tmp_path / "out.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pt", "good.pt"]


# -- rules, shares, refusals


def test_shares_in_any_scale_weigh_the_inputs(tmp_path: Path) -> None:
    for number, value in enumerate([1.0, 3.0]):
        np.save(tmp_path / f"{number}.npy", np.full(5, value, np.float32))
    report = average_files([tmp_path / "0.npy", tmp_path / "1.npy"], tmp_path / "out.npy", machine_weights=[3, 1])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.full(5, 1.5))
    assert list(report.machine_weights.values()) == [0.75, 0.25]


def test_the_median_and_the_trimmed_mean(tmp_path: Path) -> None:
    paths = []
    for number, value in enumerate([1.0, 2.0, 3.0, 4.0, 100.0]):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], np.full(5, value, np.float32))
    average_files(paths, tmp_path / "median.npy", rule="median")
    assert np.load(tmp_path / "median.npy")[0] == 3.0
    average_files(paths, tmp_path / "trimmed.npy", rule="trimmed")
    assert np.load(tmp_path / "trimmed.npy")[0] == 3.0
    with pytest.raises(DisagreementError, match="at least 5"):
        average_files(paths[:4], tmp_path / "out.npy", rule="trimmed")


def test_inputs_that_are_far_apart_are_averaged_with_a_warning(tmp_path: Path) -> None:
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", np.random.default_rng(number).standard_normal(500))
    report = average_files([tmp_path / "0.npy", tmp_path / "1.npy"], tmp_path / "out.npy")
    assert "apart" in report.warnings[0]


def save_npy(path: Path, value: np.ndarray) -> Path:
    np.save(path, value, allow_pickle=True)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: save_npy(path, np.ones(4, np.float32)), "has shape"),
        (lambda path: save_npy(path, np.ones(5)), "has type"),
        (lambda path: save_npy(path, np.array([None] * 5)), "elements of type object"),
        (lambda path: save_npy(path, np.ones(5, ">f4")), "little-endian"),
        (lambda path: save_npy(path, np.array([1, 2, np.nan, 4, 5], np.float32)), "1 weights are NaN"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00 not a header  "), "header"),
        (lambda path: path.write_bytes(save_npy(path, np.ones(5, np.float32)).read_bytes()[:-3]), "17 bytes"),
        (lambda path: path.write_bytes(b"plain text"), "no file of tensors"),
        (lambda path: path.write_bytes(b""), "no file of tensors"),
        (lambda path: path.write_bytes(pickle.dumps({"array": np.ones(5, np.float32)}, 4)), "different formats"),
        (lambda path: path.mkdir(), "is a folder, and"),
        (lambda path: path.unlink(missing_ok=True), "not there"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_and_the_output_stays(tmp_path: Path, make: Any, words: str) -> None:
    good, bad, out = tmp_path / "good.npy", tmp_path / "bad.npy", tmp_path / "out.npy"
    np.save(good, np.ones(5, np.float32))
    make(bad)
    out.write_bytes(b"old")
    for order in ([good, bad], [bad, good]):
        with pytest.raises(DfldError, match=r"bad\.npy|different formats|header|has (shape|type)") as caught:
            average_files(order, out)
        if order[0] == good:
            assert words in caught.value.message
    assert out.read_bytes() == b"old"
    assert not list(tmp_path.glob(".dfld-*"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda header: header["weight"].update(data_offsets=[0, 16]),
        lambda header: header["weight"].update(data_offsets=[4, 24]),
        lambda header: header["weight"].update(data_offsets=[0, 10**30]),
        lambda header: header["weight"].update(data_offsets=[-20, 0]),
        lambda header: header["weight"].update(data_offsets=[0, 20.0]),
        lambda header: header["weight"].update(shape=[6]),
        lambda header: header["weight"].update(shape=[-5]),
        lambda header: header["weight"].update(shape="5"),
        lambda header: header["weight"].update(dtype="F8_E4M3"),
        lambda header: header.update(second=header["weight"]),
        lambda header: header.update(second=7),
        lambda header: header.pop("weight"),
    ],
)
def test_safetensors_headers_that_lie_are_refused(tmp_path: Path, damage: Any) -> None:
    good = write_safetensors(tmp_path / "good.safetensors", {"weight": np.ones(5, np.float32)})
    header = {"weight": {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]}}
    damage(header)
    text = json.dumps(header).encode()
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(struct.pack("<Q", len(text)) + text + bytes(20))
    with pytest.raises(FormatError):
        average_files([bad, good], tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"{{",
        struct.pack("<Q", 40_000) + b"{" + b'"a":{' * 7999 + b"    ",
        struct.pack("<Q", 15) + b'{"a":1,"a":2}  ',
    ],
)
def test_safetensors_files_that_are_none_are_refused(tmp_path: Path, content: bytes) -> None:
    good = write_safetensors(tmp_path / "good.safetensors", {"weight": np.ones(5, np.float32)})
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(content)
    with pytest.raises(FormatError, match=r"bad\.safetensors"):
        average_files([good, bad], tmp_path / "out.safetensors")


def test_a_small_archive_that_claims_a_huge_array_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    np.savez(good, weight=np.ones(5, np.float32))
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("weight.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(FormatError, match="has 128 bytes for shape"):
        average_files([good, bad], tmp_path / "out.npz")


def test_archives_of_other_names_or_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", weight=np.ones(5, np.float32))
    np.savez(tmp_path / "names.npz", other=np.ones(5, np.float32))
    np.savez(tmp_path / "objects.npz", weight=np.array([None]), allow_pickle=True)
    with pytest.raises(DisagreementError, match="different arrays"):
        average_files([tmp_path / "good.npz", tmp_path / "names.npz"], tmp_path / "out.npz")
    with zipfile.ZipFile(tmp_path / "objects.npz", "a") as archive:
        names = archive.namelist()
    assert "weight.npy" in names
    with pytest.raises(DfldError, match="type object|different arrays"):
        average_files([tmp_path / "good.npz", tmp_path / "objects.npz"], tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_an_input_is_never_the_output(tmp_path: Path) -> None:
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.ones(3))
    with pytest.raises(DisagreementError, match="is an input"):
        average_files([tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path / "." / "a.npy")


def test_wrong_numbers_of_inputs_and_shares_are_refused(tmp_path: Path) -> None:
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.ones(3))
    paths, out = [tmp_path / f"{name}.npy" for name in "abc"], tmp_path / "out.npy"
    for too_few, why in ((paths[:1], "two or more"), ([paths[0], paths[0]], "named twice")):
        with pytest.raises(DisagreementError, match=why):
            average_files(too_few, out)
    with pytest.raises(DisagreementError, match="2 shares for 3 inputs"):
        average_files(paths, out, machine_weights=[1, 2])
    with pytest.raises(DisagreementError, match="no parts of a whole"):
        average_files(paths, out, machine_weights=[1, -1, 1])
    with pytest.raises(DisagreementError, match="counts every input alike"):
        average_files(paths, out, machine_weights=[1, 2, 3], rule="median")
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.ones(3))
    with pytest.raises(AverageError, match="nothing can be written"):
        average_files([tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path / "missing" / "out.npy")
