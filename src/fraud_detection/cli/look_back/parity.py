"""`fraud parity`: prove that served and replayed features are bit-identical."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from fraud_detection.cli import engines
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output
from fraud_detection.core.errors import ConfigError, FraudDetectionError

CATEGORY_ENCODING = {"channel": {"in_store": 0.6, "online": 0.4}}


@command("parity")
@click.option("--events", type=int, default=1_000_000, help="Number of events.")
@click.option("--seed", type=int, default=7, help="Seed of the simulation.")
@engines.engine_options
def parity(output: Output, *, events: int, seed: int, engine_options: engines.EngineOptions) -> None:
    """Compare served and replayed features: they must be bit-identical.

    A stream is served and its log replayed, in partitions with --jobs or --engine spark; exit code 2 where a
    single bit differs.
    """
    import msgspec

    from fraud_detection.audit.parity import check_parity
    from fraud_detection.demo.demo import beyond_the_clock, demo_project
    from fraud_detection.simulator.stream import simulated_events

    if events < 1:
        raise ConfigError("--events: expected at least 1")
    screen, engine = output.screen, engine_options.settings()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "parity.db"
        stream = simulated_events(seed, events)
        report = check_parity(
            beyond_the_clock(demo_project()),
            CATEGORY_ENCODING,
            stream,
            events,
            state,
            screen.progress,
            engine=engine,
        )
    screen.finish()
    screen.print(
        f"{report.events:,} events ({report.transactions:,} payments, {report.labels:,} labels, "
        f"{report.duplicates:,} duplicates, {report.quarantined:,} quarantined; {report.restarts} restarts): "
        f"{report.values_compared:,} values compared, {report.values_different:,} different"
    )
    output.write(msgspec.to_builtins(report))
    missing = report.transactions - report.rows_compared
    if report.values_different or missing:
        raise FraudDetectionError(
            f"{report.values_different:,} values differ, and {missing:,} rows are missing: "
            "the features that are served are not those that a model is trained on"
        )
