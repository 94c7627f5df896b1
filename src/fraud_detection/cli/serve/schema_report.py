"""`fraud schema-report`: see what drifted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.core.parse.drift import SchemaDrift


@command("schema-report")
@options.state
@click.option("--source", type=options.PATH, help="File of events to survey, instead of --state.")
@click.option(
    "--bundle", type=options.PATH, help="Bundle whose schema and categories are compared with --source."
)
@options.config
def schema_report(
    output: Output, *, state: Path, source: Path | None, bundle: Path | None, config: Path
) -> None:
    """Report schema drift: what differs, since when, in what share of events."""
    import msgspec

    from fraud_detection.core.parse.drift_report import describe

    drift = _recorded(state) if source is None else _surveyed(source, bundle, config)
    rows = drift.rows()
    headline = f"{len(rows)} kinds of drift:" if rows else "each as declared"
    print_line(f"{drift.events:,} payments, {drift.labels:,} labels; {headline}")
    for row in rows:
        print_line(f"  {row.kind}: {describe(row)}")
    drifts = [msgspec.to_builtins(row) for row in rows]
    output.write({"events": drift.events, "labels": drift.labels, "drifts": drifts})


def _recorded(state: Path) -> SchemaDrift:
    from fraud_detection.adapters.sqlite.state_file import StateFile
    from fraud_detection.core.parse.drift import SchemaDrift

    if not state.is_file():
        raise ConfigError(
            f"{state}: no such state file; name one with --state, or a file of events with --source"
        )
    state_file = StateFile(state, reading=True)
    drift = SchemaDrift()
    drift.restore(state_file.checkpoint.surveyed, state_file.checkpoint.surveyed_labels, state_file.drift())
    state_file.close()
    return drift


def _surveyed(source: Path, bundle: Path | None, config: Path) -> SchemaDrift:
    from fraud_detection.project.checks import open_project
    from fraud_detection.serving.batch.schema_survey import survey
    from fraud_detection.serving.load_engine import load_engine

    if bundle is None:
        return survey(open_project(config), source, {})
    engine = load_engine(bundle)
    return survey(engine.project, source, engine.bundle.contents.features.category_encoding)
