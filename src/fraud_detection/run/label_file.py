"""A file of labels: whatever its form, each row becomes the event by which a stream would tell it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from fraud_detection.adapters.event_sources import Batch, open_source
from fraud_detection.errors import ConfigError, RejectError

READ_ROWS = 500
TYPE = msgspec.Raw(b'"label"')


def label_batches(path: Path) -> Iterator[Batch]:
    """Yield the rows of a file as label events, with the place reached.

    Raises ConfigError for rows that are no objects.
    """
    for batch in open_source(str(path), numbered=False).batches(0, READ_ROWS):
        try:
            events = [as_label(raw) for raw in batch.events]
        except RejectError as error:
            raise ConfigError(f"{path}: {error.reason}") from None
        yield msgspec.structs.replace(batch, events=events)


def label_events(path: Path) -> Iterator[bytes]:
    """Yield the rows of a file as label events."""
    for batch in label_batches(path):
        yield from batch.events


def as_label(raw: bytes) -> bytes:
    """Return an event marked as a label, whether it says so or not; raise RejectError for no object."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RejectError(f"expected a label as a JSON object: {error}") from None
    return msgspec.json.encode(fields | {"type": TYPE})
