"""XSeg masks are stored and read as DeepFaceLab does."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dfl.errors import FormatError
from dfl.image import read_metadata
from dfl.xseg_mask import STORED_LIMIT_BYTES, decode_xseg_mask, encode_xseg_mask


def golden_mask(shared: Path, stem: str) -> tuple[bytes, np.ndarray]:
    stored = read_metadata((shared / "golden" / "dflimg" / f"{stem}.jpg").read_bytes()).xseg_mask
    assert stored is not None
    decoded = cv2.imread(str(shared / "golden" / "dflimg" / "masks" / f"{stem}.xseg_mask.png"), cv2.IMREAD_UNCHANGED)
    return stored, np.asarray(decoded)


@pytest.mark.parametrize("stem", ["00003_0", "00004_0"])
def test_golden_masks_are_decoded_exactly(shared: Path, stem: str) -> None:
    stored, grey = golden_mask(shared, stem)
    mask = decode_xseg_mask(stored)
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(np.rint(mask * 255), grey)


def test_a_golden_hard_mask_is_stored_again_without_loss(shared: Path) -> None:
    stored, _ = golden_mask(shared, "00003_0")
    again = encode_xseg_mask(decode_xseg_mask(stored))
    assert again.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode_xseg_mask(again), decode_xseg_mask(stored))


def test_a_mask_too_large_for_png_becomes_a_jpeg_that_fits() -> None:
    noise = np.random.default_rng(3).random((512, 512)).astype(np.float32)
    stored = encode_xseg_mask(noise)
    assert stored.startswith(b"\xff\xd8\xff\xe0")
    assert len(stored) <= STORED_LIMIT_BYTES
    assert decode_xseg_mask(stored).shape == (512, 512)


def test_values_are_truncated_and_kept_in_range() -> None:
    mask = np.array([[-1.0, 0.0, 0.5, 0.999, 1.0, 7.0]], dtype=np.float32)[..., None]
    np.testing.assert_array_equal(decode_xseg_mask(encode_xseg_mask(mask)) * 255, [[0, 0, 127, 254, 255, 255]])


def test_a_mask_with_three_channels_is_refused() -> None:
    with pytest.raises(FormatError, match="expected"):
        encode_xseg_mask(np.zeros((4, 4, 3), np.float32))


def test_a_picture_bomb_is_refused_before_it_is_decoded() -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + (100_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    with pytest.raises(FormatError, match="100000x100000 px"):
        decode_xseg_mask(header)


@pytest.mark.parametrize("stored", [b"", b"BM" + bytes(100), b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 "])
def test_another_kind_of_file_is_refused(stored: bytes) -> None:
    with pytest.raises(FormatError):
        decode_xseg_mask(stored)


def test_a_mask_whose_picture_is_broken_is_refused() -> None:
    stored = encode_xseg_mask(np.ones((8, 8), np.float32))
    with pytest.raises(FormatError, match="cannot be decoded"):
        decode_xseg_mask(stored[:30])
