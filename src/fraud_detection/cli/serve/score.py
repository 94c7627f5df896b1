"""`fraud score`: decide a file once."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, open_output
from fraud_detection.cli.serve.tally import figures, log_start, log_stop, summary
from fraud_detection.core.errors import ConfigError

LOG = logging.getLogger(__name__)


@command("score")
@click.argument("file")
@options.bundle
@options.own_config
@click.option("--history", type=options.PATH, help="File of historical payments to load first.")
@click.option("--out", default="-", help="Where to write decisions; - for standard output.")
@options.log_format
def score(
    output: Output, *, file: str, bundle: Path, config: Path | None, history: Path | None, out: str
) -> None:
    """Decide a file once: a line of JSON for each row.

    FILE is JSON Lines, CSV or Parquet; - for JSON Lines on standard input.
    """
    from fraud_detection.cli.serve.opening import project_of, warn_of_other_rules
    from fraud_detection.history.load import History, read_history
    from fraud_detection.serving.batch.score_file import score_file, score_pipe
    from fraud_detection.serving.load_engine import load_engine

    if file != "-" and not Path(file).exists():
        raise ConfigError(f"{file}: no such file")
    if history is not None and not history.exists():
        raise ConfigError(f"--history {history}: no such file")
    screen = output.screen
    engine = load_engine(bundle, project_of(config))
    if config is None:
        warn_of_other_rules(engine.project)
    if history is None and engine.project.schema.entities:
        names = ", ".join(engine.project.schema.entities)
        message = "no --history: every %s is new to it, as few were in training"
        LOG.warning(message, names, extra={"event": "no_history"})
    loaded_history = History() if history is None else read_history(engine.project, history, screen.progress)
    log_start(engine, file)
    with open_output(out) as lines:
        if file == "-":
            tally = score_pipe(engine, lines, loaded_history.payments)
        else:
            tally = score_file(engine, Path(file), lines.write, screen.progress, loaded_history)
    screen.finish()
    screen.print(summary(tally))
    log_stop(tally)
    output.write(figures(tally))
    if (refused := tally.refused()) is not None:
        if tally.is_misfit:
            raise ConfigError(f"{file}: {refused}")
        LOG.warning(refused, extra={"event": "quarantined"})
