"""Writes the files that are made from the code: `make docs`.

    python -m daemon.generated_files [FOLDER]

They are never edited by hand; a test compares each with what this module would write.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from core.files import replace_file
from daemon.arrivals.never_footage import never_footage_page
from daemon.config.docs import SCHEMA_FILE, configuration_page, example_toml, json_schema
from daemon.metrics.catalogue import metrics_page

GENERATED: Mapping[str, Callable[[], str]] = {
    "config.example.toml": example_toml,
    SCHEMA_FILE: lambda: json.dumps(json_schema(), indent=2) + "\n",
    "docs/configuration.md": configuration_page,
    "docs/metrics.md": metrics_page,
    "docs/never-footage.md": never_footage_page,
}
"""File → what it must hold."""


def write_generated(folder: Path) -> list[Path]:
    """Write every generated file that differs below `folder`; return those that were written."""
    written = []
    for name, make in GENERATED.items():
        path, text = folder / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text.encode())
            written.append(path)
    return written


def main() -> int:
    """Write the generated files below the folder given, or the current one."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for path in write_generated(folder):
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
