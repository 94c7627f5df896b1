"""Events of the stream as JSON: payments, labels, and payments that are broken.

A payment has the fields of a history row and `sent_at`, the wall clock's ms at which it
was due: what waits in a queue on the way counts as the receiver's delay.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fraud_detection.simulator.drift import STREAM_FIELDS, FieldDrift, Fields
from fraud_detection.simulator.population.naming import Categorical, Naming
from fraud_detection.simulator.population.opaque import Texts, combine, hexadecimal
from fraud_detection.simulator.schedule import ArrivalKind, KnownLabels, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from fraud_detection.simulator.columns import Block
    from fraud_detection.simulator.population.entities import Population
    from fraud_detection.simulator.settings import Flags, Floats, Ints

_BROKEN_SALT = 0xB0


class Timed(msgspec.Struct, frozen=True, gc=False):
    """One event and when it is due, in seconds after the start."""

    due_s: float
    arrival_kind: ArrivalKind
    data: bytes


class PaymentEvent(msgspec.Struct, frozen=True, gc=False):
    """One payment as it is sent; the fields stand in the order of `STREAM_FIELDS`."""

    transaction_id: str
    event_time: str
    card_id: str
    customer_id: str
    device_id: str | None
    merchant_id: str
    terminal_id: str | None
    amount: float
    currency: str
    merchant_category: str
    channel: str
    entry_mode: str
    latitude: float | None
    longitude: float | None
    sent_at: int


class LabelEvent(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="label"):
    """What became known of an earlier payment, with its card: so it can go the way that its payment went."""

    transaction_id: str
    card_id: str
    is_fraud: int
    label_known_at: str


class EventWriter:
    """Writes the events of one stream: it starts at `start_ms`, with `rate` payments a second."""

    def __init__(self, population: Population, fields: FieldDrift, start_ms: int, rate: float) -> None:
        """Prepare the names of things."""
        self._naming = Naming(population)
        self._fields, self._start_ms, self._rate = fields, start_ms, rate
        self._encoder = msgspec.json.Encoder()

    def payments(self, schedule: Schedule, position: int) -> list[Timed]:
        """Return the events of payments that are the stream's number `position` and following."""
        due = (np.arange(len(schedule)) + position) / self._rate
        sent_at = np.rint(self._start_ms + due * 1000).astype(np.int64)
        arrival_kinds = [ArrivalKind(arrival_kind) for arrival_kind in schedule.arrival_kind.tolist()]
        events = map(PaymentEvent, *self._columns(schedule.block, sent_at))
        data = map(
            self._encode, events, arrival_kinds, range(position, position + len(due)), schedule.at.tolist()
        )
        return list(map(Timed, due.tolist(), arrival_kinds, data))

    def labels(self, known_labels: KnownLabels, indices: Ints) -> list[Timed]:
        """Return the events of labels; each is due with the payment at its index."""
        times, codes = _iso(known_labels.known_at), _decoded(hexadecimal(known_labels.code))
        cards = _decoded(self._naming.cards(known_labels.card, known_labels.issue))
        events = map(LabelEvent, codes, cards, known_labels.is_fraud.tolist(), times)
        return [
            Timed(index / self._rate, ArrivalKind.LABEL, self._encoder.encode(event))
            for index, event in zip(indices.tolist(), events, strict=True)
        ]

    def _encode(self, event: PaymentEvent, arrival_kind: ArrivalKind, position: int, time: int) -> bytes:
        if arrival_kind is not ArrivalKind.MALFORMED and self._fields.idle:
            return self._encoder.encode(event)
        fields = self._fields.change(msgspec.structs.asdict(event), position, time)
        if arrival_kind is not ArrivalKind.MALFORMED:
            return self._encoder.encode(fields)
        return BREAKAGES[position % len(BREAKAGES)](fields)

    def _columns(self, block: Block, sent_at: Ints) -> list[list[Any]]:
        """Return the columns of `PaymentEvent`."""
        ids, payments = self._naming.ids(block), block.payments
        categories = {name: _spelled(column) for name, column in self._naming.categories(block).items()}
        columns: dict[str, list[Any]] = categories | {
            "transaction_id": _decoded(ids.transaction),
            "event_time": _iso(payments.time),
            "card_id": _decoded(ids.card),
            "customer_id": _decoded(ids.customer),
            "device_id": _decoded(ids.device, ids.no_device),
            "merchant_id": _decoded(ids.merchant),
            "terminal_id": _decoded(ids.terminal, ids.no_terminal),
            "amount": (payments.amount / 100).tolist(),
            "latitude": _known(payments.latitude),
            "longitude": _known(payments.longitude),
            "sent_at": sent_at.tolist(),
        }
        return [columns[name] for name in STREAM_FIELDS]


def _iso(times: Ints) -> list[str]:
    """Return times in ISO 8601.

    >>> _iso(np.asarray([1_000]))
    ['1970-01-01T00:00:01.000Z']
    """
    moments = times.astype("datetime64[ms]")
    written: list[str] = np.datetime_as_string(moments, unit="ms", timezone="UTC").tolist()
    return written


def _decoded(values: Texts, missing: Flags | None = None) -> list[Any]:
    texts: list[Any] = values.astype(str).tolist()
    if missing is None:
        return texts
    return [None if gone else text for gone, text in zip(missing.tolist(), texts, strict=True)]


def _spelled(column: Categorical) -> list[Any]:
    return [column.values[code] for code in column.codes.tolist()]


def _known(degrees: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in np.round(degrees, 5).tolist()]


def _cut_off(fields: Fields) -> bytes:
    data = msgspec.json.encode(_renumbered(fields))
    return data[: len(data) // 2]


def _garbage(_: Fields) -> bytes:
    return b"\xff\xfe\x00 not an event \x80"


def _without_card(fields: Fields) -> bytes:
    return msgspec.json.encode(
        {name: value for name, value in _renumbered(fields).items() if name != "card_id"}
    )


def _without_amount(fields: Fields) -> bytes:
    return msgspec.json.encode(
        {name: value for name, value in _renumbered(fields).items() if name != "amount"}
    )


def _impossible_time(fields: Fields) -> bytes:
    return msgspec.json.encode(_renumbered(fields) | {"event_time": "2026-13-45T25:61:00.000Z"})


def _amount_in_text(fields: Fields) -> bytes:
    return msgspec.json.encode(_renumbered(fields) | {"amount": "a lot"})


def _renumbered(fields: Fields) -> Fields:
    """Return the event under an id of its own: a broken event is no second try of a good one."""
    old = str(fields.get("transaction_id", ""))
    code = combine(_BROKEN_SALT, np.frombuffer(old.encode().ljust(8, b"0")[:8], dtype=np.uint64))
    return fields | {"transaction_id": hexadecimal(code)[0].decode()}


BREAKAGES: tuple[Callable[[Fields], bytes], ...] = (
    _cut_off,
    _garbage,
    _without_card,
    _without_amount,
    _impossible_time,
    _amount_in_text,
)
"""The ways in which an event can be broken."""
