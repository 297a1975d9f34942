"""Draws what a command printed as a picture of a terminal.

dfld status | python docs/images/draw.py "dfld status" docs/images/status.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 96
# rich's own frame loads a font from the network when the picture is shown; any monospaced one does.
FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#1e1e1e"/>
<g transform="translate({terminal_x}, {terminal_y})">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def main() -> int:
    command, target = sys.argv[1:3]
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        console.print(Text(f"$ {command}", style="bold green"))
        for line in sys.stdin.read().splitlines():
            console.print(Text(line, style="bold" if line.startswith("inbox ") else ""), soft_wrap=False)
        Path(target).write_text(
            console.export_svg(title=command, code_format=FRAME, unique_id="dfld"), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
