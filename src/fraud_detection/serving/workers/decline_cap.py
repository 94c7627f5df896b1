"""The decline cap of one worker: its counts are shared with the other workers, and theirs with it."""

from __future__ import annotations

from fraud_detection.adapters.ipc.shared_counters import SharedCounters
from fraud_detection.core.decide.decline_cap import DeclineCap, DeclineCounts, merged
from fraud_detection.core.decision_settings import DeclineCapSettings


class WorkerDeclineCap(DeclineCap):
    """Counts the worker's own payments, and adds the others' counts at each check.

    What the others decide at the very same time is not seen: of n workers, no more than the declines of n - 1
    batches come on top of the bound.
    """

    def __init__(self, settings: DeclineCapSettings, counters: SharedCounters, counts: DeclineCounts) -> None:
        """Continue from the counts of the worker's state file, and publish them to the others."""
        super().__init__(settings, counts)
        self._counters = counters
        counters.publish(self.counts())

    def allows(self, time_ms: int) -> bool:
        """Return whether a payment of that time may be declined; others' counts are read only if needed."""
        max_declines = self.settings.count
        if max_declines is not None and super().counted(time_ms)[1] >= max_declines:
            return False
        return super().allows(time_ms)

    def counted(self, time_ms: int) -> tuple[int, int]:
        """Return how many payments and declines of all workers are in the interval that ends at a time."""
        payments, declines = super().counted(time_ms)
        more = self._counted(merged(self._counters.others(), self.bucket_ms), time_ms)
        return payments + more[0], declines + more[1]

    def add(self, time_ms: int, *, declined: bool) -> None:
        """Count a payment, for the others too."""
        super().add(time_ms, declined=declined)
        bucket = time_ms // self.bucket_ms
        if not self._counters.set_counts(bucket, *self._buckets.get(bucket, (0, 0))):
            # A bucket that is new may have taken the place of another.
            self._counters.publish(self.counts())
