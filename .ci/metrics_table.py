"""Print the figures of `evaluation/metrics.json` as a Markdown table, beside those of another file.

    python .ci/metrics_table.py evaluation/metrics.json [base.json]

Figures that only describe the data come with the others: when they differ, the rest cannot be compared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

Figures = Mapping[str, float]


def table(now: Figures, base: Figures) -> str:
    """Return one row a figure of either side; a figure that is missing is a dash.

    >>> print(table({"auc": 0.97, "days": 13.0}, {"auc": 0.96}))
    | figure | now | base | change |
    |---|--:|--:|--:|
    | auc | **0.97** | 0.96 | +0.01 |
    | days | **13** | - | |
    """
    names = [*now, *(name for name in base if name not in now)]
    rows = [_row(name, now.get(name), base.get(name)) for name in names]
    return "\n".join(["| figure | now | base | change |", "|---|--:|--:|--:|", *rows])


def _row(name: str, now: float | None, base: float | None) -> str:
    words = name.replace("_", " ")
    if now is None or base is None:
        return f"| {words} | {_bold(now)} | {_text(base)} | |"
    if now == base:
        return f"| {words} | {_text(now)} | {_text(base)} | |"
    return f"| {words} | {_bold(now)} | {_text(base)} | {now - base:+,.6g} |"


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:,.6f}".rstrip("0").rstrip(".")


def _bold(value: float | None) -> str:
    return _text(value) if value is None else f"**{_text(value)}**"


def main(arguments: Sequence[str]) -> int:
    """Read one or two files, print the table."""
    if not 1 <= len(arguments) <= 2:  # noqa: PLR2004 - as the usage says
        sys.stderr.write("usage: metrics_table.py METRICS [BASE]\n")
        return 2
    now, base = (json.loads(Path(path).read_text()) for path in (*arguments, arguments[-1])[:2])
    sys.stdout.write(table(now, base) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
