"""The demonstration: simulate payments, train on the history, decide its payments as they come.

At the end it compares the decisions with the ground truth.  The sender is a process of its
own that keeps its rate whatever happens here, and stamps each payment with the time it was due: the latency
counts all waiting.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import msgspec

from fraud_detection.adapters.files.event_sources import Pipe
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.host.stopping import Stop
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.adapters.sqlite.tables import create_state
from fraud_detection.core.events import Action
from fraud_detection.core.features.replay import Replay
from fraud_detection.core.outcomes import Decided
from fraud_detection.core.project_schema import Project
from fraud_detection.demo.decision_quality import DecidedPayment, Quality, quality
from fraud_detection.engine.counters import Tally
from fraud_detection.history.load import History, Progress, read_history
from fraud_detection.project.loader import load_project
from fraud_detection.serving.embedded.service import EmbeddedService, store_replayed_history
from fraud_detection.serving.embedded.stream_runner import BATCH, open_service
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import DAY, SimulatorSettings
from fraud_detection.training.stages import store_table
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.workflow import refit_bundle, train

SHOW_EVERY_S = 0.25
NEWEST = 8


class DemoSettings(msgspec.Struct, frozen=True):
    """How long, how fast, which simulation, and where everything is put."""

    seconds: float
    rate: float
    simulation: SimulatorSettings
    directory: Path
    drift: tuple[str, ...] = ()


class DemoView(msgspec.Struct):
    """What is shown while payments stream in."""

    tally: Tally
    started: float
    newest: deque[Decided]

    def rate(self) -> float:
        """Return decisions a second since the first one."""
        return self.tally.decided / max(time.monotonic() - self.started, 1e-9)


class DemoReport(msgspec.Struct):
    """The honest summary."""

    transactions: int
    decided: int
    quarantined: int
    duplicates: int
    labels: int
    approve: int
    review: int
    decline: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    engine_p50_ms: float
    engine_p99_ms: float
    transactions_per_s: float
    seconds_to_first_decision: float
    quality: Quality


def demo_project() -> Project:
    """Return the project file of the simulation."""
    return load_project(Path(str(files("fraud_detection") / "simulated.yaml")))


def beyond_the_clock(project: Project) -> Project:
    """Return the project for a simulation that runs faster than the clock: no time is too far ahead of it."""
    event_time = msgspec.structs.replace(project.schema.event_time, max_future_skew=None)
    schema = msgspec.structs.replace(project.schema, event_time=event_time)
    return msgspec.structs.replace(project, schema=schema)


def prepare(settings: DemoSettings, project: Project, progress: Progress) -> None:
    """Simulate a history, train on it, and leave a bundle and a state file with its profiles."""
    folder = settings.directory
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("state.db*"):
        stale.unlink()
    history, replay = learn(settings, project, progress)
    create_state(folder / "state.db")
    state_file = StateFile(folder / "state.db")
    store_replayed_history(state_file, replay, history.payments, labels_in_stream=True)
    state_file.close()


def learn(settings: DemoSettings, project: Project, progress: Progress) -> tuple[History, Replay]:
    """Simulate history.parquet and train a bundle on it; return the history and its profiles."""
    folder, simulation = settings.directory, settings.simulation
    history_path = folder / "history.parquet"
    write_history(
        simulation,
        history_path,
        None,
        lambda day, _: progress("simulating the history", day / simulation.days),
    )
    history = read_history(project, history_path, progress)
    dataset, replay = feature_table(project, history, progress, exact=True)
    table = folder / "features.parquet"
    store_table(table, project, dataset, history, [history_path])
    trained = train(project, table, folder / "bundle", progress=progress)
    # The stream goes on from here, with the labels that become known from now on.
    refit_bundle(trained, table, progress=progress, as_of=simulation.epoch + simulation.days * DAY)
    return history, replay


def stream(settings: DemoSettings, stop: Stop, show: Callable[[DemoView], None]) -> DemoView:
    """Decide live payments until the time is up or somebody stops it; every event taken is answered."""
    _, service = open_service(settings.directory / "bundle", settings.directory / "state.db")
    sender = subprocess.Popen(_sender(settings), stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603 - ours
    try:
        with few_collections():
            return _decide(service, sender, stop, show)
    finally:
        sender.terminate()
        sender.wait()
        service.close()


def summarise(settings: DemoSettings, view: DemoView, first_decision_s: float) -> DemoReport:
    """Compare what was decided with what the simulator knows to be true."""
    tally = view.tally
    state_file = StateFile(settings.directory / "state.db", reading=True)
    rows = state_file.rows("SELECT transaction_id, score, action, event FROM decisions ORDER BY seq")
    state_file.close()
    approve, review, decline = tally.actions
    return DemoReport(
        transactions=tally.transactions,
        decided=tally.decided,
        quarantined=tally.quarantined,
        duplicates=tally.duplicates - tally.duplicate_labels,
        labels=tally.labels,
        approve=approve,
        review=review,
        decline=decline,
        p50_ms=tally.latency.percentile_ms(50),
        p99_ms=tally.latency.percentile_ms(99),
        max_ms=1000 * tally.latency.longest_s,
        engine_p50_ms=tally.engine.percentile_ms(50),
        engine_p99_ms=tally.engine.percentile_ms(99),
        transactions_per_s=view.rate(),
        seconds_to_first_decision=first_decision_s,
        quality=quality(demo_project(), settings.simulation, [DecidedPayment(*row) for row in rows]),
    )


def _decide(
    service: EmbeddedService, sender: subprocess.Popen[bytes], stop: Stop, show: Callable[[DemoView], None]
) -> DemoView:
    view = DemoView(service.tally, 0.0, deque(maxlen=NEWEST))
    shown = 0.0
    for batch in _output(sender).batches(0, BATCH):
        outcomes = service.take(batch, "stream") if batch.events else []
        service.run_deferred_work()
        now = time.monotonic()
        view.started = view.started or (now if outcomes else 0.0)
        view.newest.extend(
            outcome
            for outcome in outcomes
            if isinstance(outcome, Decided) and outcome.decision.action is Action.DECLINE
        )
        if now - shown >= SHOW_EVERY_S:
            shown = now
            show(view)
        if stop.requested:
            break
    return view


def _output(sender: subprocess.Popen[bytes]) -> Pipe:
    if sender.stdout is None:
        raise ValueError("the sender was started without a pipe for its output")
    return Pipe(sender.stdout.fileno())


def _sender(settings: DemoSettings) -> list[str]:
    command = [sys.executable, "-m", "fraud_detection.cli", "generate", "stream", "--to", "-", "--plain"]
    simulation = settings.simulation
    command += [f"--rate={settings.rate}", f"--seconds={settings.seconds}"]
    command += [f"--seed={simulation.seed}", f"--cards={simulation.cards}", f"--days={simulation.days}"]
    return command + [part for drift in settings.drift for part in ("--drift", drift)]
