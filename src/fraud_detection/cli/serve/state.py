"""`fraud state create`: a new state file, empty or with the memory of historical payments."""

from __future__ import annotations

from pathlib import Path

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import group
from fraud_detection.cli.printing import Output


@group("state")
def state() -> None:
    """Create a state file."""


@state.command("create")
@click.argument("path", type=options.PATH, default=options.STATE)
@click.option("--history", type=options.PATH, help="File of historical payments to load.")
@options.decided_by
@options.workers("Number of workers, with a state file each.")
def create(
    output: Output,
    *,
    path: Path,
    history: Path | None,
    by: options.DecidedBy,
    workers: int,
) -> None:
    """Create a state file for `fraud run` or `fraud serve`."""
    from fraud_detection.cli.serve.opening import engine_of
    from fraud_detection.serving.create_state import new_state

    engine = None if history is None else engine_of(by)
    count = new_state(path, workers, engine, history, output.screen.progress)
    output.screen.finish()
    whose = "" if workers == 1 else f" for each of {workers} workers"
    contents = "its profiles are empty" if engine is None else f"its profiles hold {count:,} payments"
    output.screen.print(f"{path}: made{whose}; {contents}")
    output.write({"payments": count, "workers": workers})
