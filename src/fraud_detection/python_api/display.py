"""How reports show themselves in a notebook: small tables, escaped, without scripts."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table.

    >>> table(["name"], [["<b>"]])
    '<table><tr><th>name</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def pictures(files: Iterable[Path]) -> str:
    """Return PNG files as images that the page itself holds."""
    return "".join(
        f'<img alt="{html.escape(file.stem)}" '
        f'src="data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}">'
        for file in files
    )


def framed(page: str) -> str:
    """Return a whole HTML page in a frame of its own, so that its style stays its own."""
    return f'<iframe style="width:100%;height:70em;border:0" srcdoc="{html.escape(page)}"></iframe>'
