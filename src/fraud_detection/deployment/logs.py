"""The Lambda function's log read back: lines as a person reads them, and the counts of what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from fraud_detection.core.metrics import LatencyHistogram

SHOWN = ("internal_error", "decision", "quarantined", "conflict", "retry")


class CloudTally(msgspec.Struct):
    """What the lines of a log say, added up.

    actions: decisions by action.  relogged: decisions logged again after a batch was retried.
    write_conflicts: profiles that another shard had changed before they were saved. stages_ms: of all
    batches, by stage.
    """

    actions: Counter[str] = msgspec.field(default_factory=Counter)
    degraded: int = 0
    relogged: int = 0
    quarantined: int = 0
    conflicts: int = 0
    duplicates: int = 0
    labels: int = 0
    batches: int = 0
    retries: int = 0
    write_conflicts: int = 0
    model: str = ""
    endpoint_error: str = ""
    put_ms: LatencyHistogram = msgspec.field(default_factory=LatencyHistogram)
    stages_ms: Counter[str] = msgspec.field(default_factory=Counter)
    decided_ids: set[str] = msgspec.field(default_factory=set)

    @property
    def decided(self) -> int:
        """Return how many payments were decided."""
        return len(self.decided_ids)

    def add(self, entry: dict[str, Any]) -> None:
        """Count one line."""
        match entry["type"]:
            case "decision":
                self._decision(entry)
            case "quarantined":
                self.quarantined += 1
            case "conflict":
                self.conflicts += 1
            case "retry":
                self.retries += 1
            case "batch":
                self.batches += 1
                self.duplicates += entry["duplicates"]
                self.labels += entry["labels"]
                self.write_conflicts += entry["write_conflicts"]
                self.endpoint_error = entry["endpoint_error"] or self.endpoint_error
                self.stages_ms.update(entry["stages_ms"])

    def _decision(self, entry: dict[str, Any]) -> None:
        if entry["transaction_id"] in self.decided_ids:
            self.relogged += 1
            return
        self.decided_ids.add(entry["transaction_id"])
        self.actions[entry["action"]] += 1
        self.degraded += entry["score"] is None
        self.model = entry["delivery"].get("model") or self.model
        self.put_ms.add(entry["delivery"]["iterator_latency_ms"] / 1000)


def entries(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return the lines that are ours; Lambda writes lines of its own among them."""
    entries = []
    for line in lines:
        if line.startswith('{"type":'):
            try:
                entries.append(msgspec.json.decode(line))
            except msgspec.DecodeError:
                # A line longer than the log takes was cut by it.
                continue
    return entries


def message(entry: dict[str, Any]) -> str | None:
    """Return a line as a person reads it; None for what only counts.

    >>> at = {"shard": "shard-1", "sequence_number": "7"}
    >>> message({"type": "quarantined", "reason": "no", "path": "$.amount", "delivery": at})
    'quarantined 7 of shard-1: no - at $.amount'
    """
    match entry["type"]:
        case "decision":
            score = "no score" if entry["score"] is None else f"{entry['score']:.3f}"
            who = ", ".join(f"{name} {token}" for name, token in _entities(entry).items())
            why, suffix = because(entry), " degraded" if entry["score"] is None else ""
            return f"{entry['action']:<8} {score:<8}{suffix} {entry['transaction_id']} ({who}) {why}".rstrip()
        case "quarantined":
            where = f"{entry['delivery']['sequence_number']} of {entry['delivery']['shard']}"
            return f"quarantined {where}: {entry['reason']} - at {entry['path']}"
        case "conflict":
            where = f"{entry['delivery']['sequence_number']} of {entry['delivery']['shard']}"
            return f"conflict {where}: {entry['transaction_id']}: {entry['reason']}"
        case "internal_error":
            who = entry["transaction_id"] or "an event"
            where = f"{entry['delivery']['sequence_number']} of {entry['delivery']['shard']}"
            return f"internal_error {who}, {where}: {entry['error']}"
        case "retry":
            return f"to be retried from {entry['from']} of {entry['shard']}: {entry['error']}"
        case _:
            return None


def because(entry: dict[str, Any]) -> str:
    """Return the reasons of a decision: of the model what a person reads, of rules and lists their codes.

    >>> because({"reasons": [{"code": "large", "message": "a lot"}, {"code": "score", "message": "0.9"}]})
    '0.9; large'
    """
    reasons = entry["reasons"]
    of_model = [reason["message"] for reason in reasons if reason["code"] == "score"]
    return "; ".join([*of_model, *(reason["code"] for reason in reasons if reason["code"] != "score")])


def _entities(entry: dict[str, Any]) -> dict[str, str]:
    return entry["delivery"].get("entities") or {}
