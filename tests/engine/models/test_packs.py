from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from insightface.utils import storage

from engine.errors import ModelError
from engine.models.packs import open_pack

MakePack = Callable[..., Path]


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def archive_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder served over HTTP in place of insightface's download site."""
    site = tmp_path / "site"
    site.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(site))) as server:
        monkeypatch.setattr(storage, "MODEL_ZOO_RELEASE_DOWNLOAD_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield site
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("layout", ["", "models"])
def test_a_pack_is_found_right_under_the_root_and_in_insightfaces_own_layout(
    make_pack: MakePack, tmp_path: Path, layout: str
) -> None:
    folder = make_pack("faces", root=tmp_path / layout)
    assert open_pack(tmp_path, "faces").folder == folder


def test_a_root_that_is_the_pack_itself_is_taken(make_pack: MakePack) -> None:
    folder = make_pack("faces")
    assert open_pack(folder, "faces").folder == folder


def test_an_archive_that_held_a_folder_of_its_own_name_is_found(make_pack: MakePack, tmp_path: Path) -> None:
    folder = make_pack("faces", root=tmp_path / "models" / "faces")
    assert open_pack(tmp_path, "faces").folder == folder


def test_files_are_told_apart_by_their_graphs_not_their_names(make_pack: MakePack) -> None:
    folder = make_pack("faces", landmarks="ring")
    pack = open_pack(folder.parent, "faces")
    assert pack.detection.name == "det.onnx"
    assert pack.recognition.name == "recogniser.onnx"
    assert pack.landmarks_68 is not None
    assert pack.landmarks_68.name == "1k3d68.onnx"


def test_a_missing_pack_of_your_own_names_the_folders_looked_in_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        open_pack(tmp_path, "faces")
    assert str(tmp_path / "faces") in caught.value.message
    assert str(tmp_path / "models" / "faces") in caught.value.message
    assert "buffalo_l" in caught.value.message
    assert "--backend dlib" in caught.value.hint


def test_a_root_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be looked for") as caught:
        open_pack(tmp_path, "x" * 300)
    assert "--model-root" in caught.value.hint


def test_naming_the_pack_folder_as_the_root_is_explained(make_pack: MakePack) -> None:
    folder = make_pack("faces")
    with pytest.raises(ModelError) as caught:
        open_pack(folder, "buffalo_l", allow_download=False)
    assert "--model-pack faces" in caught.value.hint


def test_a_pack_without_a_recogniser_is_refused_by_name(make_pack: MakePack) -> None:
    folder = make_pack("faces")
    (folder / "recogniser.onnx").unlink()
    with pytest.raises(ModelError, match=r"has no recognition model among det\.onnx"):
        open_pack(folder.parent, "faces")


def test_offline_the_error_says_where_to_put_the_files_and_how_to_work_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelError, match="could not be downloaded: github.com cannot be reached") as caught:
        open_pack(tmp_path, "buffalo_l")
    assert str(tmp_path / "models" / "buffalo_l") in caught.value.hint
    assert "buffalo_l.zip" in caught.value.hint
    assert "--backend dlib" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_known_pack_is_downloaded_once_and_quietly(
    make_pack: MakePack, archive_site: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_pack("made")
    with zipfile.ZipFile(archive_site / "buffalo_s.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    root = tmp_path / "root"
    pack = open_pack(root, "buffalo_s")
    assert pack.folder == root / "models" / "buffalo_s"
    assert pack.licence == "non-commercial research only"
    assert [path.name for path in (root / "models").iterdir()] == ["buffalo_s"]
    (archive_site / "buffalo_s.zip").unlink()
    assert open_pack(root, "buffalo_s") == pack
    assert capfd.readouterr() == ("", "")


def test_a_download_that_breaks_off_leaves_nothing_that_looks_like_a_pack(
    make_pack: MakePack, archive_site: Path, tmp_path: Path
) -> None:
    folder = make_pack("made")
    with zipfile.ZipFile(archive_site / "buffalo_s.zip", "w") as archive:
        archive.write(folder / "det.onnx", "det.onnx")
    whole = (archive_site / "buffalo_s.zip").read_bytes()
    (archive_site / "buffalo_s.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="could not be downloaded"):
        open_pack(tmp_path / "root", "buffalo_s")
    assert list((tmp_path / "root" / "models").iterdir()) == []


def test_a_folder_with_someones_other_files_is_never_replaced(archive_site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "buffalo_s"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds no ONNX file; it is left as it is"):
        open_pack(tmp_path, "buffalo_s")
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_signed_licence_that_does_not_hold_is_not_believed(make_pack: MakePack) -> None:
    folder = make_pack("faces")
    (folder / "MODEL.LICENSE").write_text('{"grant": "commercial"}')
    licence = open_pack(folder.parent, "faces").licence
    assert "not valid" in licence
    assert "non-commercial" in licence
