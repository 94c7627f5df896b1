"""Read a label file of any format as the label events that a stream would carry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from fraud_detection.adapters.files.event_sources import Batch, open_file
from fraud_detection.core.errors import RejectError
from fraud_detection.core.lenient_json import read_object
from fraud_detection.core.parse.oversize import MAX_EVENT_BYTES

READ_ROWS = 500
TYPE = msgspec.Raw(b'"label"')


def label_batches(path: Path) -> Iterator[Batch]:
    """Yield the rows of a file as label events, with the offset reached; a row that is no object as it is."""
    for batch in open_file(path).batches(0, READ_ROWS):
        yield msgspec.structs.replace(batch, events=[as_label_or_as_it_is(raw) for raw in batch.events])


def label_events(path: Path) -> Iterator[bytes]:
    """Yield the rows of a file as label events."""
    for batch in label_batches(path):
        yield from batch.events


def as_label(raw: bytes) -> bytes:
    """Return an event marked as a label, whatever its `type`; raise RejectError for no object."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _marked(raw)
    return msgspec.json.encode(fields | {"type": TYPE})


def as_label_or_as_it_is(raw: bytes) -> bytes:
    """Return an event marked as a label; one that is no object as it is, to be refused for what it is."""
    if len(raw) > MAX_EVENT_BYTES:
        return raw
    try:
        return as_label(raw)
    except RejectError:
        return raw


def _marked(raw: bytes) -> bytes:
    """Mark an object that a strict reader refuses, all else as it is: of equal names the last one counts."""
    try:
        empty = not read_object(raw)
    except RejectError as error:
        raise RejectError(f"expected a label as a JSON object: {error.reason}") from None
    return raw.rstrip()[:-1] + (b"" if empty else b",") + b'"type":"label"}'
