"""Import a label file: each label is applied once, however often the file is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from fraud_detection.adapters.http.client import post_json
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.events import Quarantined
from fraud_detection.core.lenient_json import object_of
from fraud_detection.core.outcomes import AppliedLabel, Duplicate, Forbidden, Outcome, RedundantLabel
from fraud_detection.core.parse.oversize import MAX_EVENT_BYTES, too_large
from fraud_detection.history.label_file import label_batches
from fraud_detection.serving.embedded.service import EmbeddedService

Progress = Callable[[str, float], None]
PATH = "/v1/labels"


class Imported(msgspec.Struct):
    """Counts of the rows: applied (waiting ones among them), redundant, duplicate; and why some were refused.

    waiting: learned labels whose payment is not known yet.  refused: number of the
    row, counted from 1, path and reason.
    """

    learned: int = 0
    waiting: int = 0
    redundant: int = 0
    duplicates: int = 0
    refused: list[tuple[int, str, str]] = []

    @property
    def taken(self) -> int:
        """Return how many rows were understood, whatever they changed."""
        return self.learned + self.redundant + self.duplicates


class LabelResponse(msgspec.Struct):
    """A server's response to one label."""

    label: str | None = None
    duplicate: bool = False
    error: str | None = None
    reason: str | None = None
    path: str = "$"


def into_state(service: EmbeddedService, file: Path, progress: Progress) -> Imported:
    """Learn the labels of a file, from its beginning; a label that is known counts as a duplicate."""
    imported = Imported()
    name, done = str(file.resolve()), 0
    for batch in label_batches(file):
        for row, outcome in enumerate(service.take(batch, name), start=done + 1):
            _count(imported, row, outcome)
        service.run_deferred_work()
        done += len(batch.events)
        progress(f"learning labels: {done:,}", 0.0)
    progress(f"learning labels: {done:,}", 1.0)
    return imported


def into_server(url: str, key: str, file: Path, progress: Progress) -> Imported:
    """Send the labels of a file to a running server; raise ConfigError when it refuses all of them."""
    imported = Imported()
    done = 0
    for batch in label_batches(file):
        rows = enumerate(batch.events, start=done + 1)
        labels = {row: event for row, event in rows if not _refused(imported, row, event)}
        body = b"[" + b",".join(labels.values()) + b"]"
        responses = (
            msgspec.json.decode(post_json(url.rstrip("/") + PATH, body, key), type=list[LabelResponse])
            if labels
            else []
        )
        for row, response in zip(labels, responses, strict=True):
            _count_outcome(imported, row, response)
        done += len(batch.events)
        progress(f"sending labels: {done:,}", 0.0)
    progress(f"sending labels: {done:,}", 1.0)
    return imported


def _refused(imported: Imported, row: int, event: bytes) -> bool:
    """Count a row that is no object; sent among others, it might be taken for several."""
    if len(event) > MAX_EVENT_BYTES:
        imported.refused.append((row, "$", too_large(event)))
        return True
    try:
        object_of(event)
    except RejectError as error:
        imported.refused.append((row, error.path, error.reason))
        return True
    return False


def _count(imported: Imported, row: int, outcome: Outcome) -> None:
    if isinstance(outcome, AppliedLabel):
        imported.learned += 1
        imported.waiting += outcome.ids is None
    elif isinstance(outcome, RedundantLabel):
        imported.redundant += 1
    elif isinstance(outcome, Duplicate):
        imported.duplicates += 1
    elif isinstance(outcome, Quarantined):
        imported.refused.append((row, outcome.path, outcome.reason))
    else:
        transaction_id = (
            outcome.transaction_id if isinstance(outcome, Forbidden) else outcome.payment.transaction_id
        )
        raise ConfigError(f"{transaction_id}: a payment among labels")


def _count_outcome(imported: Imported, row: int, response: LabelResponse) -> None:
    reason = response.error or response.reason
    if reason is not None:
        imported.refused.append((row, response.path, reason))
    elif response.duplicate:
        imported.duplicates += 1
    else:
        imported.learned += 1
