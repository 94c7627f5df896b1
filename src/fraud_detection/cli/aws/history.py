"""`fraud deploy history`: history that outgrows one machine, replayed on EMR Serverless."""

from __future__ import annotations

from pathlib import Path

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output


@command("history")
@options.settings
@options.config
@click.option("--data", required=True, metavar="URI", help="Object of historical payments in S3.")
@click.option("--labels", multiple=True, metavar="URI", help="Object of more labels in S3, repeatable.")
@options.as_of
@click.option("--out", required=True, metavar="URI", help="Where in S3 the table goes.")
@click.option("--no-wait", is_flag=True, help="Start the run, and do not wait for its end.")
def history(
    output: Output,
    *,
    settings: Path,
    config: Path,
    data: str,
    labels: tuple[str, ...],
    as_of: int | None,
    out: str,
    no_wait: bool,
) -> None:
    """Replay history in S3 into a table of features in S3.

    Given again while its run is under way, it follows that run.
    """
    from fraud_detection.cli.aws.cloud import open_runs
    from fraud_detection.deployment.history_package import job_package
    from fraud_detection.deployment.history_run import Order
    from fraud_detection.project.checks import open_project

    screen = output.screen
    open_project(config)
    runs, chosen = open_runs(settings, screen.print)
    package = job_package(chosen)
    if not package.compiled:
        screen.print("the hot modules are sent as plain Python: same values, slower")
    started = runs.start(Order(config.read_bytes(), data, labels, out, as_of), package)
    screen.print(f"run {started.id} on application {started.application}; its log: {started.log}")
    if no_wait:
        output.write({"run": started.id, "log": started.log})
        return
    try:
        finished = runs.follow(started)
    except KeyboardInterrupt:
        screen.print("the run continues: the same command follows it, `fraud deploy status` shows it")
        raise
    for line in finished.lines(out):
        screen.print(line)
    output.write({"run": started.id, "log": started.log, "table": out, **finished.report})
