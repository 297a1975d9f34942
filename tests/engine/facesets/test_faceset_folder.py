from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import FacesetError, PackedFacesetError
from engine.facesets.faceset_folder import faceset_folders, faceset_of
from tests.faceset_rig import face_jpeg


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for role in ("src", "dst"):
        (tmp_path / "workspace" / f"data_{role}" / "aligned").mkdir(parents=True)
    return tmp_path / "workspace"


def test_a_workspace_means_both_its_facesets_in_the_order_src_dst(workspace: Path) -> None:
    src, dst = faceset_folders(workspace)
    assert (src.role, dst.role, src.kind) == ("src", "dst", "workspace")
    assert src.aligned == workspace / "data_src" / "aligned"
    assert src.sentence == f"{workspace} is the workspace: faces of data_src/aligned"


def test_a_workspace_without_one_of_them_means_the_other(workspace: Path) -> None:
    (workspace / "data_dst" / "aligned").rmdir()
    assert [one.role for one in faceset_folders(workspace)] == ["src"]


def test_the_faceset_of_a_role_is_that_of_the_workspace_and_never_the_other_one(workspace: Path) -> None:
    assert faceset_of(workspace, "src").aligned == workspace / "data_src" / "aligned"
    assert faceset_of(workspace, "dst").aligned == workspace / "data_dst" / "aligned"
    assert faceset_of(workspace / "data_src", "dst").role == "src", "who names a folder means it"
    (workspace / "data_src" / "aligned" / "faceset.pak").write_bytes(b"")
    assert faceset_of(workspace, "dst").role == "dst", "the other one may be packed"
    with pytest.raises(PackedFacesetError):
        faceset_of(workspace, "src")
    (workspace / "data_dst" / "aligned").rmdir()
    with pytest.raises(FacesetError, match="without data_dst/aligned"):
        faceset_of(workspace, "dst")


@pytest.mark.parametrize("below", ["data_dst", "data_dst/aligned"])
def test_a_part_of_a_workspace_means_that_part(workspace: Path, below: str) -> None:
    (one,) = faceset_folders(workspace / below)
    assert (one.role, one.aligned) == ("dst", workspace / "data_dst" / "aligned")
    assert (one.aside, one.state) == (workspace / "data_dst" / "aside", workspace / "data_dst" / ".dfld")


def test_a_relative_path_means_what_it_leads_to(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace / "data_src" / "aligned")
    for text in (".", "..", "../aligned", "../../data_src/"):
        (one,) = faceset_folders(Path(text))
        assert (one.role, one.aligned) == ("src", workspace / "data_src" / "aligned")


def test_the_output_of_an_extraction_has_no_role(tmp_path: Path) -> None:
    (tmp_path / "out" / "aligned").mkdir(parents=True)
    (one,) = faceset_folders(tmp_path / "out")
    assert (one.kind, one.role, one.aligned) == ("output", None, tmp_path / "out" / "aligned")


def test_facesets_beside_one_another_share_nothing(tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(face_jpeg(1))
    (alice,), (bob,) = (faceset_folders(tmp_path / name) for name in ("alice", "bob"))
    assert alice.kind == "aligned"
    own = [{*one.face_folders, one.masks, one.state} for one in (alice, bob)]
    assert not own[0] & own[1]


@pytest.mark.parametrize("what", ["none", "file", "empty", "data_src"])
def test_what_is_no_faceset_is_refused_by_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "file":
        path.write_bytes(b"")
    elif what != "none":
        path.mkdir()
    if what == "data_src":
        (path / "00001.jpg").write_bytes(b"a frame")
    with pytest.raises(FacesetError, match=what):
        faceset_folders(path)


def test_a_faceset_pak_in_front_of_the_faces_is_refused_with_the_remedy(workspace: Path) -> None:
    aligned = workspace / "data_src" / "aligned"
    (aligned / "faceset.pak").write_bytes(b"")
    with pytest.raises(PackedFacesetError, match="DeepFaceLab reads instead") as refused:
        faceset_folders(workspace)
    assert refused.value.hint == f"dfld unpack {aligned}"
    assert len(faceset_folders(workspace, may_be_packed=True)) == 2
