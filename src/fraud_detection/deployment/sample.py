"""One payment that a schema can read, made of nothing but the schema: to try a deployment out."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from typing import Any

import msgspec

from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import DateParts, Schema, TimeSource

VALUES = range(1, 20)
"""Each stands for any id, category and number, until one does that the schema does not call missing."""
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DAY = dt.timedelta(days=1)
WEEKS = range(1, 6)


def sample_payment(schema: Schema, now: dt.datetime) -> bytes:
    """Return a payment of that time, or of the nearest that the schema allows.

    Raises ConfigError with the parser's reason when the schema can read none of those that were made.
    """
    earliest, latest = (
        dt.datetime.combine(day, dt.time(), dt.UTC)
        for day in (schema.event_time.earliest, schema.event_time.latest)
    )
    at = max(min(now, latest - DAY), earliest + DAY)
    reason = "no time was made"
    for value, time in itertools.product(VALUES, _times(schema.event_time, at)):
        event = msgspec.json.encode(_others(schema, value) | time)
        try:
            Parser(schema).parse(event, "sample")
        except RejectError as error:
            reason = f"{error.reason} at {error.path}"
        else:
            return event
    raise ConfigError(f"schema: it can read none of the payments that it describes: {reason}")


def _others(schema: Schema, value: int) -> dict[str, Any]:
    fields = [description.field for description in (*schema.entities.values(), *schema.categories.values())]
    fields_by_name: dict[str, Any] = dict.fromkeys(fields, str(value))
    fields_by_name |= {number.field: float(value) for number in schema.numbers.values()}
    if schema.transaction_id.field is not None:
        fields_by_name[schema.transaction_id.field] = str(value)
    if schema.place is not None:
        fields_by_name |= {schema.place.latitude: float(value), schema.place.longitude: float(value)}
    amount = schema.amount
    if amount is not None:
        low = -float("inf") if amount.minimum is None else amount.minimum
        high = float("inf") if amount.maximum is None else amount.maximum
        fields_by_name[amount.field] = min(max(float(value), low + value - 1), high)
    return fields_by_name


def _times(source: TimeSource, at: dt.datetime) -> Iterator[dict[str, Any]]:
    """Yield the fields of the time; of a date in weeks, one after another that may exist."""
    local = at.astimezone(dt.timezone(dt.timedelta(hours=source.utc_offset_hours)))
    if source.date_parts is not None:
        yield from _dates(source.date_parts, local)
        return
    name = source.field or ""
    if source.format == "number":
        origin = dt.datetime.combine(source.origin, dt.time(), local.tzinfo)
        yield {name: (local - origin) / dt.timedelta(milliseconds=UNITS_MS[source.unit])}
    elif "%" in source.format:
        yield {name: local.strftime(source.format)}
    else:
        yield {name: at.isoformat()}


def _dates(date_parts: DateParts, local: dt.datetime) -> Iterator[dict[str, Any]]:
    date: dict[str, Any] = {date_parts.year: local.year, date_parts.month: local.month}
    if date_parts.day is not None:
        yield date | {date_parts.day: local.day}
        return
    weekday = {} if date_parts.day_of_week is None else {date_parts.day_of_week: local.strftime("%A")}
    if date_parts.week_of_month is None:
        yield date | weekday
    else:
        yield from (date | weekday | {date_parts.week_of_month: week} for week in WEEKS)
