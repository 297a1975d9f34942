"""InsightFace model packs on disk: where they lie, how they get there, which file does what, what is allowed.

A pack is a folder of ONNX files. It is looked for as ROOT/PACK, as ROOT/models/PACK (insightface's own layout), and
as ROOT itself when that folder is called PACK. Files are distinguished by the shapes of their graphs, as insightface
does, so a pack may name its files as it likes. Running the models is not done here.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from core.files import put_folder_in_place
from engine.errors import ModelError
from engine.models.model_files import LICENCE_UNKNOWN, require_model_file

DEFAULT_ROOT = Path("~/.insightface")
OFFLINE_HINT = "or work without it: `--backend dlib` needs no download"
LICENCE_NON_COMMERCIAL = "non-commercial research only"

# Packs that insightface offers for download, with what their makers allow.
DOWNLOADABLE = MappingProxyType(
    {
        "buffalo_l": LICENCE_NON_COMMERCIAL,
        "buffalo_m": LICENCE_NON_COMMERCIAL,
        "buffalo_s": LICENCE_NON_COMMERCIAL,
        "buffalo_sc": LICENCE_NON_COMMERCIAL,
        "antelopev2": LICENCE_NON_COMMERCIAL,
    }
)
# Long enough for a slow line to answer, short enough that an offline machine says so.
CONNECT_TIMEOUT_S = 10.0

# insightface's rule for its 68-point model: 1103 points of three coordinates, the last 68 of which count.
LANDMARKS_68_OUTPUTS = 3309
# insightface's rules too: models are distinguished by the sides of their inputs; smaller ones than the recognisers' are
# for age and gender.
LANDMARKS_INPUT_PX = 192
RECOGNITION_INPUT_PX = 112
# Detectors answer with scores and boxes (and points) for three or five strides.
DETECTOR_OUTPUTS = 5


@dataclass(frozen=True)
class Pack:
    """The files of one pack that dfld runs."""

    name: str
    folder: Path
    detection: Path
    recognition: Path
    landmarks_68: Path | None
    licence: str


def open_pack(root: Path | None, name: str, *, allow_download: bool = True) -> Pack:
    """Find the pack `name` under `root` (None = ~/.insightface), fetch it when it is missing, and sort its files.

    Raise ModelError when it is missing and cannot be fetched, or a file is damaged or absent.
    """
    try:
        base = (root or DEFAULT_ROOT).expanduser()
        folder = find_pack(base, name)
    except (OSError, RuntimeError) as problem:  # RuntimeError: a service account without a home
        raise ModelError(
            f"model pack {name} cannot be looked for in {root or DEFAULT_ROOT}: {problem}",
            hint="name a readable folder with `--model-root`",
        ) from problem
    if folder is None:
        folder = _fetch_pack(base, name, allow_download=allow_download)
    files = sort_model_files(folder)
    for task in ("detection", "recognition"):
        if task not in files:
            raise ModelError(
                f"model pack {name} in {folder} has no {task} model among {_names(folder)}", hint=_hint(base, name)
            )
    return Pack(name, folder, files["detection"], files["recognition"], files.get("landmarks_68"), licence_of(folder))


def pack_places(root: Path, name: str) -> tuple[Path, ...]:
    """Return the folders in which the pack `name` is looked for."""
    return (root / name, root / "models" / name, *((root,) if root.name == name else ()))


def find_pack(root: Path, name: str) -> Path | None:
    """Return the folder of the pack `name` under `root`, or None when there is none.

    antelopev2's archive holds a folder of its own name: an ONNX file one level deeper counts too.
    """
    for place in pack_places(root, name):
        for folder in (place, place / name):
            if folder.is_dir() and any(folder.glob("*.onnx")):
                return folder
    return None


def licence_of(folder: Path) -> str:
    """Return what a pack's makers allow: a signed MODEL.LICENSE in it, else the known packs' terms, else unknown."""
    from insightface.model_zoo.model_license import LICENSE_FILENAME, inspect_model_package_license

    known = DOWNLOADABLE.get(folder.name, LICENCE_UNKNOWN)
    if not (folder / LICENSE_FILENAME).is_file():
        return known
    found = inspect_model_package_license(folder)
    if found.license is None:
        return f"{LICENSE_FILENAME} is not valid ({found.message}); take it as {LICENCE_NON_COMMERCIAL}"
    return "commercial use, signed licence" if found.license.commercial_use_permitted else LICENCE_NON_COMMERCIAL


def sort_model_files(folder: Path) -> dict[str, Path]:
    """Given a pack's folder, return the first file for each task that dfld runs, by the shape of its graph.

    Raise ModelError, naming the file, for one that is empty or not an ONNX graph.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.glob("*.onnx")):
        task = _task_of(path)
        if task:
            files.setdefault(task, path)
    return files


def _task_of(path: Path) -> str:
    """Say what a model is for; "" for one that dfld does not run (106 points, age and gender …)."""
    import onnx
    from google.protobuf.message import DecodeError

    require_model_file(path)
    try:
        graph = onnx.load_model(str(path), load_external_data=False).graph
    except (DecodeError, OSError, ValueError) as problem:
        raise ModelError(
            f"model file {path} is not a readable ONNX file: {problem}", hint="delete it and fetch it again"
        ) from problem
    if not graph.input or not graph.output:
        raise ModelError(f"model file {path} is not an ONNX graph with inputs and outputs", hint="fetch it again")
    if len(graph.output) >= DETECTOR_OUTPUTS:
        return "detection"
    shape = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    if len(graph.input) != 1 or len(shape) != 4 or shape[2] != shape[3]:
        return ""
    if shape[2] == LANDMARKS_INPUT_PX:
        outputs = [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim]
        return "landmarks_68" if LANDMARKS_68_OUTPUTS in outputs else ""
    return "recognition" if shape[2] >= RECOGNITION_INPUT_PX and shape[2] % 16 == 0 else ""


def _fetch_pack(root: Path, name: str, *, allow_download: bool) -> Path:
    """Let insightface download the pack into ROOT/models/NAME, whole or not at all. Raise ModelError when it fails."""
    from insightface.utils.storage import ensure_available

    looked = " and ".join(str(place) for place in pack_places(root, name))
    missing = f"model pack {name} is not in {looked}"
    if name not in DOWNLOADABLE:
        raise ModelError(
            f"{missing}; insightface does not offer it for download (it offers {', '.join(DOWNLOADABLE)})",
            hint=_hint(root, name),
        )
    if not allow_download:
        raise ModelError(f"{missing}; it would be downloaded on first use", hint=_hint(root, name))
    target = root / "models" / name
    if target.exists() and any(target.iterdir()):
        raise ModelError(f"{target} exists, but holds no ONNX file; it is left as it is", hint=_hint(root, name))
    try:
        _ask_for_archive(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Fetched beside its place and renamed: an interrupted download never looks like a pack.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as work, quiet():
            fetched = Path(ensure_available("models", name, root=work))
            put_folder_in_place(fetched, target)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as problem:
        raise ModelError(
            f"{missing}, and it could not be downloaded: {_plainly(problem)}", hint=_hint(root, name)
        ) from problem
    folder = find_pack(root, name)
    if folder is None:
        raise ModelError(f"the download of model pack {name} holds no ONNX file", hint=_hint(root, name))
    return folder


def _ask_for_archive(name: str) -> None:
    """Ask whether the archive can be had; insightface's own download has no time limit and would wait for ever."""
    import requests
    from insightface.utils.storage import model_zoo_download_url

    answer = requests.head(model_zoo_download_url(f"{name}.zip"), timeout=CONNECT_TIMEOUT_S, allow_redirects=True)
    answer.raise_for_status()


def _plainly(problem: Exception) -> str:
    """Say in few words what stopped a download; urllib3 says it in two hundred."""
    import requests

    if isinstance(problem, (requests.ConnectionError, requests.Timeout)):
        host = urlsplit(getattr(problem.request, "url", None) or "").hostname or "the download site"
        return f"{host} cannot be reached"
    return str(problem)


def _hint(root: Path, name: str) -> str:
    """Say how to put a pack in place by hand, and how to work without one."""
    from insightface.utils.storage import model_zoo_download_url

    if any(root.glob("*.onnx")):
        return f"{root} itself holds ONNX files: to use them give `--model-pack {root.name}`; {OFFLINE_HINT}"
    if name in DOWNLOADABLE:
        url = model_zoo_download_url(f"{name}.zip")
        by_hand = f"fetch {url} and unpack its .onnx files into {root / 'models' / name}/"
    else:
        by_hand = f"put the pack's .onnx files (detector and recogniser) into {root / 'models' / name}/"
    return f"{by_hand}; {OFFLINE_HINT}"


def _names(folder: Path) -> str:
    return ", ".join(path.name for path in sorted(folder.glob("*.onnx"))) or "no ONNX file"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep insightface's own prints and progress bars off stdout and stderr while the block runs."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
