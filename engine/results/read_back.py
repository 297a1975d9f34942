"""Reading back every face of a clip: do file, metadata, pixels, manifest and ledger still agree?

What can be found is engine.results.checked_face. Nothing is changed but by `drop_faces`.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from core.opening import RefusedFileError, read_regular
from dfl.jpeg import FILE_LIMIT_BYTES
from engine.errors import PictureError
from engine.masks.write_mask import without_own_mask
from engine.pictures.decoding import decode_picture, picture_format
from engine.pictures.whole_picture import account_for
from engine.results.checked_face import CheckedFace, RecordedFace
from engine.results.face_files import is_as_written, is_own_mask_picture, is_pack
from engine.results.manifest import Manifest, ManifestWriter, manifest_path, manifest_paths, read_manifest
from engine.results.manifest_lines import (
    Dropped,
    ManualChange,
    MaskDropped,
    WrittenFace,
    WrittenFile,
    mask_name,
)
from engine.results.missing_faces import Pictures
from engine.results.own_moves import OwnMoves
from engine.same_face import FaceTrace, is_same_face, trace_of_jpeg
from engine.workspace.file_names import Layout, inbox_layout, output_layout
from engine.workspace.output_files import remove_file

SIDE_MAX_PX = 4096
"""dfld writes aligned images up to 2048 px a side; what claims to be larger is not decoded."""
NOT_LISTED = "the ledger holds it, and the manifest does not list it"
TAKEN_OUT = "a person took it out; it stays out"
METADATA_ENDINGS = (".jpg", ".jpeg")
"""Only these have DeepFaceLab's metadata."""


UNREADABLE_ERRNOS = (
    *(errno.EACCES, errno.EPERM),  # its mode, or the policy of the system
    *(errno.EIO, errno.EBADMSG, errno.EUCLEAN),  # a sector that the disk cannot read, a checksum that does not fit
    *(errno.EAGAIN, errno.ETXTBSY),  # another program holds it
    *(errno.ELOOP, errno.ENAMETOOLONG),
)
"""What keeps one file from being read, and says nothing of those beside it."""


class _UnreadableError(Exception):
    """A file is there, and its bytes cannot be had."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class ReadBack:
    """The faces of one clip, to be read back one by one."""

    def __init__(self, layout: Layout, recorded: Iterable[RecordedFace] | None) -> None:
        """`recorded`: the written faces of the clip's job; None where there is no ledger. Raise OutputError when the
        manifest cannot be read."""
        self._layout = layout
        self._manifest: Manifest = read_manifest(layout)
        self._has_ledger = recorded is not None
        by_name = {one.name: one for one in recorded or ()}
        self._recorded = _joined(self._manifest.faces, by_name)
        joined = {one.name for one in self._recorded.values()}
        self._unjoined = {name: one for name, one in by_name.items() if name not in joined}
        self._pictures = Pictures(layout, self._manifest)
        self._own_moves = OwnMoves(layout)
        known = self._manifest.faces.keys() | self._unjoined.keys()
        self._changed = _changed_before(self._manifest)
        self.names: tuple[str, ...] = (
            *sorted(name for name in known if not self._is_settled(name)),
            *sorted(self._changed.keys() - known),
        )
        """The faces to read back, in a fixed order: by their names in the manifest, else by those in the ledger; then
        those that a person had changed before this run, each by where it was seen last."""

    @property
    def not_listed(self) -> int:
        """How many faces the ledger holds that the manifest does not list: it was lost, or cut off."""
        return len(self._unjoined.keys() - self._manifest.faces.keys())

    @property
    def not_finished(self) -> str:
        """Say how far the run of the clip is; "" where it came to its end, or none has begun."""
        if self._manifest.clearing or (self._manifest.run is not None and not self._manifest.finished):
            count = self._manifest.committed
            return f"not finished: {count} frame{'' if count == 1 else 's'} of it {'is' if count == 1 else 'are'} done"
        return ""

    def begun_anew(self) -> str:
        """Say that a run began the clip anew since this was made, so that what was read back may be of both runs; ""
        where none did. Raise OutputError when the manifest cannot be read."""
        now = read_manifest(self._layout)
        files = {name: face.file for name, face in now.faces.items()}
        if all(files.get(name) == face.file for name, face in self._manifest.faces.items()):
            return ""
        return "not finished: it was begun anew while it was read back"

    @property
    def basis(self) -> str:
        """Hash of what decides what is read back: the clip's run and the names of its faces."""
        run = self._manifest.run
        parts = ("", "", "") if run is None else (run.source, run.content, run.basis)
        return hashlib.sha256("\n".join((*parts, *self.names)).encode(errors="surrogateescape")).hexdigest()

    def check(self, name: str) -> CheckedFace:
        """Read one face back; one whose file cannot be read is damaged, and stays. Raise OSError where more than that
        file is out of reach: a folder, a machine that holds it, memory."""
        try:
            return self._check(name)
        except _UnreadableError as problem:
            what = "its mask" if problem.path.parent == self._layout.masks else "its picture"
            recorded = self._recorded.get(name) or self._unjoined.get(name)
            return CheckedFace(
                name,
                "damaged",
                f"{what} cannot be read: {problem.why}",
                self._below(problem.path),
                recorded_as=recorded.name if recorded else "",
                stays=True,
            )

    def _check(self, name: str) -> CheckedFace:
        written = self._manifest.faces.get(name)
        if written is None and name not in self._unjoined and name in self._changed:
            return self._check_changed(self._changed[name])
        if written is None:
            return self._check_recorded(name, self._unjoined.get(name, RecordedFace(name)))
        recorded = self._recorded.get(name)
        found = self._check_written(written, recorded)
        if recorded is not None:
            found = replace(found, recorded_as=recorded.name)
        is_there = found.finding in ("whole", "edited", "elsewhere")
        if self._has_ledger and recorded is None and is_there and self._is_committed(written):
            return replace(found, finding="unlisted", why="the ledger does not hold it")
        if name in self._unjoined and is_there:
            return replace(found, finding="unlisted", why="the ledger has another face of that name, too")
        if recorded is not None and recorded.face_id and written.trace.face_id not in ("", recorded.face_id):
            return replace(found, finding="unlisted", why="ledger and manifest give it different ids")
        return found

    def _is_settled(self, name: str) -> bool:
        """Say whether a face was dropped by the run that wrote it, as the ledger knows: nothing is to be there."""
        written = self._manifest.faces.get(name)
        if written is None or name in self._recorded:
            return False
        return written.dropped and not written.dropped_later

    def _is_committed(self, written: WrittenFace) -> bool:
        return written.number < self._manifest.committed and not self._manifest.clearing

    def _check_written(self, written: WrittenFace, recorded: RecordedFace | None) -> CheckedFace:
        found = self._check_picture(written, recorded)
        return self._with_mask(found, written) if found.finding in ("whole", "edited", "elsewhere") else found

    def _check_picture(self, written: WrittenFace, recorded: RecordedFace | None) -> CheckedFace:
        name = written.file.name
        for path, is_home in self._own_moves.candidates(name, home_first=written.folder == "aligned"):
            if path.is_symlink():
                return CheckedFace(name, "edited", "a person put a link in its place", self._below(path))
            data = _bytes_of(path)
            if data is None:
                continue
            found = self._check_file(path, data, written, recorded)
            if found is not None:
                moved = not is_home and found.finding == "whole" and not written.was_in_review
                return replace(found, finding="elsewhere", why="it was moved") if moved else found
        place = self._pictures.place_of(written)
        if place is not None:
            how = "it was packed" if is_pack(place) else "it was moved or renamed"
            return CheckedFace(name, "elsewhere", how, self._below(place))
        if not self._is_committed(written) or written.dropped:
            return CheckedFace(name, "unfinished", "it is not written yet")
        return CheckedFace(name, "taken out", TAKEN_OUT)

    def _check_file(
        self, path: Path, data: bytes, written: WrittenFace, recorded: RecordedFace | None
    ) -> CheckedFace | None:
        """Judge the file that lies where a face was written; None where it is another face by now."""
        name, file = written.file.name, self._below(path)
        is_as_written = not _differs(data, written.file)
        if not is_as_written and _is_untouched(path, written.file):
            return CheckedFace(name, "damaged", "its bytes changed, and nobody wrote them", file, removable="face")
        trace = trace_of_jpeg(data)
        says_who = not is_as_written and trace is not None and bool(written.trace.landmarks_hash)
        if says_who and trace is not None and not is_same_face(trace, written.trace, same_clip=True):
            return None
        pixels, trouble = _pixels(data, "its picture")
        if trouble:
            return CheckedFace(name, "damaged", trouble, file, removable="face")
        if is_as_written and (trouble := _other_pixels(pixels, recorded)):
            return CheckedFace(name, "damaged", trouble, file, pixels)
        if is_as_written:
            return CheckedFace(name, "whole", "", file, pixels)
        if trace is None and _has_metadata(written.trace, path):
            why = "its metadata cannot be read; a person may have saved it"
            return CheckedFace(name, "damaged", why, file, pixels, stays=True)
        if recorded is not None and pixels == recorded.pixels_sha256:
            why = "a person changed its metadata; its pixels are as they were written"
        else:
            why = "a person changed it"
        return CheckedFace(name, "edited", why, file, pixels)

    def _with_mask(self, found: CheckedFace, written: WrittenFace) -> CheckedFace:
        """Judge the mask of a face that is there: as its picture is judged. One that is missing beside a face that is
        not as dfld wrote it may have been taken away with that change, and is only mentioned."""
        if written.mask is None:
            return found
        path = self._own_moves.place_of(self._layout.masks / mask_name(written.file.name))
        state, trouble = _mask_state(path, written.mask)
        if state == "edited" and is_own_mask_picture(path, self._layout.root / found.file):
            return found
        if state == "damaged":
            before = "" if found.finding != "edited" else "a person changed it, and it stays; "
            stays = not is_as_written(path, written.mask)
            return replace(found, finding="damaged", why=before + trouble, removable="mask", stays=stays)
        if state == "missing" and self._is_committed(written):
            if found.finding != "whole":
                return replace(found, why=f"{found.why}; its mask is missing")
            if written.mask_dropped:
                return replace(found, finding="unfinished", why="its mask is not written again yet")
            return replace(found, finding="damaged", why="its mask is missing", removable="mask")
        if state == "edited":
            if found.finding == "whole":
                return replace(found, finding="edited", why="a person changed its mask")
            return replace(found, why=f"{found.why}; its mask is changed, too")
        return found

    def _check_changed(self, change: ManualChange) -> CheckedFace:
        """Read back a face that a person had changed before this run, which therefore did not write it. It is never
        removed."""
        name, path = Path(change.file).name or _place_text(change), self._layout.root / change.file
        if not change.file or (not path.is_symlink() and not path.is_file()):
            stand_in = WrittenFace(WrittenFile(name, change.sha256, -1, -1), "aligned", 0, change.trace)
            place = self._pictures.place_of(stand_in)
            if place is None:
                why = "a person had changed it, and took it out since" if change.file else TAKEN_OUT
                return CheckedFace(name, "taken out", why)
            path = place
        data = None if is_pack(path) else _bytes_of(path)
        file = self._below(path)
        pixels, trouble = ("", "") if data is None else _pixels(data, "its picture")
        stays = "a person had changed it, and it stays"
        if trouble:
            return CheckedFace(name, "damaged", f"{trouble}; {stays}", file, stays=True)
        if data is not None and _has_metadata(change.trace, path) and trace_of_jpeg(data) is None:
            return CheckedFace(name, "damaged", f"its metadata cannot be read; {stays}", file, pixels, stays=True)
        if mask := self._manifest.masks.get(change.mask):
            state, trouble = _mask_state(self._layout.masks / mask.name, mask)
            if state == "damaged":
                return CheckedFace(name, "damaged", f"{trouble}; {stays}", file, pixels, stays=True)
        if change.kind == "deleted":
            return CheckedFace(name, "elsewhere", "a person took it out, and put it back", file, pixels)
        if change.kind in ("moved", "renamed", "packed"):
            return CheckedFace(name, "elsewhere", f"it was {change.kind} before the clip was done again", file, pixels)
        if change.kind == "added":
            return CheckedFace(name, "edited", "no manifest says that dfld wrote it, so it counts as a person's", file)
        return CheckedFace(name, "edited", "a person changed it before the clip was done again", file, pixels)

    def _check_recorded(self, name: str, recorded: RecordedFace) -> CheckedFace:
        """Read back a face that the ledger holds and no manifest names: an older dfld wrote none, or it is lost."""
        for folder in (self._layout.aligned, self._layout.review):
            data = _bytes_of(folder / name)
            if data is None:
                continue
            trace = trace_of_jpeg(data)
            if trace is not None and trace.face_id and recorded.face_id and trace.face_id != recorded.face_id:
                continue
            file = self._below(folder / name)
            pixels, trouble = _pixels(data, "its picture")
            if (
                not trouble
                and trace is None
                and recorded.face_id
                and (folder / name).suffix.lower() in METADATA_ENDINGS
            ):
                trouble = "its metadata cannot be read"
            if trouble:
                return CheckedFace(name, "damaged", trouble, file, recorded_as=name)
            if trouble := _other_pixels(pixels, recorded):
                why = f"{trouble}; no manifest says whether a person did that, so it stays"
                return CheckedFace(name, "damaged", why, file, pixels, name)
            return CheckedFace(name, "unlisted", NOT_LISTED, file, pixels, name)
        return CheckedFace(name, "unlisted", f"{NOT_LISTED}, and it is not there", recorded_as=name)

    def _below(self, path: Path) -> str:
        return str(path.relative_to(self._layout.root))


def _joined(written: Mapping[str, WrittenFace], recorded: Mapping[str, RecordedFace]) -> dict[str, RecordedFace]:
    """Return what the ledger holds of each face of a manifest, by the face's name there.

    By ids, where both have one that no other face has; else by names. Where no id of one is known to the other, faces
    of one name are joined though their ids differ, so that it is said.
    """
    traces = {name: face.trace.face_id for name, face in written.items()}
    names = _by_unique({name: one.face_id for name, one in recorded.items()})
    found = {name: recorded[names[face_id]] for face_id, name in _by_unique(traces).items() if face_id in names}
    taken = {one.name for one in found.values()}
    for name, one in recorded.items():
        if name in written and name not in found and name not in taken:
            found[name] = one
    return found


def _by_unique(ids: Mapping[str, str]) -> dict[str, str]:
    """Return the name of each id that one name alone has."""
    counts = Counter(ids.values())
    return {face_id: name for name, face_id in ids.items() if face_id and counts[face_id] == 1}


def _changed_before(manifest: Manifest) -> dict[str, ManualChange]:
    """Return the changes of faces that the run did not write since a person had changed them, by where each is."""
    ids = {face.trace.face_id for face in manifest.faces.values()} - {""}
    landmarks = {face.trace.landmarks_hash for face in manifest.faces.values()} - {""}
    return {
        one.file or _place_text(one): one
        for one in manifest.changes
        if one.kind != "mask_deleted" and not one.is_of_frame
        if one.trace.face_id not in ids and (one.trace.face_id or one.trace.landmarks_hash not in landmarks)
    }


def _place_text(change: ManualChange) -> str:
    """Name a face of which no file is left."""
    left, top, _, _ = change.trace.box
    return f"frame {change.trace.frame}, face at {left}, {top}"


def _mask_state(path: Path, written: WrittenFile) -> tuple[Literal["whole", "edited", "damaged", "missing"], str]:
    """Return how a mask is, and what is wrong with a damaged one."""
    if path.is_symlink():
        return "edited", ""
    data = _bytes_of(path)
    if data is None:
        return "missing", ""
    is_as_written = not _differs(data, written)
    if not is_as_written and _is_untouched(path, written):
        return "damaged", "the bytes of its mask changed, and nobody wrote them"
    _, trouble = _pixels(data, "its mask")
    if trouble:
        return "damaged", trouble if is_as_written else f"{trouble}; it is not the mask that dfld wrote"
    return ("whole" if is_as_written else "edited"), ""


def _has_metadata(trace: FaceTrace, path: Path) -> bool:
    """Say whether a file of a face is of a kind that has metadata, and had it."""
    return bool(trace.face_id or trace.landmarks_hash) and path.suffix.lower() in METADATA_ENDINGS


def drop_faces(layout: Layout, damaged: Iterable[CheckedFace]) -> None:
    """Remove what is damaged of faces, so that the next run of the clip writes it again: of each the file that was
    read back, where it is damaged still, or its mask alone. A mask that is not as dfld wrote it stays: a person drew
    it, or may have. So does any other file of that name. Raise OutputError.

    The manifest says so first: what is missing then, dfld took away, and no person.
    """
    removable = [face for face in damaged if face.removable != "nothing"]
    if not removable:
        return  # or a lost manifest would come back as an empty one
    manifest, own_moves = read_manifest(layout), OwnMoves(layout)
    with ManifestWriter(layout) as writer:
        for face in removable:
            mask = manifest.masks.get(mask_name(face.name))
            its_mask = own_moves.place_of(layout.masks / mask_name(face.name))
            is_mask_ours = mask is not None and is_as_written(its_mask, mask)
            if face.removable == "face" and not _is_still_damaged(
                layout.root / face.file, manifest.faces.get(face.name)
            ):
                continue
            if face.removable == "face":
                if face.name in manifest.faces:
                    writer.add(Dropped(face.name), sync=True)
                remove_file(layout.root / face.file)
            elif is_mask_ours or not os.path.lexists(its_mask):
                writer.add(MaskDropped(face.name), sync=True)
            if is_mask_ours:
                remove_file(its_mask)


def _is_still_damaged(path: Path, written: WrittenFace | None) -> bool:
    """Say whether a face is damaged now: since it was read back, a person may have put a whole one in its place."""
    try:
        data = _bytes_of(path)
    except _UnreadableError:
        return False
    if data is None:
        return False
    if written is not None and _differs(data, written.file) and _is_untouched(path, written.file):
        return True
    return bool(_pixels(data, "its picture")[1])


def layouts_in(workspace: Path) -> list[Layout]:
    """Return the layout of each clip that a manifest names in a workspace of DeepFaceLab, or in the output folder of
    `dfld extract`."""
    found = []
    for debug in (workspace / "debug", workspace / "data_src" / "debug", workspace / "data_dst" / "debug"):
        for prefix, path in manifest_paths(debug).items():
            if debug.parent == workspace:
                layout = replace(output_layout(workspace), prefix=prefix)
            else:
                role: Literal["src", "dst"] = "src" if debug.parent.name == "data_src" else "dst"
                layout = inbox_layout(workspace, role, prefix.removesuffix("-"))
            if manifest_path(layout) == path:
                found.append(layout)
    return found


def _bytes_of(path: Path) -> bytes | None:
    """Read a file; None where there is none, or it is a link or no regular file: a person put it there.

    Raise _UnreadableError where it is one and cannot be read.
    """
    try:
        return read_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES)
    except (FileNotFoundError, NotADirectoryError, RefusedFileError):
        return None
    except OSError as problem:
        if problem.errno not in UNREADABLE_ERRNOS:
            raise
        raise _UnreadableError(path, problem.strerror or str(problem)) from problem


def _differs(data: bytes, written: WrittenFile) -> bool:
    """Say whether bytes are others than those that were written, as far as their hash is known, with no mask that dfld
    put into the face since."""
    hashes = (hashlib.sha256(one).hexdigest() for one in (data, without_own_mask(data)))
    return bool(written.sha256) and written.sha256 not in hashes


def _is_untouched(path: Path, written: WrittenFile) -> bool:
    """Say whether size and time of a file are those that it was written with."""
    found = path.lstat()
    return (found.st_size, found.st_mtime_ns) == (written.size, written.mtime_ns)


def _other_pixels(pixels: str, recorded: RecordedFace | None) -> str:
    """Say that a picture shows other pixels than when it was read back first; "" where it does not, or never was.

    That alone removes no file: a person may have painted it, or another version of the decoder may have read it.
    """
    if recorded is None or recorded.pixels_sha256 in ("", pixels):
        return ""
    return "its pixels are not those that the ledger recorded"


def _pixels(data: bytes, what: str) -> tuple[str, str]:
    """Return the hash of a picture's decoded pixels and what is wrong with it: one of the two is ""."""

    def check_size(width: int, height: int) -> None:
        if max(width, height) > SIDE_MAX_PX:
            raise PictureError(f"{what} claims to be {width} px wide and {height} px high")

    if not data:
        return "", f"{what} is empty"
    try:
        pixels = decode_picture(data, what, check_size)
    except PictureError as problem:
        return "", problem.message
    height, width = pixels.shape[:2]
    account = account_for(data, picture_format(data) or "", (width, height))
    if account.damage:
        return "", f"{what} is damaged: {account.damage}"
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest(), ""
