"""The one decoder of pictures: every format, depth and orientation gives the same upright picture, or a reason."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from engine.errors import InputError, PictureError
from engine.footage.video import open_frames
from engine.frames.contract import refuse_oversize
from engine.identity.reference_photos import read_photo
from engine.pictures import decoding as pictures
from engine.pictures.decoding import MID_GREY, decode_picture
from engine.pictures.whole_picture import count_scans, jpeg_segments
from tests.pictures import encoded, heic, stored_for, upright

TURNABLE = [
    ("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "P"),
    ("PNG", "1"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("TIFF", "RGB"), ("TIFF", "RGBA"), ("TIFF", "LA"), ("TIFF", "P"),
    ("TIFF", "CMYK"), ("AVIF", "RGB"), ("AVIF", "RGBA"),
]  # fmt: skip
ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "AVIF": ".avif"}

MUTANTS = int(os.environ.get("DFLD_PICTURE_MUTANTS", "40"))
"""Of each format."""


def decoded(data: bytes, backdrop: float | None = None) -> NDArray[np.uint8]:
    return decode_picture(
        data, "it", lambda width, height: refuse_oversize(Path("it"), width, height), backdrop=backdrop
    )


def shows(pixels: NDArray[np.uint8], wanted: NDArray[np.uint8], mode: str = "RGB") -> bool:
    """Say whether pixels are those of a picture, as far as the mode keeps colours, codecs' edges left out."""
    gray = mode in ("L", "LA", "1")
    if pixels.shape != wanted.shape or pixels.dtype != np.uint8:
        return False
    if gray:
        wanted = np.repeat(cv2.cvtColor(wanted, cv2.COLOR_BGR2GRAY)[:, :, None], 3, axis=2)
    if mode == "1":
        return bool(pixels[: pixels.shape[0] // 4, : pixels.shape[1] // 2].mean() > pixels[-8:].mean() + 50)
    difference = np.abs(pixels.astype(int) - wanted).max(axis=2)
    return bool(np.quantile(difference, 0.8) <= 12)


@pytest.mark.parametrize(("form", "mode"), TURNABLE, ids=[f"{form} {mode}" for form, mode in TURNABLE])
def test_every_orientation_of_every_format_is_turned_upright(form: str, mode: str, tmp_path: Path) -> None:
    for orientation in range(1, 9):
        data = encoded(upright(), form, mode, orientation)
        for backdrop in (None, MID_GREY):
            assert shows(decoded(data, backdrop), upright(), mode), (orientation, backdrop)
    path = tmp_path / f"photo{ENDINGS[form]}"
    path.write_bytes(encoded(upright(), form, mode, 6))
    assert shows(read_photo(path), upright(), mode)
    with open_frames(tmp_path) as reader:
        assert shows(next(reader).to_frame().pixels, upright(), mode)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_depth_of_tiff_comes_out_in_8_bits(dtype: type, channels: int) -> None:
    shown = upright() if channels > 1 else cv2.cvtColor(upright(), cv2.COLOR_BGR2GRAY)[:, :, None]
    stored = np.concatenate([shown, np.full_like(shown[:, :, :1], 255)], axis=2) if channels == 4 else shown
    scales = {np.uint8: [1], np.uint16: [257]}.get(dtype, [1 / 255, 1, 257])
    for scale in scales:
        data = cv2.imencode(".tiff", (stored * np.float64(scale)).astype(dtype))[1].tobytes()
        for backdrop in (None, MID_GREY):
            assert shows(decoded(data, backdrop), upright(), "L" if channels == 1 else "RGB"), (scale, backdrop)


def test_numbers_that_are_none_become_black() -> None:
    values = np.full((20, 30, 3), 0.5, np.float32)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    pixels = decoded(cv2.imencode(".tiff", values)[1].tobytes())
    assert pixels[0, :3].max() == 0
    assert pixels[5, 5].tolist() == [128, 128, 128]


def test_16_bits_keep_their_upper_8() -> None:
    ramp = np.linspace(0, 65535, 256 * 8).astype(np.uint16).reshape(8, 256)
    for ending in (".png", ".tif"):
        pixels = decoded(cv2.imencode(ending, ramp)[1].tobytes())
        assert np.abs(pixels[:, :, 0].astype(int) - ramp / 257.0).max() <= 1


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_transparency_is_laid_over_grey_or_left_out(form: str) -> None:
    half = Pillow.fromarray(upright()[:, :, ::-1])
    half.putalpha(0)
    picture = np.asarray(half).copy()
    picture[:, 24:, 3] = 255
    lossless = {"WEBP": {"lossless": True, "exact": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
    out = io.BytesIO()
    Pillow.fromarray(picture).save(out, form, **lossless.get(form, {}))
    over, without = decoded(out.getvalue(), MID_GREY), decoded(out.getvalue())
    assert np.abs(over[:, :20].astype(int) - 128).max() <= 2
    assert shows(over[:, 24:], upright()[:, 24:])
    assert shows(without, upright())


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_picture_of_several_in_one_file_is_read(form: str) -> None:
    first, second = (Pillow.fromarray(np.ascontiguousarray(p[:, :, ::-1])) for p in (upright(), upright()[::-1]))
    out = io.BytesIO()
    first.save(out, form, save_all=True, append_images=[second])
    assert shows(decoded(out.getvalue()), upright())


def test_heic_is_read_and_turned_as_its_container_says(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="the extra heic is not installed")
    for turns in range(4):
        stored = np.ascontiguousarray(np.rot90(upright((64, 96)), -turns))
        path = tmp_path / f"{turns}.heic"
        path.write_bytes(heic(stored, tmp_path, quarter_turns=turns))
        assert shows(read_photo(path), upright((64, 96))), turns
    (tmp_path / "still.mkv").unlink()
    with open_frames(tmp_path) as reader:
        assert all(shows(frame.to_frame().pixels, upright((64, 96))) for frame in reader)
        assert reader.packets_damaged == 0


def test_without_its_library_a_heic_picture_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "HEIF_LIBRARIES", ("no_such_library",))
    data = heic(upright((64, 96)), tmp_path)
    with pytest.raises(PictureError, match=r"it is a HEIC picture, and nothing that reads it .*dfld\[heic\]"):
        decoded(data)
    (tmp_path / "a.heic").write_bytes(data)
    with pytest.raises(InputError, match=r"none of its 1 images can be read: a\.heic is a HEIC picture"):
        open_frames(tmp_path)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"8BPS\0\1", "a Photoshop file"),
        (b"v/1\x01\2\0\0\0", "an OpenEXR picture"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"II*\0\x10\0\0\0CR\x02\0", "a raw camera file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a raw camera file"),
        (b"II+\0\x08\0\0\0", "BigTIFF"),
    ],
)
def test_what_is_known_but_not_read_is_named(data: bytes, named: str) -> None:
    with pytest.raises(PictureError, match=named):
        decoded(data + bytes(64))


def test_the_size_is_asked_before_anything_is_decoded() -> None:
    def refuse(width: int, height: int) -> None:
        raise InputError(f"{width}x{height}")

    for form in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"):
        data = encoded(upright(), form)
        cut = data if form in ("AVIF", "GIF") else data[: len(data) // 2] if form != "TIFF" else data
        with pytest.raises(InputError, match="48x64"):
            decode_picture(cut, "it", refuse)


def test_a_damaged_picture_gives_a_picture_or_a_reason_and_nothing_else(tmp_path: Path) -> None:
    whole = {f"{form} {mode}": encoded(upright(), form, mode, 6) for form, mode in TURNABLE}
    whole["GIF"] = encoded(upright(), "GIF")
    whole["BMP"] = encoded(upright(), "BMP")
    whole["float"] = cv2.imencode(".tiff", upright().astype(np.float32) / 255)[1].tobytes()
    try:
        import pi_heif  # noqa: F401

        whole["HEIC"] = heic(upright((64, 96)), tmp_path)
    except ImportError:
        pass

    def small(width: int, height: int) -> None:
        if width * height > 1 << 20:
            raise InputError("larger than this test has time for")

    source = random.Random(7)
    refused = 0
    for name, data in whole.items():
        for _ in range(MUTANTS):
            spoiled = bytearray(data[: source.randrange(4, len(data) + 1)] if source.random() < 0.4 else data)
            for _ in range(source.randrange(1, 12)):
                spoiled[source.randrange(len(spoiled))] = source.randrange(256)
            try:
                pixels = decode_picture(bytes(spoiled), "it", small, backdrop=source.choice([None, MID_GREY]))
                assert pixels.dtype == np.uint8, name
                assert pixels.ndim == 3, name
                assert pixels.shape[2] == 3, name
            except InputError:
                refused += 1
    assert refused > 100


BEHIND = (
    b"\0",
    b"\xff" * 11,
    b"\xff" * 12,
    b"an editor's own notes " * 4,
    bytes(100),
    b"\x7f\xff\xff\xffIDAT" + bytes(40),
)


@pytest.mark.parametrize(("form", "mode"), [*TURNABLE, ("GIF", "P"), ("BMP", "RGB")])
def test_bytes_behind_a_picture_are_no_damage(form: str, mode: str) -> None:
    """Phones put a clip there, editors their layers, copies over FTP a few zeros."""
    data = encoded(upright(), form, mode)
    for tail in BEHIND:
        for backdrop in (None, MID_GREY):
            assert np.array_equal(decoded(data + tail, backdrop), decoded(data, backdrop)), (len(tail), backdrop)


def test_the_inverse_of_every_orientation_is_its_own() -> None:
    picture = upright()
    for orientation in range(1, 9):
        assert np.array_equal(pictures.turned_by_exif(stored_for(orientation, picture), orientation), picture)


def scanned(times: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """Return a progressive JPEG whose last scan is stored `times` more often: a few bytes each."""
    data = cv2.imencode(".jpg", upright(size), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    segments = list(jpeg_segments(data))
    last = max(place for place, segment in enumerate(segments) if segment.marker == 0xDA)
    start = segments[last - 1].end
    return data[:start] + data[start : segments[last].end] * times + data[segments[last].end :]


def test_a_jpeg_of_more_scans_than_encoders_write_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = scanned(1)
    assert count_scans(usual) == 10
    assert shows(decoded(usual), upright((64, 64)))
    with pytest.raises(PictureError, match="stores 64x64 px in 109 scans, which would take minutes"):
        decoded(scanned(100))
    monkeypatch.setattr(pictures, "MOST_SCANNED_PX", 10 * 64 * 64 - 1)  # a large picture has fewer
    with pytest.raises(PictureError, match="in 10 scans"):
        decoded(usual)
    assert shows(decoded(encoded(upright(), "JPEG")), upright())


def test_transparency_is_laid_over_grey_in_strips_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(3).integers(0, 255, (61, 40, 4), dtype=np.uint8)
    data = cv2.imencode(".png", picture)[1].tobytes()
    whole = decoded(data, MID_GREY)
    monkeypatch.setattr(pictures, "STRIP_PX", 40 * 7)
    assert np.array_equal(decoded(data, MID_GREY), whole)
