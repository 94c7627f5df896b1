"""What the HTTP service counts, in the text format of Prometheus."""

from __future__ import annotations

import math
import platform
import resource
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from fraud_detection.adapters.host.background import Background
from fraud_detection.core import metrics
from fraud_detection.core.events import Action
from fraud_detection.core.metrics import LatencyHistogram
from fraud_detection.serving.http.batcher import RequestBatcher

BOUNDS_S = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
TICKS_PER_S = 100
"""Of /proc: what Linux shows to every program."""


def exposition(requests: RequestBatcher, statuses: Mapping[int, int]) -> str:
    """Return every metric, each with its help and type."""
    return "\n".join([*_lines(requests, statuses), ""])


def _lines(requests: RequestBatcher, statuses: Mapping[int, int]) -> Iterator[str]:
    tally = requests.service.tally
    yield from head("fraud_decisions_total", "counter", "Payments decided, by action.")
    for action in Action:
        yield f'fraud_decisions_total{{action="{action.label}"}} {tally.actions[action]}'
    counts = {
        "fraud_quarantined_total": (tally.quarantined, "Events that can never be decided."),
        "fraud_duplicates_total": (tally.duplicates, "Duplicate events."),
        "fraud_conflicts_total": (
            tally.conflicts,
            "Payments with the id of another: quarantined.",
        ),
        "fraud_internal_errors_total": (
            tally.internal_errors,
            "Payments reviewed, or events quarantined, because of an internal error.",
        ),
        "fraud_labels_total": (tally.labels, "Labels applied."),
        "fraud_decline_cap_total": (tally.capped, "Payments reviewed because no more may be declined."),
        "fraud_control_group_total": (
            tally.control_group,
            "Payments approved as control group, to observe their outcome.",
        ),
        "fraud_forbidden_events_total": (tally.forbidden, "Events whose sender lacked the role for them."),
        "fraud_overload_rejected_events_total": (
            requests.refused,
            "Events rejected because the queue was full.",
        ),
    }
    for name, (count, help_text) in counts.items():
        yield from head(name, "counter", help_text)
        yield f"{name} {count}"
    yield from head("fraud_requests_total", "counter", "HTTP requests, by status.")
    for status, count in sorted(statuses.items()):
        yield f'fraud_requests_total{{status="{status}"}} {count}'
    yield from _process()
    yield from _background(requests.service.state_file.background)
    yield from _lags(requests)
    yield from head("fraud_release", "gauge", "The release in use; 0 without a release registry.")
    yield f"fraud_release {requests.service.release}"
    yield from head("fraud_queue_events", "gauge", "Queued events.")
    yield f"fraud_queue_events {requests.waiting}"
    yield from summary("fraud_request_latency_seconds", "From being queued to the result.", requests.waits)
    yield from summary(
        "fraud_engine_seconds", "The engine's own time a payment, commit included.", tally.engine
    )
    yield from head("fraud_stage_seconds", "histogram", "Of it, by stage: the time of the payment's batch.")
    for stage, latency in requests.service.stages.items():
        yield from _values("fraud_stage_seconds", latency, f'stage="{stage}"')


def _background(background: Background) -> Iterator[str]:
    """Yield which background tasks are healthy, and how often each failed."""
    tasks = sorted(background.tasks.items())
    yield from head("fraud_background_up", "gauge", "Whether a background task is healthy.")
    for name, task in tasks:
        yield f'fraud_background_up{{task="{name}"}} {int(task.healthy)}'
    help_text = "How often a background task failed."
    yield from head("fraud_background_failures_total", "counter", help_text)
    for name, task in tasks:
        yield f'fraud_background_failures_total{{task="{name}"}} {task.failures}'
    help_text = "Whether a task reports a warning, such as an invalid file of keys."
    yield from head("fraud_background_warning", "gauge", help_text)
    for name, _ in tasks:
        yield f'fraud_background_warning{{task="{name}"}} {int(name in background.warnings)}'


def _lags(requests: RequestBatcher) -> Iterator[str]:
    """Yield the lag of background inputs, and how many events are not in saved profiles."""
    help_text = "For how long an input has not been at its end."
    yield from head("fraud_consumer_lag_seconds", "gauge", help_text)
    for source, lag_s in sorted(requests.lags.items()):
        yield f'fraud_consumer_lag_seconds{{source="{source}"}} {lag_s():.6g}'
    profile_cache = requests.service.pipeline.profile_cache
    help_text = "Events that a restart has to reapply: their profiles are not saved yet."
    yield from head("fraud_unsaved_events", "gauge", help_text)
    yield f"fraud_unsaved_events {profile_cache.sequence + 1 - profile_cache.oldest_unsaved_seq()}"
    help_text = "What profiles take in memory, about; `--profile-memory` bounds it."
    yield from head("fraud_profile_memory_bytes", "gauge", help_text)
    yield f"fraud_profile_memory_bytes {profile_cache.resident.total_bytes()}"


def head(name: str, kind: str, help_text: str) -> list[str]:
    """Return the lines that say what a metric is."""
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]


def summary(name: str, help_text: str, latency: LatencyHistogram) -> Iterator[str]:
    """Yield the lines of a histogram."""
    yield from head(name, "histogram", help_text)
    yield from _values(name, latency)


def _values(name: str, latency: LatencyHistogram, label: str = "") -> Iterator[str]:
    counts, total = latency.cumulative(BOUNDS_S)
    count = latency.count
    for bound, below in (*zip(BOUNDS_S, counts, strict=True), (math.inf, count)):
        shown = "+Inf" if math.isinf(bound) else f"{bound:g}"
        labels = ",".join(filter(None, [label, f'le="{shown}"']))
        yield f"{name}_bucket{{{labels}}} {below}"
    of = f"{{{label}}}" if label else ""
    yield f"{name}_sum{of} {total:.6g}"
    yield f"{name}_count{of} {count}"


def _process() -> Iterator[str]:
    """Yield what the process is and uses, by the names that Prometheus clients give these."""
    build = {
        "version": version("fraud-detection-system"),
        "python": platform.python_version(),
        "compiled": str(not metrics.__file__.endswith(".py")).lower(),
    }
    labels = ",".join(f'{name}="{value}"' for name, value in build.items())
    yield from head("fraud_build_info", "gauge", "What runs here; always 1.")
    yield f"fraud_build_info{{{labels}}} 1"
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield from head("process_cpu_seconds_total", "counter", "CPU time used, of user and system, in seconds.")
    yield f"process_cpu_seconds_total {used.ru_utime + used.ru_stime:.6g}"
    proc = Path("/proc/self")
    if not proc.is_dir():
        return
    pages = int((proc / "statm").read_text().split()[1])
    started = int((proc / "stat").read_text().rpartition(")")[2].split()[19]) / TICKS_PER_S
    gauges = {
        "process_resident_memory_bytes": ("Resident memory in bytes.", pages * resource.getpagesize()),
        "process_open_fds": ("Open file descriptors.", len(list((proc / "fd").iterdir()))),
        "process_start_time_seconds": (
            "When it started, in s since 1970.",
            f"{time.time() - time.monotonic() + started:.3f}",
        ),
    }
    for name, (help_text, value) in gauges.items():
        yield from head(name, "gauge", help_text)
        yield f"{name} {value}"
