"""Draw what commands print as pictures of a terminal, for the README: docs/pictures/demo.svg and explain.svg.

    python -m tools.terminal_pictures [--record DIR]

`--record` runs `fraud demo` in a terminal and `fraud explain` on a decline of its last screen, and keeps both
as text beside the pictures (demo.txt, explain.txt).  The pictures are drawn from that text alone, so the same
text gives the same picture.  What does not fit into a line is wrapped between words.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from fraud_detection.evaluation.report import svg
from tools.terminal_recording import output_of, screens

FOLDER = Path(__file__).resolve().parents[1] / "docs/pictures"
TITLES = {"demo": "make demo, after a minute", "explain": "fraud explain, on a payment of the demo"}
COLUMNS, ROWS = 108, 16
FRAUD = (sys.executable, "-m", "fraud_detection.cli")
CUT = "\n\nRules and lists\n"
ATTRIBUTES = re.compile(r"(?<=\nThe payment\n)(  amount .+\n)(?:  .+\n)+")
"""What the picture of an explanation leaves out, and where it ends: the first screen is small."""
CELL, LINE, EDGE = 7.3, 16.0, 14.0
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
ACROSS, UPRIGHT = "─━┏┓┗┛┳┻╇┡┩└┘┴├┤┼", "│┃┏┓┗┛┳┻╇┡┩└┘┴├┤┼"
PHRASE = re.compile(rf"[^\s{ACROSS}{UPRIGHT}]+(?: [^\s{ACROSS}{UPRIGHT}]+)*")
CONTRIBUTION = re.compile(r"[+-]\d+\.\d{4}")
FIGURES = re.compile(r"(?:\s*\d[\d,.]*)+")
Cell = tuple[int, int]


def picture(title: str, text: str) -> str:
    """Return a screen as SVG; equal text gives an equal picture."""
    rows = list(wrapped(text))
    width, height = 2 * EDGE + COLUMNS * CELL, 2 * EDGE + len(rows) * LINE
    corners = [(1.0, 1.0), (width - 1, 1.0), (width - 1, height - 1), (1.0, height - 1), (1.0, 1.0)]
    parts = [svg.polyline("grid", corners), f'<g font-family="{FONT}">', *_text(rows), "</g>"]
    return svg.file(title, round(width, 1), height, [*parts, *_rules(rows)])


def wrapped(text: str) -> Iterator[str]:
    """Yield lines that fit; what goes on in a next line stands two columns further in."""
    for line in text.splitlines():
        further = " " * (len(line) - len(line.lstrip()) + 2)
        yield from textwrap.wrap(line, COLUMNS, subsequent_indent=further, drop_whitespace=False) or [""]


def _text(rows: Sequence[str]) -> Iterator[str]:
    """Yield the words of each row; what two spaces part has a place of its own, whatever the font is."""
    for number, (row, following) in enumerate(pairwise([*rows, ""])):
        heads = row[:1].isalpha() or row.startswith(("$", "┃")) or bool(FIGURES.fullmatch(following))
        for found in PHRASE.finditer(row):
            x, y = _middle((found.start(), number))
            yield svg.text(x - CELL / 2, y + 4, found.group(), kind=_kind(found.group(), heads=heads))


def _kind(text: str, *, heads: bool) -> str:
    if CONTRIBUTION.fullmatch(text):
        return "below" if text.startswith("+") else "above"
    return "series0" if heads else ""


def _rules(rows: Sequence[str]) -> Iterator[str]:
    """Yield the lines of tables: characters of a font would leave gaps between rows."""
    height, drawn = len(rows), {(x, y): one for y, row in enumerate(rows) for x, one in enumerate(row)}
    across = [[(x, y) for x in range(COLUMNS)] for y in range(height)]
    upright = [[(x, y) for y in range(height)] for x in range(COLUMNS)]
    for ways, characters in ((across, ACROSS), (upright, UPRIGHT)):
        for way in ways:
            for start, end in _runs([cell for cell in way if drawn.get(cell, " ") in characters]):
                yield svg.line("grid", *_middle(start), *_middle(end))


def _runs(cells: Sequence[Cell]) -> Iterator[tuple[Cell, Cell]]:
    """Yield the first and the last of cells that touch."""
    starts = [one for before, one in pairwise([(-9, -9), *cells]) if sum(one) - sum(before) > 1]
    ends = [one for one, after in pairwise([*cells, (9_999, 9_999)]) if sum(after) - sum(one) > 1]
    yield from zip(starts, ends, strict=True)


def _middle(cell: Cell) -> tuple[float, float]:
    return EDGE + (cell[0] + 0.5) * CELL, EDGE + (cell[1] + 0.5) * LINE


def record(directory: Path) -> dict[str, str]:
    """Run the demo, and explain a decline of its last screen; return both screens by their names."""
    output = output_of([*FRAUD, "demo", "--directory", str(directory)], COLUMNS, ROWS)
    live = [one for one in screens(output, ROWS) if "because" in one and "sent " not in one]
    sys.stdout.write(list(screens(output, 100))[-1] + "\n")
    one = surest(live[-1])
    explained = f"$ fraud explain {one} --state build/demo/state.db ...\n{explanation(one, directory)}\n...\n"
    return {"demo": f"$ make demo\n{live[-1]}\n", "explain": explained}


def surest(screen: str) -> str:
    r"""Return the id of the decline with the highest score on a screen of the demo.

    >>> surest("│ a1 │ 9.00 │ 0.61 │ hour 5 │\n│ b2 │ 7.00 │ 0.92 │ hour 4; │\n│    │      │      │ more   │")
    'b2'
    """
    rows = [[cell.strip() for cell in line.split("│")[1:4]] for line in screen.splitlines() if "│" in line]
    return max((float(score), one) for one, _, score in rows if score)[1]


def explanation(one: str, directory: Path) -> str:
    """Return what `fraud explain` prints of a payment of the demo, as far as the picture goes."""
    files = {"--state": "state.db", "--bundle": "bundle", "--history": "history.parquet"}
    where = [word for option, name in files.items() for word in (option, str(directory / name))]
    command = [*FRAUD, "explain", one, *where, "--top", "2"]
    said = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own
    shown = said.stdout.replace(str(directory), "build/demo").partition(CUT)[0]
    return ATTRIBUTES.sub(r"\1  ...\n", shown)


def current(name: str) -> str:
    """Return the picture of a screen that is kept."""
    return picture(TITLES[name], (FOLDER / f"{name}.txt").read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw both pictures, of new screens with `--record`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path, metavar="DIR", help="run the demo there, and keep its screens")
    chosen = parser.parse_args(arguments)
    if chosen.record is not None:
        for name, text in record(chosen.record).items():
            (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")
    for name in TITLES:
        (FOLDER / f"{name}.svg").write_text(current(name), encoding="utf-8")


if __name__ == "__main__":
    main()
