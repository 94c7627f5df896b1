"""What is in a table of features that was made, in figures."""

from __future__ import annotations

import msgspec

from fraud_detection.training.tables.partitioned_job import PartitionedTable


class FeaturesReport(msgspec.Struct, frozen=True):
    """Result of making a feature table.

    decided: payments of state files; control_group: those of them that stand for others, left_out: those
    that others stand for.
    immature_count: payments in no slice, since their labels are immature at `moment`, in ms: the one that was
    named, or the last one that history knows of.
    """

    payments: int
    refused: int
    duplicates: int
    unmatched_labels: int
    labelled: int
    frauds: int
    features: int
    fingerprint: str
    decided: int = 0
    control_group: int = 0
    left_out: int = 0
    immature_count: int = 0
    moment: int | None = None
    conflicts: int = 0


def partitioned_report(table: PartitionedTable) -> FeaturesReport:
    """Return the report of a table that was made in partitions."""
    history, counts = table.history, table.history.counts
    refused = sum(read.refused for read in counts.files.values())
    immature_from = table.info.boundaries.test_until
    return FeaturesReport(
        payments=len(history.times),
        refused=refused,
        duplicates=counts.joined.duplicates,
        unmatched_labels=counts.joined.unmatched_labels,
        labelled=history.labelled,
        frauds=history.frauds,
        features=len(table.info.features),
        fingerprint=table.info.fingerprint,
        decided=counts.joined.decided,
        control_group=table.control_group,
        left_out=table.left_out,
        immature_count=int((history.times >= immature_from).sum()),
        moment=history.moment,
        conflicts=counts.joined.conflicts,
    )
