"""How the running system does, in one look: what a person on call looks at first."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import msgspec

from fraud_detection.adapters.aws.cloudformation import Stack
from fraud_detection.adapters.aws.cloudwatch_logs import LogTail
from fraud_detection.adapters.aws.emr_serverless import EmrApplication, JobRun
from fraud_detection.adapters.aws.monitoring import StackMonitor
from fraud_detection.core.errors import ConfigError
from fraud_detection.deployment.logs import CloudTally, entries
from fraud_detection.deployment.settings import Deployment

LOOKED_BACK_S = 60
SHOWN_RUNS = 3


class HistoryStatus(msgspec.Struct, frozen=True):
    """The application that replays history, and its last job runs, the newest first."""

    state: str
    runs: tuple[JobRun, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield it as a person reads it."""
        yield f"history    application {self.state}" + ("" if self.runs else ", no run yet")
        for run in self.runs:
            details = f": {run.details}" if run.details else ""
            yield f"           {run.created_at} run {run.id} {run.state}{details}"


def history_status(application: EmrApplication) -> HistoryStatus:
    """Ask the application."""
    return HistoryStatus(application.state(), tuple(itertools.islice(application.runs(), SHOWN_RUNS)))


class CloudStatus(msgspec.Struct, frozen=True):
    """The figures; rates and latencies are those of the last minute.

    model: the bundle that scored last, and `bundle` the one that was deployed: while a canary is out they
    may differ.  iterator_age_ms: the age of the oldest record that waited; None where AWS has not counted it.
    history: None where the settings do not ask for an application that replays it.
    """

    stack: str
    status: str
    bundle: str
    model: str
    endpoint: str
    transactions_per_s: float
    quarantined: int
    conflicts: int
    degraded: int
    retries: int
    p50_ms: float
    p99_ms: float
    iterator_age_ms: float | None
    failures: int
    alarms: dict[str, str]
    endpoint_error: str = ""
    history: HistoryStatus | None = None

    def __str__(self) -> str:
        """Return it as a person reads it."""
        risen = [name for name, state in self.alarms.items() if state == "ALARM"]
        silent = sum(state == "INSUFFICIENT_DATA" for state in self.alarms.values())
        quiet = f"none of {len(self.alarms)}" + (f", {silent} of them without data" if silent else "")
        iterator_age = (
            "not counted" if self.iterator_age_ms is None else f"{self.iterator_age_ms / 1000:.1f} s"
        )
        latency = f"put to decision p50 {self.p50_ms:,.0f} ms, p99 {self.p99_ms:,.0f} ms"
        if not self.transactions_per_s:
            latency = "nothing was decided in the last minute"
        model = self.model or "no model decided in the last minute"
        refused = f"{self.quarantined:,} quarantined, {self.conflicts:,} in conflict"
        lines = [
            f"stack      {self.stack}: {self.status}",
            f"model      {self.bundle} deployed, {model}; endpoint {self.endpoint}",
            f"decisions  {self.transactions_per_s:,.1f}/s, {self.degraded:,} without a score",
            f"refused    {refused}; {self.retries:,} batches to be retried",
            f"latency    {latency}",
            f"lag        oldest record {iterator_age}",
            f"failed     {self.failures:,} batches in the dead-letter queue",
            f"alarms     {', '.join(risen) or quiet}",
        ]
        lines += [f"endpoint   {self.endpoint_error}"] if self.endpoint_error else []
        return "\n".join([*lines, *(() if self.history is None else self.history.lines())])


def read_status(
    settings: Deployment,
    stack: Stack,
    monitor: StackMonitor,
    log: Callable[[str, int], LogTail],
    application: Callable[[str], EmrApplication],
    *,
    local: bool,
) -> CloudStatus:
    """Query the services; raise ConfigError when there is no such system."""
    outputs, status = stack.outputs(), stack.status()
    if "LogGroup" not in outputs:
        raise ConfigError(
            f"stack {stack.name} does not exist, or is incomplete: `fraud deploy apply` creates it"
        )
    tally, history = CloudTally(), outputs.get("HistoryApplication")
    for entry in entries(log(outputs["LogGroup"], round(1000 * (time.time() - LOOKED_BACK_S))).news()):
        tally.add(entry)
    return CloudStatus(
        stack=stack.name,
        status=status,
        bundle=outputs["Bundle"],
        model=tally.model,
        endpoint="local" if local else monitor.endpoint(outputs["Endpoint"]),
        transactions_per_s=tally.decided / LOOKED_BACK_S,
        quarantined=tally.quarantined,
        conflicts=tally.conflicts,
        degraded=tally.degraded,
        retries=tally.retries,
        p50_ms=tally.put_ms.percentile_ms(50),
        p99_ms=tally.put_ms.percentile_ms(99),
        iterator_age_ms=monitor.oldest_ms(settings.function_name),
        failures=monitor.waiting(outputs["Failures"]),
        alarms=monitor.alarms(f"{settings.name}-"),
        endpoint_error=tally.endpoint_error,
        history=history_status(application(history)) if history is not None else None,
    )
