"""What the client of a load writes down: latencies, statuses, and slices of time, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable

from benchmarks.load_generator.load import Latencies, Load, Plan, Slice
from fraud_detection.core.metrics import LatencyHistogram


def latencies(histogram: LatencyHistogram) -> Latencies:
    """Return the percentiles of what a histogram has counted."""
    if not histogram.count:
        return Latencies(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    longest = 1000 * histogram.longest_s
    p50, p90, p99, p99_9 = (histogram.percentile_ms(percentile) for percentile in (50, 90, 99, 99.9))
    return Latencies(histogram.count, p50, p90, p99, p99_9, longest)


class Record:
    """Counts the requests that were due after the warm-up; times are seconds after the start.

    on_slice: takes each slice at its end.  A slice stays open for one slice more, for answers that are late.
    """

    def __init__(self, plan: Plan, on_slice: Callable[[Slice], None]) -> None:
        """Start with nothing counted."""
        self.plan, self.on_slice = plan, on_slice
        self.all, self.lag = LatencyHistogram(), LatencyHistogram()
        self.statuses: dict[int, int] = {}
        self.broken = self.without_response = self.waiting_max = 0
        self.last_response = 0.0
        self._open: dict[int, tuple[LatencyHistogram, list[int]]] = {}
        self._first_open = 0

    def started(self, due: float, now: float) -> None:
        """Count how late the client took up a request."""
        if due >= self.plan.warm_up_s:
            self.lag.add(max(now - due, 0.0))

    def count_response(self, due: float, now: float, status: int) -> None:
        """Count a whole answer."""
        if due < self.plan.warm_up_s:
            return
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.last_response = now
        self._count(due, now, wrong=status != OK)

    def failure(self, due: float, now: float, *, broken: bool) -> None:
        """Count a request whose line broke, or that was not answered when the timeout passed."""
        if due < self.plan.warm_up_s:
            return
        self.broken += broken
        self.without_response += not broken
        self._count(due, now, wrong=True)

    def close_slices(self, now: float) -> None:
        """Report the slices that ended at least one slice ago; all of them at infinity."""
        slice_s = self.plan.slice_s
        if not slice_s:
            return
        over = math.inf if now == math.inf else (now - self.plan.warm_up_s) / slice_s - 1
        for number in sorted(self._open):
            if number + 1 > over:
                return
            histogram, errors = self._open.pop(number)
            self._first_open = number + 1
            self.on_slice(Slice(number * slice_s, latencies(histogram), errors[0]))

    def load(self, sent: int, cpu_share: float) -> Load:
        """Return the whole."""
        plan, completed = self.plan, sum(self.statuses.values())
        took = max(self.last_response - plan.warm_up_s, 0.0)
        if plan.rate is not None:
            took = max(took, plan.seconds) / (2 if plan.turn_s else 1)
        return Load(
            target_per_s=plan.rate or 0.0,
            completed_per_s=completed / took if took else 0.0,
            latencies=latencies(self.all),
            statuses={str(status): count for status, count in sorted(self.statuses.items())},
            broken=self.broken,
            without_response=self.without_response,
            lag=latencies(self.lag),
            waiting_max=self.waiting_max,
            sent=sent,
            cpu_share=cpu_share,
        )

    def _count(self, due: float, now: float, *, wrong: bool) -> None:
        self.all.add(now - due)
        if self.plan.slice_s:
            number = max(int((due - self.plan.warm_up_s) / self.plan.slice_s), self._first_open)
            histogram, errors = self._open.setdefault(number, (LatencyHistogram(), [0]))
            histogram.add(now - due)
            errors[0] += wrong


OK = 200
