"""How the running system does, in one look: what a person on call looks at first."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from fraud_detection.adapters.aws.cloudformation import Stack
from fraud_detection.adapters.aws.cloudwatch_logs import LogTail
from fraud_detection.adapters.aws.monitoring import StackMonitor
from fraud_detection.core.errors import ConfigError
from fraud_detection.deployment.logs import CloudTally, entries
from fraud_detection.deployment.settings import Deployment

LOOKED_BACK_S = 60


class CloudStatus(msgspec.Struct, frozen=True):
    """The figures; rates and latencies are those of the last minute.

    model: the bundle that scored last, and `bundle` the one that was deployed: while a canary is out they
    may differ.  iterator_age_ms: the age of the oldest record that waited; None where AWS has not counted it.
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
        return "\n".join([*lines, *([f"endpoint   {self.endpoint_error}"] if self.endpoint_error else [])])


def read_status(
    settings: Deployment,
    stack: Stack,
    monitor: StackMonitor,
    log: Callable[[str, int], LogTail],
    *,
    local: bool,
) -> CloudStatus:
    """Query the services; raise ConfigError when there is no such system."""
    outputs, status = stack.outputs(), stack.status()
    if "LogGroup" not in outputs:
        raise ConfigError(
            f"stack {stack.name} does not exist, or is incomplete: `fraud deploy apply` creates it"
        )
    tally = CloudTally()
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
    )
