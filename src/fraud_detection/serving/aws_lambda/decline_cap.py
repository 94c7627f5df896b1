"""The decline cap of the Lambda function: a new one for every batch, which continues from stored counts.

No function keeps state between two batches, and a batch may come again, cut in another way.  So what
was counted is stored with the journal of the shard, up to the last event of the last batch that has ended.
"""

from __future__ import annotations

from fraud_detection.adapters.aws.state.dynamodb_counts import ShardCounts
from fraud_detection.core.decide.decline_cap import DeclineCounts, SharedDeclineCap
from fraud_detection.core.decision_settings import DeclineCapSettings
from fraud_detection.engine.pipeline import Pipeline


class ShardDeclineCap:
    """Gives each pipeline of a batch its decline cap, and stores its counts.

    settings: None without a decline cap; then all of this does nothing.
    """

    def __init__(self, settings: DeclineCapSettings | None, counts: ShardCounts) -> None:
        """Take the counts of the shard, which its deduplication index reads and writes."""
        self._settings, self._counts = settings, counts

    def join(self, pipeline: Pipeline) -> None:
        """Let a pipeline continue from the stored counts."""
        if self._settings is not None:
            counts = self._counts
            pipeline.decision_engine.decline_cap = SharedDeclineCap(
                self._settings, counts.settled, counts.others
            )
            pipeline.counted_through = counts.through

    def begin(self, pipeline: Pipeline) -> None:
        """Publish the declines of the current batch to the other shards, before it ends."""
        if self._settings is not None:
            self._counts.begin(_counts(pipeline))

    def end(self, pipeline: Pipeline) -> None:
        """Commit the counts of a pipeline, all of whose decisions are stored."""
        if self._settings is not None:
            self._counts.counted(pipeline.counted_through, _counts(pipeline))


def _counts(pipeline: Pipeline) -> DeclineCounts:
    decline_cap = pipeline.decision_engine.decline_cap
    return DeclineCounts() if decline_cap is None else decline_cap.counts()
