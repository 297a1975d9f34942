"""What the bytes of an image file prove: damage that decoders conceal, and content that they do not read."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from engine.errors import InputError
from engine.footage.verdict import verdict_on
from engine.footage.video import open_frames
from engine.frames.contract import refuse_oversize
from engine.pictures.decoding import decode_picture, picture_format
from engine.pictures.image_header import image_size
from engine.pictures.whole_picture import Account, account_for
from engine.types import Cursor
from tests.clips import is_deletable

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}), ("JPEG", {"optimize": True}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}),
    ("WEBP", {"lossless": True}), ("AVIF", {"speed": 10}), ("GIF", {}), ("BMP", {}), ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "packbits"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}), ("TIFF", {"compression": "tiff_jpeg"}),
]  # fmt: skip
FILM = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 4


def detailed(size: tuple[int, int] = (161, 120)) -> NDArray[np.uint8]:
    """Return a picture with detail everywhere, as photos have, and no more noise than they have."""
    noise = np.random.default_rng(5).integers(1, 255, (size[1], size[0], 3), dtype=np.uint8)
    return np.maximum(cv2.GaussianBlur(noise, (0, 0), 1.2), 1)


def barred() -> NDArray[np.uint8]:
    picture = np.zeros((640, 960, 3), np.uint8)
    picture[120:520] = detailed((960, 400))
    return picture


def saved(picture: NDArray[np.uint8], form: str, *more: NDArray[np.uint8], **options: Any) -> bytes:
    out = io.BytesIO()
    first, *others = (Pillow.fromarray(one) for one in (picture, *more))
    first.save(out, form, **({"save_all": True, "append_images": others} if others else {}), **options)
    return out.getvalue()


def account(data: bytes) -> Account | None:
    """Return what is proven of a file; None for one that gives no picture."""
    try:
        pixels = decode_picture(data, "it", partial(refuse_oversize, Path("it")))
    except InputError:
        return None
    return account_for(data, picture_format(data) or "", image_size(data) or (pixels.shape[1], pixels.shape[0]))


@pytest.mark.parametrize(("form", "options"), FORMS, ids=[f"{form} {options}" for form, options in FORMS])
def test_no_picture_of_which_bytes_are_zeroed_is_proven_whole_and_no_sound_one_is_doubted(
    form: str, options: dict[str, Any]
) -> None:
    black = np.zeros((720, 1280, 3), np.uint8)
    for sound in (detailed(), barred(), black, black + 16, black + 255):
        assert account(saved(sound, form, **options)) == Account(), sound.mean()
    data = saved(detailed(), form, **options)
    length = len(data)
    for share in (0.34, 0.5, 0.66, 0.8):
        kept = data[: int(length * share)]
        for name, damaged in (("zeros", kept + bytes(length - len(kept))), ("cut", kept)):
            assert account(damaged) != Account(), (name, share)
    if (form not in ("BMP",) and options != {}) or form in ("JPEG", "PNG", "WEBP", "AVIF"):  # not pixels as they are
        hole = data[: length // 2] + bytes(length // 4) + data[length // 2 + length // 4 :]
        assert account(hole) != Account()
    assert "a film" in (account(data + FILM) or Account()).unread or form == "AVIF"
    assert account(data + FILM) != Account()
    assert account(data + bytes(100)) == Account() or form == "AVIF"


def test_a_jpeg_that_ends_early_behind_a_proper_end_marker_is_damaged() -> None:
    data = saved(detailed(), "JPEG")
    found = account(data[: len(data) // 3] + b"\xff\xd9")
    assert found == Account(damage="its compressed data do not end where the picture does")


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_every_colour_are_proven_whole(mode: str) -> None:
    out = io.BytesIO()
    Pillow.fromarray(detailed()).convert(mode).save(out, "JPEG", restart_marker_rows=2)
    assert account(out.getvalue()) == Account()


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "PNG", "GIF", "AVIF", "MPO"])
def test_further_pictures_of_a_file_are_unread(form: str) -> None:
    found = account(saved(detailed(), form, detailed()[::-1].copy(), detailed()[:, ::-1].copy()))
    assert found is not None
    assert not found.damage
    assert any(
        said in found.unread for said in ("only the first of its 3", "a sequence of pictures", "a further picture")
    )


def test_a_folder_with_a_damaged_image_gives_all_frames_and_is_lost_footage(tmp_path: Path) -> None:
    data = saved(detailed(), "JPEG")
    (tmp_path / "1.jpg").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    (tmp_path / "2.jpg").write_bytes(data)
    for after in (None, Cursor(1, None)):  # work that goes on behind the damage says the same
        with open_frames(tmp_path, after=after) as reader:
            assert len(list(reader)) == (2 if after is None else 1)
            verdict = verdict_on(reader.evidence())
            assert "1 (1.jpg: its compressed data do not end" in "".join(reader.warnings)
        assert verdict.word == "lost footage"
        assert "it has damaged images: 1 (1.jpg: its" in verdict.why


def test_a_folder_with_a_motion_photo_is_whole_and_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(saved(detailed(), "JPEG"))
    with open_frames(tmp_path) as reader:
        list(reader)
        assert is_deletable(verdict_on(reader.evidence()))
    (tmp_path / "2.jpg").write_bytes(saved(detailed(), "JPEG") + FILM)
    with open_frames(tmp_path) as reader:
        assert len(list(reader)) == 2
        verdict = verdict_on(reader.evidence())
    assert verdict.word == "whole"
    assert not is_deletable(verdict)
    assert "1 (2.jpg: behind its end it has a film, " in verdict.unread[0]


def test_no_mutation_costs_more_memory_or_time_than_a_picture_is_worth(tmp_path: Path) -> None:
    for number, (form, options) in enumerate(FORMS):
        (tmp_path / f"{number:02d}").write_bytes(saved(detailed((48, 40)), form, **options))
    program = (
        "import pathlib, random, sys\n"
        "from tests.engine.pictures.test_whole_picture import account\n"
        "chance = random.Random(4)\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    data = path.read_bytes()\n"
        "    for _ in range(60):\n"
        "        bad = bytearray(data)\n"
        "        for _ in range(chance.randint(1, 4)):\n"
        "            place = chance.randrange(min(len(bad), chance.choice((40, 400, 10**6))))\n"
        "            bad[place] = chance.choice((0, 255, 127, 1))\n"
        "        account(bytes(bad))\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    root = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=root, preexec_fn=limit, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
