"""`fraud run`: decide a stream with durable state."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output
from fraud_detection.cli.serve.tally import figures, log_start, log_stop, speed, summary
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.core.outcomes import Outcome

LOG = logging.getLogger(__name__)


@command("run")
@click.option(
    "--source", required=True, help="JSON Lines, CSV or Parquet; - for JSON Lines on standard input."
)
@options.decided_by
@options.state
@click.option("--out", help="Also write decisions there, as JSON Lines; - for standard output.")
@options.log_format
@options.profile_memory
@options.synchronous
@options.accept_loss
def run(
    output: Output,
    *,
    source: str,
    by: options.DecidedBy,
    state: Path,
    out: str | None,
    profile_memory: int,
    synchronous: str,
    accept_loss: bool,
) -> None:
    """Decide a stream, with durable state in one SQLite file."""
    from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
    from fraud_detection.adapters.sqlite.output_file import OutputFile
    from fraud_detection.cli.serve.opening import opened, warn_of_other_rules
    from fraud_detection.engine.decision_json import encode_logged, outcome_line
    from fraud_detection.serving.embedded.service import BYTES_A_MB
    from fraud_detection.serving.embedded.stream_runner import log_recovered, run_stream, source_is_textual

    screen, stop = output.screen, Stop()
    if source != "-" and not Path(source).exists():
        raise ConfigError(f"--source {source}: no such file")
    textual = source_is_textual(source)
    engine, service, releases = opened(
        by, state, textual=textual, synchronous=synchronous, accept_loss=accept_loss
    )
    service.limit_profile_memory(profile_memory * BYTES_A_MB)
    if by.config is None and by.registry is None:
        warn_of_other_rules(engine.project)
    log_recovered(service)
    log_start(engine, source)
    file = None if out is None else OutputFile(service.state_file, out, encode_logged)

    def show(outcomes: list[Outcome]) -> None:
        if file is not None and outcomes:
            file.write([outcome_line(outcome) for outcome in outcomes if not _is_merged(outcome)])
        screen.progress(f"decided: {service.tally.decided:,}", 0.0)

    began = time.perf_counter()
    with ending_on_signals(stop):
        run_stream(service, source, stop, show, releases)
    if file is not None:
        file.close()
    service.close()
    if releases is not None:
        releases.close()
    screen.finish()
    screen.print(summary(service.tally))
    log_stop(service.tally)
    if (refused := service.tally.refused()) is not None:
        LOG.warning(refused, extra={"event": "quarantined"})
    output.write(figures(service.tally) | speed(service.tally, time.perf_counter() - began))


def _is_merged(outcome: Outcome) -> bool:
    """Return whether an event has its line already: that of a refused one whose row counts it."""
    from fraud_detection.core.events import Quarantined

    return isinstance(outcome, Quarantined) and outcome.merged
