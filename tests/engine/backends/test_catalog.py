from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.backends.catalog import BACKENDS, describe_backends, open_backend
from engine.errors import ModelError, SettingsError

ROOT = Path(__file__).parents[3]


def test_an_unknown_backend_lists_the_known_ones_closest_first() -> None:
    with pytest.raises(SettingsError, match="expected one of insightface, ") as caught:
        open_backend("insigtface")
    assert all(name in caught.value.message for name in BACKENDS)
    assert caught.value.hint == "did you mean insightface?"


def test_backends_are_described_with_the_reason_why_one_cannot_be_opened(tmp_path: Path) -> None:
    lines = {line.name: line for line in describe_backends(model_root=tmp_path)}
    assert tuple(lines) == BACKENDS
    assert not lines["insightface"].available
    assert str(tmp_path) in lines["insightface"].problem
    assert "--backend dlib" in lines["insightface"].hint
    for name in ("dlib", "opencv_cascade"):
        info = lines[name].info
        assert info is not None
        assert info.default_threshold == 0.4
        assert all(model.licence for model in info.models)


def test_describing_downloads_nothing(tmp_path: Path) -> None:
    describe_backends(["insightface"], model_root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_described_pack_shows_its_models(make_pack: Callable[..., Path]) -> None:
    folder = make_pack("faces")
    (line,) = describe_backends(["insightface"], model_root=folder.parent, model_pack="faces", device="cpu")
    assert line.info is not None
    assert line.info.models[0].name == "det.onnx"


@pytest.mark.parametrize("name", ["dlib", "opencv_cascade"])
def test_a_gpu_that_a_backend_cannot_use_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="the GPU was asked for"):
        open_backend(name, device="cuda")


def test_dlib_detects_with_hog_alone() -> None:
    """No configuration reached another detector."""
    assert open_backend("dlib").info.models[0].name == "dlib frontal HOG"
    assert "dlib_detector" not in inspect.signature(open_backend).parameters


def test_without_dlib_the_error_names_the_extra() -> None:
    script = (
        "import sys; sys.modules['dlib'] = None\n"
        "from engine.backends.catalog import open_backend\n"
        "from engine.errors import ModelError\n"
        "try:\n    open_backend('dlib')\n"
        "except ModelError as problem:\n    print(problem.hint)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip install 'dfld[embedded]'" in done.stdout


def test_the_models_package_is_never_imported_and_naming_backends_loads_no_library() -> None:
    script = (
        "import sys\nimport engine.backends.catalog as catalog\n"
        "assert not {'cv2', 'onnxruntime', 'insightface', 'dlib'} & set(sys.modules), 'a heavy import'\n"
        "catalog.open_backend('opencv_cascade')\n"
        "assert 'face_recognition_models' not in sys.modules\n"
        "assert 'pkg_resources' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_an_idle_gpu_is_told_of_whether_or_not_the_pack_is_there(
    make_pack: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        (line,) = describe_backends(["insightface"], model_root=tmp_path)
        assert "NVIDIA" not in line.problem
        return
    device = tmp_path / "nvidia0"
    device.touch()
    monkeypatch.setattr("engine.models.accelerators.NVIDIA_DEVICE", device)
    (missing,) = describe_backends(["insightface"], model_root=tmp_path / "nowhere")
    assert "has an NVIDIA GPU" in missing.problem
    assert "make install-gpu" in missing.hint
    folder = make_pack("buffalo_l")
    (folder / "recogniser.onnx").rename(folder / "w600k_r50.onnx")
    (opened,) = describe_backends(["insightface"], model_root=folder.parent)
    assert opened.info is not None
    assert any("has an NVIDIA GPU" in warning for warning in opened.info.warnings)
    (on_purpose,) = describe_backends(["insightface"], model_root=folder.parent, device="cpu")
    assert on_purpose.info is not None
    assert on_purpose.info.warnings == ()
