"""What the request door counts, in the text format of Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from fraud_detection.adapters.background import Background
from fraud_detection.events import Action
from fraud_detection.metrics import LatencyHistogram
from fraud_detection.run.request_door import RequestDoor

QUANTILES = (50.0, 90.0, 99.0, 99.9)


def exposition(door: RequestDoor, statuses: Mapping[int, int]) -> str:
    """Return every metric, each with its help and type."""
    return "\n".join([*_lines(door, statuses), ""])


def _lines(door: RequestDoor, statuses: Mapping[int, int]) -> Iterator[str]:
    tally = door.door.tally
    yield from head("fraud_decisions_total", "counter", "Payments decided, by answer.")
    for action in Action:
        yield f'fraud_decisions_total{{action="{action.label}"}} {tally.actions[action]}'
    counts = {
        "fraud_quarantined_total": (tally.quarantined, "Events that can never be decided."),
        "fraud_repeated_total": (tally.repeated, "Events that had come before."),
        "fraud_conflicts_total": (
            tally.conflicts,
            "Payments with the id of another: set aside.",
        ),
        "fraud_internal_errors_total": (
            tally.internal_errors,
            "Payments reviewed, or events set aside, because the program met an error with them.",
        ),
        "fraud_labels_total": (tally.labels, "Labels taken in."),
        "fraud_limited_total": (tally.limited, "Payments reviewed because no more may be declined."),
        "fraud_let_through_total": (tally.let_through, "Payments approved by lot, to learn what they are."),
        "fraud_forbidden_events_total": (tally.forbidden, "Events whose sender lacked the role for them."),
        "fraud_refused_events_total": (door.refused, "Events refused because too many waited."),
    }
    for name, (count, words) in counts.items():
        yield from head(name, "counter", words)
        yield f"{name} {count}"
    yield from head("fraud_requests_total", "counter", "HTTP requests, by status.")
    for status, count in sorted(statuses.items()):
        yield f'fraud_requests_total{{status="{status}"}} {count}'
    yield from _background(door.door.site.background)
    yield from head("fraud_release", "gauge", "The release that answers; 0 without a folder of releases.")
    yield f"fraud_release {door.door.release}"
    yield from head("fraud_waiting_events", "gauge", "Events that wait to be decided.")
    yield f"fraud_waiting_events {door.waiting}"
    yield from summary("fraud_wait_seconds", "From being taken to being answered.", door.waits)
    yield from summary(
        "fraud_engine_seconds", "The engine's own time a payment, commit included.", tally.engine
    )
    yield from head("fraud_stage_seconds", "summary", "Of it, by stage: the time of the payment's batch.")
    for stage, latency in door.door.stages.items():
        yield from _values("fraud_stage_seconds", latency, f'stage="{stage}"')


def _background(background: Background) -> Iterator[str]:
    """Yield which parts of the background work are healthy, and how often each failed."""
    parts = sorted(background.parts.items())
    yield from head("fraud_background_up", "gauge", "Whether a part of the background work is healthy.")
    for name, part in parts:
        yield f'fraud_background_up{{part="{name}"}} {int(part.healthy)}'
    words = "How often a part of the background work failed."
    yield from head("fraud_background_failures_total", "counter", words)
    for name, part in parts:
        yield f'fraud_background_failures_total{{part="{name}"}} {part.failures}'
    words = "Whether somebody should look at what a part has found, such as a broken file of keys."
    yield from head("fraud_background_warning", "gauge", words)
    for name, _ in parts:
        yield f'fraud_background_warning{{part="{name}"}} {int(name in background.warnings)}'


def head(name: str, kind: str, words: str) -> list[str]:
    """Return the lines that say what a metric is."""
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]


def summary(name: str, words: str, latency: LatencyHistogram) -> Iterator[str]:
    """Yield the lines of a histogram."""
    yield from head(name, "summary", words)
    yield from _values(name, latency)


def _values(name: str, latency: LatencyHistogram, label: str = "") -> Iterator[str]:
    for percent in QUANTILES:
        value = latency.percentile_ms(percent) / 1000
        labels = ",".join(filter(None, [label, f'quantile="{percent / 100:g}"']))
        yield f"{name}{{{labels}}} {'NaN' if math.isnan(value) else f'{value:.6g}'}"
    yield f"{name}_count{f'{{{label}}}' if label else ''} {latency.count}"
