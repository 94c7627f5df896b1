"""Terminal output: progress, a live table, plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

PLAIN_EVERY_S = 2.0


class Terminal:
    """Shows the progress of named stages and a live table; `plain` prints lines instead, `quiet` nothing."""

    def __init__(self, *, plain: bool = False, quiet: bool = False, stream: TextIO | None = None) -> None:
        """Draw only on a terminal; anything else gets plain lines."""
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self.plain = plain or not self._stream.isatty()
        self._console = Console(file=self._stream, highlight=False)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._live: Live | None = None
        self._printed_at: dict[str, float] = {}

    def print(self, text: str) -> None:
        """Print one line that stays."""
        if self._quiet:
            return
        if self.plain:
            print(text, file=self._stream, flush=True)
        else:
            self._console.print(text, markup=False, highlight=False)

    def progress(self, stage: str, share: float) -> None:
        """Show that `stage` is done to `share` (0 to 1); what stands before a colon names the stage."""
        if self._quiet:
            return
        name = stage.partition(":")[0]
        if self.plain:
            self._print_throttled(name, stage, share)
        else:
            self._draw(name, stage, share)

    def finish(self) -> None:
        """Leave the bars as they are and go on below them."""
        if self._bars is not None:
            self._bars.stop()
            self._bars, self._tasks = None, {}
        if self._live is not None:
            self._live.stop()
            self._live = None

    def table(
        self, figures: Mapping[str, str], headings: Sequence[str], rows: Sequence[Sequence[str]]
    ) -> None:
        """Show figures above a table of the newest rows; called again it replaces what it showed."""
        if self.plain:
            print(
                "  ".join(f"{name} {value}" for name, value in figures.items()), file=self._stream, flush=True
            )
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Group(_figures(figures), _rows(headings, rows)), refresh=True)

    def _print_throttled(self, name: str, text: str, share: float) -> None:
        now = time.monotonic()
        if now - self._printed_at.get(name, -PLAIN_EVERY_S) >= PLAIN_EVERY_S or share >= 1:
            self._printed_at[name] = now
            percent = f" ({100 * share:.0f} %)" if share > 0 else ""
            print(f"{text}{percent}", file=self._stream, flush=True)

    def _draw(self, name: str, text: str, share: float) -> None:
        if self._bars is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, console=self._console)
            self._bars.start()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(text, total=1.0)
        self._bars.update(self._tasks[name], description=text, completed=share)


def _figures(figures: Mapping[str, str]) -> Table:
    table = Table(show_header=True, box=None, padding=(0, 2))
    for name in figures:
        table.add_column(name, justify="right")
    table.add_row(*figures.values())
    return table


def _rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(expand=True)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
