"""`fraud backtest`: try a change on history and see the money."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import engines, options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, print_line, write_json
from fraud_detection.core.file_targets import check_target

if TYPE_CHECKING:
    from fraud_detection.evaluation.comparison import Comparison, Report


@command("backtest")
@options.config
@click.option(
    "--change",
    type=options.PATH,
    multiple=True,
    required=True,
    metavar="FILE",
    help="YAML with blocks of the project file, repeatable.",
)
@click.option(
    "--from",
    "start",
    cls=options.DefaultOption,
    type=options.MOMENT,
    metavar="TIME",
    show_default="end of training",
    help="Start of the period.",
)
@click.option(
    "--to",
    "end",
    cls=options.DefaultOption,
    type=options.MOMENT,
    metavar="TIME",
    show_default="end of history",
    help="End of the period, exclusive.",
)
@options.data
@options.labels
@options.as_of
@engines.engine_options
@click.option("--features", type=options.PATH, help="Feature table to use; with --data it is written there.")
@click.option("--bundle", type=options.PATH, default=options.BUNDLE, help="Bundle of the baseline.")
@click.option("--out", type=options.PATH, default=Path("build/backtest"), help="Folder of the report.")
def backtest(
    output: Output,
    *,
    config: Path,
    change: tuple[Path, ...],
    start: int | None,
    end: int | None,
    data: Path | None,
    labels: tuple[Path, ...],
    as_of: int | None,
    engine_options: engines.EngineOptions,
    features: Path | None,
    bundle: Path,
    out: Path,
) -> None:
    """Backtest a change on history: frauds, customers, reviews and money."""
    import msgspec

    from fraud_detection.backtesting import report as work
    from fraud_detection.project.checks import open_project

    project, screen = open_project(config), output.screen
    engine = engine_options.settings()
    settings = work.BacktestSettings(change, bundle, features, data, labels, start, end, as_of, engine)
    report = work.backtest(project, settings, screen.progress, screen.print)
    screen.finish()
    files = write_report(report, out)
    for line in lines(report):
        print_line(line)
    screen.print(f"wrote {' and '.join(map(str, files))}")
    output.write(msgspec.to_builtins(report))


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write the report for people and for programs into a folder; return the files."""
    from fraud_detection.evaluation.report.page import page

    folder.mkdir(parents=True, exist_ok=True)
    figures = folder / "backtest.json"
    write_json(figures, report)
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


def lines_of(comparison: Comparison) -> Iterator[str]:
    """Yield one comparison as a screen shows it."""
    from fraud_detection.evaluation.messages import headline, unobserved_outcomes

    yield headline(comparison)
    yield from _table(comparison)
    if unobserved := unobserved_outcomes(comparison):
        yield unobserved


def _table(comparison: Comparison) -> Iterator[str]:
    from fraud_detection.evaluation.messages import Row, rows, span

    metrics = comparison.total or comparison.all_payments
    evaluated = sum(week.mature for week in comparison.weeks)
    yield (
        f"{span(metrics)}: {metrics.payments:,} payments; as of {comparison.as_of} the labels of "
        f"{evaluated} of {len(comparison.weeks)} weeks are mature"
    )
    table_rows = [Row("", comparison.baseline, comparison.variant, "difference (95 %)"), *rows(metrics)]
    lines = [(row.figure, row.baseline, row.variant, row.difference) for row in table_rows]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield f"  {'  '.join(cell.ljust(width) for cell, width in zip(line, wide, strict=True))}".rstrip()
