"""summary.txt: what a person reads about a model in its folder; no program reads it. Pure.

A box of `=`, one line for a value, names to the right and values to the left, as DeepFaceLab draws it.
Source: DeepFaceLab commit 46fc239, models/ModelBase.py (get_summary_text).
"""

from __future__ import annotations

from collections.abc import Mapping

from dfl.model_files import ModelName


def summary_text(model: ModelName, iteration: int, options: Mapping[str, object], device: str) -> str:
    """Return the text of summary.txt, without a newline at its end."""
    head = {"Model name": model.prefix, "Current iteration": iteration}
    names = [str(name) for name in (*head, *options, "Using device")]
    values = [str(value) for value in (*head.values(), *options.values(), device)]
    width, room = max(map(len, names)) + 1, max(map(len, values)) + 1
    whole = width + room + 2

    def line(name: str, value: object) -> str:
        return f"=={name:>{width}}: {value!s:<{room}}=="

    def title(words: str, fill: str) -> str:
        return f"=={words:{fill}^{whole}}=="

    empty = title("", " ")
    lines = [title(" Model Summary ", "="), empty]
    for name, value in head.items():
        lines += [line(name, value), empty]
    lines += [title(" Model Options ", "-"), empty, *(line(name, value) for name, value in options.items()), empty]
    lines += [title(" Running On ", "-"), empty, line("Using device", device), empty, title("", "=")]
    return "\n".join(lines)
