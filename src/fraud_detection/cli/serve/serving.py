"""`fraud score`, `run` and `schema-report`: decide files and streams, and see what drifted."""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from pathlib import Path

import msgspec

from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
from fraud_detection.adapters.sqlite.connection import WAIT_FOR_LOCK_S
from fraud_detection.adapters.sqlite.output_file import OutputFile
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.cli.arguments import BUNDLE
from fraud_detection.cli.losses import accept_losses
from fraud_detection.cli.printing import (
    Figures,
    output,
    print_line,
    terminal,
    write_figures,
)
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Quarantined
from fraud_detection.core.outcomes import Outcome
from fraud_detection.core.parse.drift import SchemaDrift
from fraud_detection.core.parse.drift_report import describe
from fraud_detection.core.project_schema import Project
from fraud_detection.engine.counters import Tally
from fraud_detection.engine.decision_json import outcome_line, told_line
from fraud_detection.engine.engine import Engine
from fraud_detection.history.load import History, read_history
from fraud_detection.project.checks import open_project
from fraud_detection.project.loader import load_project
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.serving.batch.schema_survey import survey
from fraud_detection.serving.batch.score_file import score_file, score_pipe
from fraud_detection.serving.embedded.release_follower import ReleaseFollower
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.embedded.stream_runner import (
    log_recovered,
    open_released_service,
    open_service,
    run_stream,
    source_is_textual,
)
from fraud_detection.serving.load_engine import load_engine

LOG = logging.getLogger(__name__)
PROJECT_FILE = Path("params.yaml")


def score(arguments: Namespace) -> None:
    """Decide a file or standard input once."""
    screen = terminal(arguments)
    engine = load_engine(arguments.bundle, today(arguments))
    _warn_of_other_rules(arguments, engine.project)
    if arguments.history is None and engine.project.schema.entities:
        names = ", ".join(engine.project.schema.entities)
        words = "no --history: every %s is new to it, as few were in training"
        LOG.warning(words, names, extra={"event": "no_history"})
    past = (
        read_history(engine.project, arguments.history, screen.progress) if arguments.history else History()
    )
    _log_start(engine, arguments.file)
    with output(arguments.out) as out:
        if arguments.file == "-":
            tally = score_pipe(engine, out, past.payments)
        else:
            tally = score_file(engine, Path(arguments.file), out.write, screen.progress, past)
    screen.finish()
    screen.say(summary(tally))
    _log_stop(tally)
    write_figures(arguments, figures(tally))
    if (refused := tally.refused()) is not None:
        if tally.is_misfit:
            raise ConfigError(f"{arguments.file}: {refused}")
        LOG.warning(refused, extra={"event": "quarantined"})


def run(arguments: Namespace) -> None:
    """Decide a stream with durable state, until it ends or is interrupted."""
    screen, stop = terminal(arguments), Stop()
    if arguments.source != "-" and not Path(arguments.source).exists():
        raise ConfigError(f"--source {arguments.source}: no such file")
    textual = source_is_textual(arguments.source)
    engine, service, releases = opened(arguments, textual=textual)
    _warn_of_other_rules(arguments, engine.project)
    log_recovered(service)
    _log_start(engine, arguments.source)
    out = None if arguments.out is None else OutputFile(service.state_file, arguments.out, told_line)

    def show(outcomes: list[Outcome]) -> None:
        if out is not None and outcomes:
            out.write([outcome_line(outcome) for outcome in outcomes if not _is_merged(outcome)])
        screen.progress(f"decided: {service.tally.decided:,}", 0.0)

    began = time.perf_counter()
    with ending_on_signals(stop):
        run_stream(service, arguments.source, stop, show, releases)
    if out is not None:
        out.close()
    service.close()
    if releases is not None:
        releases.close()
    screen.finish()
    screen.say(summary(service.tally))
    _log_stop(service.tally)
    if (refused := service.tally.refused()) is not None:
        LOG.warning(refused, extra={"event": "quarantined"})
    write_figures(arguments, figures(service.tally) | speed(service.tally, time.perf_counter() - began))


def _log_start(engine: Engine, source: str) -> None:
    extra = {"event": "started", "bundle": engine.bundle.name, "source": source}
    LOG.info("bundle %s decides %s", engine.bundle.name, "a pipe" if source == "-" else source, extra=extra)


def _log_stop(tally: Tally) -> None:
    words = "stopped: %s payments were decided"
    LOG.info(words, f"{tally.decided:,}", extra={"event": "stopped", **figures(tally)})


def opened(
    arguments: Namespace, *, textual: bool = False, wait_s: float = WAIT_FOR_LOCK_S
) -> tuple[Engine, EmbeddedService, ReleaseFollower | None]:
    """Open a service over the state file, by a bundle or by what is live."""
    if arguments.accept_loss:
        accept_losses([arguments.state])
    if arguments.live is None:
        engine, service = open_service(
            arguments.bundle or BUNDLE,
            arguments.state,
            project=today(arguments),
            textual=textual,
            synchronous=arguments.synchronous,
            wait_s=wait_s,
        )
        return engine, service, None
    if arguments.bundle is not None or arguments.config is not None:
        raise ConfigError(
            "--live says what answers: leave out --bundle and --config, and change it with `fraud release`"
        )
    return open_released_service(
        ReleaseRegistry(arguments.live),
        arguments.state,
        textual=textual,
        synchronous=arguments.synchronous,
        wait_s=wait_s,
    )


def schema_report(arguments: Namespace) -> None:
    """Say how the events differed from the declared schema."""
    screen = terminal(arguments)
    drift = _surveyed(arguments) if arguments.source is not None else _recorded(arguments.state)
    rows = drift.rows()
    found = f"{len(rows)} kinds of drift:" if rows else "each as declared"
    print_line(f"{drift.events:,} payments, {drift.labels:,} labels; {found}")
    for row in rows:
        print_line(f"  {row.kind}: {describe(row)}")
    screen.finish()
    write_figures(
        arguments,
        {
            "events": drift.events,
            "labels": drift.labels,
            "drifts": [msgspec.to_builtins(row) for row in rows],
        },
    )


def summary(tally: Tally) -> str:
    """Return what came in and what became of it, in two lines."""
    approve, review, decline = tally.actions
    conflicts = f" + {tally.conflicts:,} in conflict" if tally.conflicts else ""
    repeated = tally.repeated - tally.repeated_labels
    return (
        f"{tally.transactions:,} transactions in = {tally.decided:,} decided + "
        f"{tally.quarantined:,} quarantined{conflicts} (and {repeated:,} repeated, "
        f"{tally.labels:,} labels, {tally.repeated_labels:,} repeated labels)\n"
        f"approve {approve:,}, review {review:,}, decline {decline:,}"
    )


def figures(tally: Tally) -> Figures:
    """Return the same as numbers."""
    approve, review, decline = tally.actions
    return {
        "transactions": tally.transactions,
        "decided": tally.decided,
        "quarantined": tally.quarantined,
        "conflicts": tally.conflicts,
        "repeated": tally.repeated,
        "labels": tally.labels,
        "approve": approve,
        "review": review,
        "decline": decline,
    }


def speed(tally: Tally, seconds: float) -> Figures:
    """Return how fast a service was; the engine's own time a payment, with the commit."""
    return {
        "seconds": seconds,
        "transactions_per_s": tally.transactions / seconds,
        "p50_ms": tally.engine.percentile_ms(50),
        "p99_ms": tally.engine.percentile_ms(99),
    }


def _is_merged(outcome: Outcome) -> bool:
    """Tell whether an event has its line already: that of a refused one whose row counts it."""
    return isinstance(outcome, Quarantined) and outcome.merged


def _warn_of_other_rules(arguments: Namespace, used: Project) -> None:
    """Warn when the project file at hand answers differently than the bundle's copy of it."""
    if arguments.config is not None or getattr(arguments, "live", None) or not PROJECT_FILE.is_file():
        return
    try:
        here = load_project(PROJECT_FILE)
    except ConfigError:
        return
    if here.project == used.project and (here.rules, here.policy) != (used.rules, used.policy):
        LOG.warning(
            "%s has other rules or another policy than the bundle, whose own are used; decide by the file's "
            "with --config %s",
            PROJECT_FILE,
            PROJECT_FILE,
            extra={"event": "other_rules"},
        )


def today(arguments: Namespace) -> Project | None:
    """Return the project file of today, if one was given."""
    return None if arguments.config is None else open_project(arguments.config)


def _recorded(state: Path) -> SchemaDrift:
    if not state.is_file():
        raise ConfigError(
            f"{state}: no such state file; name one with --state, or a file of events with --source"
        )
    state_file = StateFile(state, reading=True)
    drift = SchemaDrift()
    drift.restore(state_file.progress.surveyed, state_file.progress.surveyed_labels, state_file.drift())
    state_file.close()
    return drift


def _surveyed(arguments: Namespace) -> SchemaDrift:
    if arguments.bundle is not None:
        engine = load_engine(arguments.bundle)
        return survey(engine.project, arguments.source, engine.bundle.contents.features.vocabulary)
    return survey(open_project(arguments.config), arguments.source, {})
