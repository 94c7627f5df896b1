"""`fraud backtest`: try a change on history and see the money."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fraud_detection.backtesting.report import BacktestSettings, backtest
from fraud_detection.cli.printing import print_line, terminal, write_figures
from fraud_detection.core.file_targets import check_target
from fraud_detection.evaluation.comparison import Comparison, Report
from fraud_detection.evaluation.messages import Row, headline, rows, span, unseen
from fraud_detection.evaluation.report.page import page
from fraud_detection.project.checks import open_project


def try_changes(arguments: Namespace) -> None:
    """Decide history again with each change, print what differs, and write the page."""
    project, screen = open_project(arguments.config), terminal(arguments)
    settings = BacktestSettings(
        tuple(arguments.change),
        arguments.bundle,
        arguments.features,
        arguments.data,
        tuple(arguments.labels),
        arguments.start,
        arguments.end,
        arguments.as_of,
    )
    report = backtest(project, settings, screen.progress, screen.say)
    screen.finish()
    files = write_report(report, arguments.out)
    for line in lines(report):
        print_line(line)
    screen.say(f"wrote {' and '.join(map(str, files))}")
    write_figures(arguments, msgspec.to_builtins(report))


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write the report for people and for programs into a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = folder / "backtest.json"
    check_target(figures).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    shown = folder / "backtest.html"
    check_target(shown).write_text(page(report), encoding="utf-8")
    return [shown, figures]


def lines(report: Report) -> Iterator[str]:
    """Yield the report as a screen shows it."""
    for note in report.notes:
        yield f"note: {note}"
    for variant in report.variants:
        yield ""
        yield f"{variant.name}: {'; '.join(variant.changes) or 'changes nothing'}"
        yield from lines_of(variant.comparison)


def lines_of(found: Comparison) -> Iterator[str]:
    """Yield one comparison as a screen shows it."""
    yield headline(found)
    yield from _table(found)
    if said := unseen(found):
        yield said


def _table(found: Comparison) -> Iterator[str]:
    part = found.total or found.traffic
    judged = sum(week.mature for week in found.weeks)
    yield (
        f"{span(part)}: {part.payments:,} payments; as of {found.as_of} the labels of {judged} of "
        f"{len(found.weeks)} weeks are in"
    )
    told = [Row("", found.first, found.second, "difference (95 %)"), *rows(part)]
    lines = [(row.figure, row.first, row.second, row.difference) for row in told]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield f"  {'  '.join(cell.ljust(width) for cell, width in zip(line, wide, strict=True))}".rstrip()
