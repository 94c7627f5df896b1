"""What `fraud score` and `fraud run` say of the payments that they decided."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fraud_detection.engine.counters import Tally
    from fraud_detection.engine.engine import Engine

LOG = logging.getLogger(__name__)


def log_start(engine: Engine, source: str) -> None:
    """Log what decides which stream."""
    extra = {"event": "started", "bundle": engine.bundle.name, "source": source}
    LOG.info("bundle %s decides %s", engine.bundle.name, "a pipe" if source == "-" else source, extra=extra)


def log_stop(tally: Tally) -> None:
    """Log how many payments were decided."""
    message = "stopped: payments decided: %s"
    LOG.info(message, f"{tally.decided:,}", extra={"event": "stopped", **figures(tally)})


def summary(tally: Tally) -> str:
    """Return what came in and what became of it, in two lines."""
    approve, review, decline = tally.actions
    conflicts = f" + {tally.conflicts:,} in conflict" if tally.conflicts else ""
    duplicates = tally.duplicates - tally.duplicate_labels
    return (
        f"{tally.transactions:,} transactions in = {tally.decided:,} decided + "
        f"{tally.quarantined:,} quarantined{conflicts} (and {duplicates:,} duplicates, "
        f"{tally.labels:,} labels, {tally.duplicate_labels:,} duplicate labels)\n"
        f"approve {approve:,}, review {review:,}, decline {decline:,}"
    )


def figures(tally: Tally) -> dict[str, object]:
    """Return the same as numbers."""
    approve, review, decline = tally.actions
    return {
        "transactions": tally.transactions,
        "decided": tally.decided,
        "quarantined": tally.quarantined,
        "conflicts": tally.conflicts,
        "duplicates": tally.duplicates,
        "labels": tally.labels,
        "approve": approve,
        "review": review,
        "decline": decline,
    }


def speed(tally: Tally, seconds: float) -> dict[str, object]:
    """Return how fast a service was; the engine's own time a payment, with the commit."""
    return {
        "seconds": seconds,
        "transactions_per_s": tally.transactions / seconds,
        "p50_ms": tally.engine.percentile_ms(50),
        "p99_ms": tally.engine.percentile_ms(99),
    }
