"""The coverage report as one HTML page: no scripts, nothing loaded from anywhere, pictures inside it. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

import cv2

from core.text import escaped
from engine.facesets.coverage.grid import CoveredCell
from engine.facesets.coverage.report import CoverageReport, Lack
from engine.facesets.coverage.tallies import UPSCALE_ADVISED, Tally
from engine.facesets.coverage.words import cell_degrees, cell_words, edges_words
from engine.facesets.curation.cells import ABOUT_FROM_DEGREES, CELL_DEGREES, PoseCell
from engine.facesets.curation.verdicts import reason_words
from engine.types import Image

JPEG_QUALITY = 82
_MINUS = "\u2212"
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1d22;--soft:#646b78;--paper:#f6f6f4;--card:#fff;--line:#dcdde0;--cell:#ececea;
--src:#2f6fdb;--dst:#d98a16;--bad:#d3353c;--good:#2a8f57}
@media(prefers-color-scheme:dark){:root{--ink:#e9eaed;--soft:#9aa1ae;--paper:#15171b;--card:#1d2026;--line:#30343d;
--cell:#262a31;--src:#6ba1ff;--dst:#f0b64a;--bad:#ff5a5f;--good:#4fc786}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1220px;margin:0 auto;padding:32px 20px 56px}
h1{font-size:26px;line-height:1.25;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:16px;margin:0 0 12px}
.sub,.faint,footer{color:var(--soft)}.sub{margin:4px 0 20px}
.src{color:var(--src)}.dst{color:var(--dst)}.bad{color:var(--bad)}.good{color:var(--good)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 20px}
.card,.figures div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.card{margin:0 0 20px}.figures b{display:block;font-size:24px;line-height:1.2;font-variant-numeric:tabular-nums}
.lacks{margin:0;padding:0;list-style:none;columns:2 420px;column-gap:36px}
.lacks li{break-inside:avoid;padding:3px 0 3px 18px;position:relative}
.lacks li::before{content:"";position:absolute;left:0;top:11px;width:9px;height:9px;border:2px solid var(--bad);
border-radius:2px}
.lacks .faint{display:block;font-size:13px;line-height:1.3}
.scroll{overflow-x:auto}
.grid{display:grid;grid-template-columns:88px repeat(var(--columns),minmax(62px,1fr));gap:4px;min-width:880px;
padding:4px 4px 4px 0}
.grid .head{font-size:12px;color:var(--soft);text-align:center;align-self:end;line-height:1.2;padding-bottom:2px;
font-variant-numeric:tabular-nums}
.grid .side{white-space:nowrap;font-size:12px;color:var(--soft);text-align:right;align-self:center;
padding-right:8px;line-height:1.2;
font-variant-numeric:tabular-nums}
.axis{display:flex;justify-content:space-between;padding-left:92px;color:var(--soft);font-size:13px;margin-bottom:4px;
min-width:880px}
.cell{position:relative;aspect-ratio:1;border-radius:6px;background:var(--cell);overflow:hidden}
.cell img{position:absolute;inset:0;width:100%;height:100%;object-fit:cover}
.cell.empty{background:none;box-shadow:inset 0 0 0 1px var(--line)}
.cell.missing,.cell.gap{box-shadow:0 0 0 3px var(--bad)}.cell.gap{box-shadow:0 0 0 2px var(--dst)}
.cell.unneeded img{filter:saturate(.25) opacity(.55)}
.cell p{position:absolute;left:0;right:0;bottom:0;margin:0;padding:9px 5px 2px;display:flex;justify-content:
space-between;font-size:12px;font-weight:600;line-height:1.35;color:#fff;background:linear-gradient(transparent,#000c);
font-variant-numeric:tabular-nums}
.cell p .dst{color:#ffcf6e}.cell.bare p{background:none;color:var(--ink)}.cell.bare p .dst{color:var(--dst)}
.legend{display:flex;flex-wrap:wrap;gap:8px 22px;margin-top:14px;font-size:13px;color:var(--soft)}
.legend i{display:inline-block;width:13px;height:13px;border-radius:3px;margin-right:6px;vertical-align:-2px;
background:var(--cell)}
.legend .l-missing{box-shadow:0 0 0 2px var(--bad)}.legend .l-gap{box-shadow:0 0 0 2px var(--dst)}
.legend .l-empty{background:none;box-shadow:inset 0 0 0 1px var(--soft)}
.legend .l-counts{display:inline-flex;width:62px;justify-content:space-between;padding:1px 5px;border-radius:4px;
margin-right:6px;background:var(--cell);color:var(--ink);font-weight:600}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(330px,1fr));gap:20px}
table{border-collapse:collapse;width:100%;table-layout:fixed;font-variant-numeric:tabular-nums}
td,th{padding:4px 0;text-align:left;font-weight:400;vertical-align:middle}td.n{text-align:right;white-space:nowrap;
width:118px;padding-left:10px}
th{width:132px;color:var(--soft)}
.bar{height:7px;border-radius:4px;background:var(--src);margin:2px 0;min-width:2px}.bar.d{background:var(--dst)}
.bar.r{background:var(--soft)}
footer{font-size:13px;margin-top:8px}footer p{margin:4px 0}
"""


def coverage_page(report: CoverageReport, thumbnails: Mapping[PoseCell, Image]) -> str:
    """Return the page; names of files and folders are text in it, whatever they hold."""
    body = "".join(
        (
            f"<h1>{_text(report.here_name)}</h1>",
            f'<p class="sub">{_subtitle(report)}</p>',
            _figures(report),
            _lacks(report),
            _grid(report, thumbnails),
            '<div class="cards">',
            _expressions(report),
            _upscales(report),
            _aside(report),
            "</div>",
            _footer(),
        )
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>Coverage: {_text(report.here_name)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _subtitle(report: CoverageReport) -> str:
    if report.there_name is None:
        return "Which poses, expressions and light this faceset shows"
    return f'What <b class="src">src</b> shows of what <b class="dst">dst</b> needs: {_text(report.there_name)}'


def _figures(report: CoverageReport) -> str:
    figures = (
        f"<div><b>{number}</b>{words if kind == '' else words.replace(kind, f'<span class={kind}>{kind}</span>')}</div>"
        for number, words, kind in report.figures
    )
    return f'<div class="figures">{"".join(figures)}</div>'


def _lacks(report: CoverageReport) -> str:
    lacks = (*report.poses, *report.others)
    if not lacks:
        return f'<section class="card"><b class="good">{report.nothing_lacks}</b></section>'
    items = "".join(f"<li>{_lack(one)}</li>" for one in lacks)
    return f'<section class="card"><h2>{report.lacks_title}: {len(lacks)}</h2><ul class="lacks">{items}</ul></section>'


def _lack(lack: Lack) -> str:
    dst = "" if lack.there is None else f'<span class="dst">dst {_count(lack.there)}</span>, '
    degrees = f' <span class="faint">{lack.degrees.replace("-", _MINUS)}</span>' if lack.degrees else ""
    return f'<b>{lack.words}:</b> {dst}<span class="src">src {_count(lack.here)}</span>{degrees}'


def _grid(report: CoverageReport, thumbnails: Mapping[PoseCell, Image]) -> str:
    rows = report.shown_rows
    heads = "".join(f'<div class="head">{_yaw_head(one.cell)}</div>' for one in rows[0])
    lines = []
    for row in rows:
        side = "up" if row[0].cell.pitch >= 0 else "down"
        lines.append(f'<div class="side">{side}<br>{_degrees(row[0].cell.pitch)}</div>')
        lines += [_cell(one, thumbnails.get(one.cell)) for one in row]
    return (
        '<section class="card"><h2>Poses</h2><div class="scroll">'
        '<div class="axis"><span>← looks to the picture’s left</span><span>to its right →</span></div>'
        f'<div class="grid" style="--columns:{len(rows[0])}"><div></div>{heads}{"".join(lines)}</div></div>'
        f"{_legend(report)}</section>"
    )


def _cell(one: CoveredCell, thumbnail: Image | None) -> str:
    title = f"{cell_words(one.cell)} ({cell_degrees(one.cell)}): src {one.here}"
    title += "" if one.there is None else f", dst {one.there}"
    title += "" if one.sharpest is None else f". Sharpest: {one.sharpest}"
    picture = "" if thumbnail is None else f'<img alt="" src="{_data_url(thumbnail)}">'
    counts = ""
    if one.here or one.there:
        there = f'<span class="dst">{_count(one.there)}</span>' if one.there else ""
        counts = f"<p><span>{_count(one.here)}</span>{there}</p>"
    bare = "" if thumbnail is not None else " bare"
    return f'<div class="cell {one.state}{bare}" title="{_text(title)}">{picture}{counts}</div>'


def _legend(report: CoverageReport) -> str:
    if report.there is None:
        keys = [
            ('<span class="l-counts">here</span>', "number of faces in the cell"),
            ('<i class="l-gap"></i>', "gap: fewer than 3 faces, with poses on both sides"),
        ]
    else:
        keys = [
            (
                '<span class="l-counts"><span>src</span><span class="dst">dst</span></span>',
                "number of faces in the cell",
            ),
            ('<i class="l-missing"></i>', "dst needs it (3 faces or more), and src has fewer than 3"),
            ('<i style="opacity:.5"></i>', "pale: dst does not need it"),
        ]
    keys.append(('<i class="l-empty"></i>', "no face, and none that is needed"))
    keys.append(("", "Each cell shows the sharpest face of src."))
    return '<div class="legend">' + "".join(f"<span>{key} {text}</span>" for key, text in keys) + "</div>"


def _yaw_head(cell: PoseCell) -> str:
    about = "about<br>" if cell.is_about else ""
    return f"{about}{_degrees(cell.yaw)}"


def _degrees(index: int) -> str:
    """Return the edges of a cell, with the sign that is as wide as a digit."""
    return f"{edges_words(index)}°".replace("-", _MINUS)


def _expressions(report: CoverageReport) -> str:
    rows = "".join(_shares(report, *row) for row in report.expression_rows)
    return f'<section class="card"><h2>Expression and light</h2><table>{rows}</table></section>'


def _shares(report: CoverageReport, words: str, here: int, there: int | None) -> str:
    bars = [_bar(here, report.here)]
    numbers = [f'<span class="src">{report.here.share(here)}</span>']
    if report.there is not None and there is not None:
        bars.append(_bar(there, report.there, "d"))
        numbers.append(f'<span class="dst">{report.there.share(there)}</span>')
    return f'<tr><th>{words}</th><td>{"".join(bars)}</td><td class="n">{" · ".join(numbers)}</td></tr>'


def _upscales(report: CoverageReport) -> str:
    rows = "".join(_shares(report, *row) for row in report.upscale_rows)
    advice = ""
    if report.here.advised_size_px is not None:
        sizes = ", ".join(map(str, report.here.sizes_px[:3]))
        advice = (
            f'<p class="faint">Aligned at {sizes} px; {report.here.advised_size_px} px is the largest usual size at '
            f"which half of the faces are enlarged at most {UPSCALE_ADVISED:g} times.</p>"
        )
    return f'<section class="card"><h2>Enlarged by alignment, times</h2><table>{rows}</table>{advice}</section>'


def _aside(report: CoverageReport) -> str:
    if not report.aside:
        return ""
    most = max(count for _, count in report.aside)
    rows = "".join(
        f'<tr><th style="width:210px">{reason_words(reason)}</th><td><div class="bar r" style="width:'
        f'{100 * count / most:.1f}%"></div></td><td class="n">{_count(count)}</td></tr>'
        for reason, count in report.aside
    )
    total = _count(sum(count for _, count in report.aside))
    return f'<section class="card"><h2>Set aside: {total} faces of src</h2><table>{rows}</table></section>'


def _footer() -> str:
    lines = (
        f"A cell is {CELL_DEGREES} by {CELL_DEGREES} degrees. Left and right are those of the picture. Turns beyond "
        f"{ABOUT_FROM_DEGREES} degrees are labelled about: 68 points of a picture say little of the angle there.",
        "Made by dfld. It holds pictures of faces: share it as you would share those.",
    )
    return f"<footer>{''.join(f'<p>{line}</p>' for line in lines)}</footer>"


def _bar(count: int, tally: Tally, kind: str = "") -> str:
    if not count:
        return '<div class="bar" style="visibility:hidden"></div>'
    return f'<div class="bar {kind}" style="width:{100 * count / max(1, tally.faces):.1f}%"></div>'


def _count(number: int) -> str:
    """Return a number with a thin space between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def _data_url(image: Image) -> str:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _text(text: str) -> str:
    return escape(escaped(text), quote=True)
