"""Merge the metrics of all workers, with the worker as a label of each sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fraud_detection.serving.http.prometheus import exposition, head, summary

if TYPE_CHECKING:
    from fraud_detection.serving.workers.router import Router

LAG_HELP = "From another worker's commit until it was applied to the shared profiles here, an event."


def own_metrics(router: Router) -> str:
    """Return the metrics of one worker, with those of its RPC and replication."""
    return exposition(router.requests, router.statuses) + "\n".join([*_of_links(router), ""])


def _of_links(router: Router) -> Iterator[str]:
    replicator = router.replicator
    counts = {
        "fraud_forwarded_events_total": (router.forwarded, "Events forwarded to the workers that own them."),
        "fraud_replicated_events_total": (replicator.replicated, "Replicated events of other workers."),
        "fraud_rate_shared_events_total": (router.shared, "Events counted against a share of a key's rate."),
        "fraud_replication_retries_total": (replicator.retries, "Parts of a log that had to be retried."),
    }
    for name, (count, help_text) in counts.items():
        yield from head(name, "counter", help_text)
        yield f"{name} {count}"
    yield from summary("fraud_replication_lag_seconds", LAG_HELP, replicator.lag)


def merged(texts: Mapping[int, str | None]) -> str:
    r"""Return the metrics of all workers, each metric once; None stands for a worker that is down.

    >>> text = "# HELP n Words.\n# TYPE n counter\nn{a=\"b\"} 1\nn 2\n"
    >>> print(merged({0: text, 1: None}), end="")
    # HELP n Words.
    # TYPE n counter
    n{worker="0",a="b"} 1
    n{worker="0"} 2
    # HELP fraud_worker_up Whether the worker replies.
    # TYPE fraud_worker_up gauge
    fraud_worker_up{worker="0"} 1
    fraud_worker_up{worker="1"} 0
    """
    families: dict[str, list[str]] = {}
    for worker, text in texts.items():
        for name, lines in _families(text or "").items():
            heading = [line for line in lines if line.startswith("#")]
            samples = [_of_worker(line, worker) for line in lines if not line.startswith("#")]
            families.setdefault(name, heading).extend(samples)
    up = [f'fraud_worker_up{{worker="{worker}"}} {int(text is not None)}' for worker, text in texts.items()]
    families["fraud_worker_up"] = [*head("fraud_worker_up", "gauge", "Whether the worker replies."), *up]
    return "".join(f"{line}\n" for lines in families.values() for line in lines)


def _families(text: str) -> dict[str, list[str]]:
    """Return the lines of each metric, its help and type first."""
    families: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
        families.setdefault(name, []).append(line)
    return families


def _of_worker(sample: str, worker: int) -> str:
    name, value = sample.rsplit(" ", 1)
    bare, brace, labels = name.partition("{")
    return f'{bare}{{worker="{worker}"{"," + labels if brace else "}"} {value}'
