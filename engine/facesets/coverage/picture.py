"""The coverage report as one picture: the poses with their faces, what is missing, and the shares beside. Pure.

The letters are those of the typeface inside Pillow, which has no others than Latin ones: what it lacks is shown as `?`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from engine.facesets.coverage.grid import CoveredCell
from engine.facesets.coverage.report import CoverageReport, Lack
from engine.facesets.coverage.tallies import Tally, upscale_labels
from engine.facesets.coverage.words import edges_words
from engine.facesets.curation.cells import YAW_CELLS, PoseCell
from engine.types import Image

CELL_PX, GAP_PX, SIDE_PX, MARGIN_PX, SAMPLE_PX = 124, 8, 128, 48, 92
WIDTH_PX = 2 * MARGIN_PX + SIDE_PX + YAW_CELLS * (CELL_PX + GAP_PX)
HEADER_PX, HEADS_PX, LEGEND_PX, LACK_PX = 150, 84, 62, 38
LACKS_SHOWN = 12
BARS_PX = 40
TINY, SMALL, NORMAL, LARGE, TITLE = 18, 21, 24, 32, 40
PAPER, CARD, LINE, INK, SOFT = "#15171b", "#262a31", "#30343d", "#e9eaed", "#9aa1ae"
SRC, DST, BAD, GOOD = "#6ba1ff", "#f0b64a", "#ff5a5f", "#4fc786"
PALE = 0.45
"""How much of a face is left that nobody needs."""


@dataclass(frozen=True, eq=False)
class _Sheet:
    """A picture that is drawn on; letters are placed by the left end of their base line."""

    picture: Pictures.Image
    draw: ImageDraw.ImageDraw
    fonts: Mapping[int, ImageFont.FreeTypeFont | ImageFont.ImageFont]

    def text(self, at: tuple[float, float], text: str, size: int, fill: str, *, anchor: str = "ls") -> float:
        """Write, and return where the text ends."""
        plain = _plain(text)
        self.draw.text(at, plain, fill, self.fonts[size], anchor=anchor)
        return at[0] + self.width(text, size)

    def width(self, text: str, size: int) -> float:
        return self.fonts[size].getlength(_plain(text))


def coverage_picture(report: CoverageReport, thumbnails: Mapping[PoseCell, Image]) -> Image:
    """Return the picture, (H, WIDTH_PX, 3) uint8 BGR."""
    rows = report.shown_rows
    lacks = (*report.poses, *report.others)
    lines = max(1, -(-min(len(lacks), LACKS_SHOWN) // 2)) + (len(lacks) > LACKS_SHOWN)
    grid_px = HEADS_PX + len(rows) * (CELL_PX + GAP_PX)
    bars_px = 56 + BARS_PX * (len(upscale_labels()) + 1)
    height = HEADER_PX + 64 + lines * LACK_PX + 40 + grid_px + LEGEND_PX + bars_px + MARGIN_PX
    picture = Pictures.new("RGB", (WIDTH_PX, height), PAPER)
    fonts = {size: ImageFont.load_default(size) for size in (TINY, SMALL, NORMAL, LARGE, TITLE)}
    sheet = _Sheet(picture, ImageDraw.Draw(picture), fonts)
    _header(sheet, report)
    y = _lacks(sheet, report, lacks, HEADER_PX + 30)
    y = _grid(sheet, rows, thumbnails, y + 34)
    y = _legend(sheet, report, y + 34)
    _shares(sheet, report, y + 60)
    return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])


def _header(sheet: _Sheet, report: CoverageReport) -> None:
    sheet.text((MARGIN_PX, 74), _shortened(sheet, report.here_name, TITLE, WIDTH_PX - 2 * MARGIN_PX), TITLE, INK)
    if report.there_name is None:
        sheet.text((MARGIN_PX, 110), "which poses, expressions and light this faceset shows", SMALL, SOFT)
    else:
        x = _words(sheet, MARGIN_PX, 110, (("what ", SOFT), ("src", SRC), (" shows of what ", SOFT), ("dst", DST)))
        sheet.text(
            (x, 110), _shortened(sheet, f" needs: {report.there_name}", SMALL, WIDTH_PX - MARGIN_PX - x), SMALL, SOFT
        )
    x = float(MARGIN_PX)
    for number, words, colour in report.figures:
        x = sheet.text((x, 160), number, LARGE, colour_of(colour))
        x = sheet.text((x + 10, 160), words, SMALL, SOFT) + 48


def colour_of(name: str) -> str:
    """Return the colour of one of the two sets, or that of ink."""
    return {"src": SRC, "dst": DST}.get(name, INK)


def _lacks(sheet: _Sheet, report: CoverageReport, lacks: Sequence[Lack], y: float) -> float:
    y += 40
    if not lacks:
        sheet.text((MARGIN_PX, y), report.nothing_lacks, NORMAL, GOOD)
        return y + 12
    sheet.text((MARGIN_PX, y), f"{report.lacks_title}: {len(lacks)}", NORMAL, INK)
    shown = lacks[:LACKS_SHOWN]
    rows = -(-len(shown) // 2)
    for place, lack in enumerate(shown):
        x = MARGIN_PX + place // rows * (WIDTH_PX - 2 * MARGIN_PX) / 2
        _lack(sheet, x, y + LACK_PX * (1 + place % rows), lack)
    y += LACK_PX * rows
    if len(lacks) > len(shown):
        y += LACK_PX
        sheet.text((MARGIN_PX, y), f"and {len(lacks) - len(shown)} more", SMALL, SOFT)
    return y


def _lack(sheet: _Sheet, x: float, y: float, lack: Lack) -> None:
    sheet.draw.rounded_rectangle((x, y - 15, x + 14, y - 1), 3, outline=BAD, width=3)
    parts = [(f"{lack.words}: ", INK)]
    parts += [] if lack.there is None else [(f"dst {lack.there}", DST), (", ", SOFT)]
    x = _words(sheet, x + 26, y, [*parts, (f"src {lack.here}", SRC)])
    sheet.text((x + 12, y), lack.degrees, TINY, SOFT)


def _grid(
    sheet: _Sheet, rows: Sequence[Sequence[CoveredCell]], thumbnails: Mapping[PoseCell, Image], y: float
) -> float:
    left = MARGIN_PX + SIDE_PX
    right = left + YAW_CELLS * (CELL_PX + GAP_PX) - GAP_PX
    sheet.text((left, y + 18), "< looks to the picture's left", TINY, SOFT)
    sheet.text((right, y + 18), "to its right >", TINY, SOFT, anchor="rs")
    for column, one in enumerate(rows[0]):
        x = left + column * (CELL_PX + GAP_PX) + CELL_PX / 2
        if one.cell.is_about:
            sheet.text((x, y + 50), "about", TINY, SOFT, anchor="ms")
        sheet.text((x, y + 72), f"{edges_words(one.cell.yaw)}°", TINY, SOFT, anchor="ms")
    y += HEADS_PX
    for row in rows:
        side = "up" if row[0].cell.pitch >= 0 else "down"
        sheet.text((left - 16, y + CELL_PX / 2 - 6), side, TINY, SOFT, anchor="rs")
        sheet.text((left - 16, y + CELL_PX / 2 + 18), f"{edges_words(row[0].cell.pitch)}°", TINY, SOFT, anchor="rs")
        for column, one in enumerate(row):
            _cell(sheet, left + column * (CELL_PX + GAP_PX), int(y), one, thumbnails.get(one.cell))
        y += CELL_PX + GAP_PX
    return y - GAP_PX


def _cell(sheet: _Sheet, x: int, y: int, one: CoveredCell, thumbnail: Image | None) -> None:
    box = (x, y, x + CELL_PX - 1, y + CELL_PX - 1)
    if thumbnail is not None:
        _paste(sheet, x, y, thumbnail, is_pale=one.state == "unneeded")
    elif one.state == "empty":
        sheet.draw.rounded_rectangle(box, 8, outline=LINE, width=2)
    else:
        sheet.draw.rounded_rectangle(box, 8, fill=CARD)
    if one.state in ("missing", "gap"):
        around = (box[0] - 3, box[1] - 3, box[2] + 3, box[3] + 3)
        sheet.draw.rounded_rectangle(around, 10, outline=BAD if one.state == "missing" else DST, width=5)
    if one.here or one.there:
        sheet.text((x + 9, y + CELL_PX - 9), str(one.here), SMALL, "#ffffff")
    if one.there:
        sheet.text((x + CELL_PX - 9, y + CELL_PX - 9), str(one.there), SMALL, DST, anchor="rs")


def _paste(sheet: _Sheet, x: int, y: int, thumbnail: Image, *, is_pale: bool) -> None:
    """Put a face with round corners onto the sheet, darker at the bottom, where the counts stand."""
    small = Pictures.fromarray(np.ascontiguousarray(thumbnail[:, :, ::-1])).resize(
        (CELL_PX, CELL_PX), Pictures.Resampling.LANCZOS
    )
    if is_pale:
        small = Pictures.blend(Pictures.new("RGB", small.size, PAPER), small.convert("L").convert("RGB"), PALE)
    shade = np.clip((np.arange(CELL_PX) - 0.66 * CELL_PX) / (0.34 * CELL_PX), 0, 1)[:, None, None] * 0.85
    dark = Pictures.fromarray((np.asarray(small) * (1 - shade)).astype(np.uint8))
    corners = Pictures.new("L", (2 * CELL_PX, 2 * CELL_PX), 0)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, 2 * CELL_PX - 1, 2 * CELL_PX - 1), 16, fill=255)
    sheet.picture.paste(dark, (x, y), corners.resize((CELL_PX, CELL_PX)))


def _legend(sheet: _Sheet, report: CoverageReport, y: float) -> float:
    x = _sample_cell(sheet, MARGIN_PX + SIDE_PX, y, has_dst=report.there is not None) + 30
    if report.there is None:
        parts = [("gap", DST, "fewer than 3 faces, with poses on both sides")]
    else:
        parts = [
            ("red", BAD, "dst needs it (3 faces or more), src has fewer than 3"),
            ("pale", SOFT, "dst does not need it"),
        ]
    for key, colour, words in parts:
        x = sheet.text((x, y), key, TINY, colour)
        x = sheet.text((x + 8, y), words, TINY, SOFT) + 30
    sheet.text((WIDTH_PX - MARGIN_PX - GAP_PX, y), "each cell: the sharpest face of src", TINY, SOFT, anchor="rs")
    return y


def _sample_cell(sheet: _Sheet, x: float, y: float, *, has_dst: bool) -> float:
    """Show which number of a cell counts what, by words in the places of the numbers; return where that ends."""
    right = x + SAMPLE_PX
    sheet.draw.rounded_rectangle((x, y - 22, right, y + 8), 6, fill=CARD)
    if has_dst:
        sheet.text((x + 9, y), "src", TINY, INK)
        sheet.text((right - 9, y), "dst", TINY, DST, anchor="rs")
    else:
        sheet.text((x + 9, y), "here", TINY, INK)
    return sheet.text((right + 8, y), "number of faces in the cell", TINY, SOFT)


def _shares(sheet: _Sheet, report: CoverageReport, y: float) -> None:
    columns: tuple[tuple[str, Sequence[tuple[str, int, int | None]]], ...] = (
        ("Expression and light", report.expression_rows),
        ("Enlarged by alignment, times", report.upscale_rows),
    )
    width = (WIDTH_PX - 2 * MARGIN_PX - 60) / 2
    for place, (title, rows) in enumerate(columns):
        x = MARGIN_PX + place * (width + 60)
        sheet.text((x, y), title, NORMAL, INK)
        for row, (words, here, there) in enumerate(rows):
            _share(sheet, report, (x, y + 46 + row * BARS_PX), width, (words, here, there))


def _share(
    sheet: _Sheet, report: CoverageReport, at: tuple[float, float], width: float, row: tuple[str, int, int | None]
) -> None:
    words, here, there = row
    (x, y), most = at, width - 190 - 190
    sheet.text((x, y), words, TINY, SOFT)
    sets: list[tuple[int, Tally, str]] = [(here, report.here, SRC)]
    if there is not None and report.there is not None:
        sets.append((there, report.there, DST))
    right = x + width
    for place, (count, tally, colour) in enumerate(sets):
        top = y - 15 + place * 11
        if count:
            long = max(3.0, most * count / max(1, tally.faces))
            sheet.draw.rounded_rectangle((x + 190, top, x + 190 + long, top + 8), 4, fill=colour)
        end = right - (len(sets) - 1 - place) * 92
        sheet.text((end, y), tally.share(count), TINY, colour, anchor="rs")


def _words(sheet: _Sheet, x: float, y: float, parts: Sequence[tuple[str, str]]) -> float:
    for text, colour in parts:
        x = sheet.text((x, y), text, SMALL, colour)
    return x


def _shortened(sheet: _Sheet, text: str, size: int, most_px: float) -> str:
    """Return the end of a text that is too wide: of a path it says most."""
    if sheet.width(text, size) <= most_px:
        return text
    while len(text) > 1 and sheet.width(f"...{text}", size) > most_px:
        text = text[1:]
    return f"...{text}"


def _plain(text: str) -> str:
    return "".join(one if one == "°" or " " <= one <= "~" else "?" for one in text)
