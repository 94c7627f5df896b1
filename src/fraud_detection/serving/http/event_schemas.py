"""JSON schemas of payments and labels as a caller sends them: what is valid is accepted.

What an optional field holds stops no payment, so its schema allows any value and describes what is read.
These schemas are no types of msgspec: the fields are those of the project file, and one value may be in any
of several ranges of a number, a truth value, or digits in text, which no Python type expresses.
"""

from __future__ import annotations

import calendar
import datetime as dt
import math
import re
from typing import Any

from fraud_detection.core.parse.labels import MAX_SOURCE_LENGTH
from fraud_detection.core.parse.parser import MAX_AMOUNT
from fraud_detection.core.parse.times import number_ranges
from fraud_detection.core.parse.values import MAX_ID_LENGTH
from fraud_detection.core.project_schema import AmountSource, EntitySource, LabelSource, Schema, TimeSource

Json = dict[str, Any]

NOT_BLANK = r"\S"
TWO_DIGITS = 10
OTHERWISE = "; anything else counts as missing"
LONG_MONTHS, SHORT_MONTHS = "0[13578]|1[02]", "0[469]|11"
CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
ZONE = "[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]"


def payment_schema(schema: Schema) -> Json:
    """Return the JSON schema of a payment; what it does not name is ignored and counted."""
    needed = _needed(schema)
    # An alias may stand in for the name that is required.
    required = [source.field for source, _ in needed if source.field and not source.aliases]
    fields = {source.field: described for source, described in needed if source.field}
    if schema.transaction_id.field is not None:
        description = "the transaction's id; where there is none, the payment is known by its request"
        fields[schema.transaction_id.field] = _described(description, _id("null"))
    return _object(_optional_fields(schema) | fields, required)


def _needed(schema: Schema) -> list[tuple[TimeSource | AmountSource | EntitySource, Json]]:
    description = f"when it took place; format {schema.event_time.format}"
    needed: list[tuple[TimeSource | AmountSource | EntitySource, Json]] = []
    needed.append((schema.event_time, _described(description, time_schema(schema.event_time))))
    if schema.amount is not None:
        needed.append((schema.amount, _described("the amount, in major units", _amount(schema.amount))))
    for name, entity in schema.entities.items():
        if entity.required:
            needed.append((entity, _described(f"the {name}", _id() | {"pattern": NOT_BLANK})))
    return needed


def _optional_fields(schema: Schema) -> Json:
    description = {
        source.field: f"the {name}: text or a whole number" for name, source in schema.entities.items()
    }
    description |= {source.field: f"the number {name}" for name, source in schema.numbers.items()}
    description |= {source.field: f"the category {name}: text" for name, source in schema.categories.items()}
    if schema.place is not None:
        description |= dict.fromkeys((schema.place.latitude, schema.place.longitude), "a number of degrees")
    if schema.sent_at is not None:
        description[schema.sent_at] = "when it was sent, in ms since 1970"
    return {field: _optional(text) for field, text in description.items()}


def label_schema(schema: Schema) -> Json:
    """Return the JSON schema of a label."""
    source = schema.label or LabelSource()
    id_field, known_at = schema.transaction_id.field or "transaction_id", source.known_at or "label_known_at"
    owner = "of the payment: by it several workers know where the label belongs"
    label_sources = "source of the label: chargeback, analyst, customer, rule ..."
    fields = {
        id_field: _described("of the payment", _id() | {"pattern": NOT_BLANK}),
        **{entity.field: _optional(owner) for entity in [*schema.entities.values()][:1]},
        source.field: _described("fraud or not", _verdicts(source)),
        known_at: _described("when it became known", time_schema(schema.event_time)),
        "source": _described(label_sources, {"type": ["string", "null"], "maxLength": MAX_SOURCE_LENGTH}),
    }
    description = (
        "May also state in `happened_at` when it was found out or claimed, written as the other time and "
        "never later."
    )
    required = [source.field, known_at, *([] if schema.transaction_id.aliases else [id_field])]
    return {"description": description, **_object(fields, required)}


def time_schema(source: TimeSource) -> Json:
    """Return the JSON schema of a time between the declared bounds.

    Of a strptime pattern no more is said than that it is text or a number.  How far ahead of the clock a time
    may be is not said, because that changes with the clock.
    """
    if "%" in source.format:
        return {"type": ["string", "number"]}
    ranges = [_number(low, high, "exclusiveMaximum") for low, high in number_ranges(source)]
    if source.format == "number":
        return ranges[0]
    last = source.latest - dt.timedelta(days=1)
    text = {"type": "string", "pattern": iso_pattern(source.earliest.year, last.year)}
    return {"anyOf": [*ranges, text]}


def iso_pattern(first: int, last: int) -> str:
    """Return a regular expression for a date of these years, with or without a time of day and a zone.

    >>> import re
    >>> read = re.compile(iso_pattern(1980, 2099)).search
    >>> [bool(read(one)) for one in ("2024-02-29", "2023-02-29", "2100-01-01", "2099-12-31T23:59:59.5Z")]
    [True, False, False, True]
    """
    years = "|".join(_decades(first, last))
    leap = "|".join(str(year) for year in range(first, last + 1) if calendar.isleap(year))
    days = f"(?:{LONG_MONTHS})-(?:0[1-9]|[12][0-9]|3[01])|(?:{SHORT_MONTHS})-(?:0[1-9]|[12][0-9]|30)"
    days += "|02-(?:0[1-9]|1[0-9]|2[0-8])"
    date = f"(?:{years})-(?:{days})" + (f"|(?:{leap})-02-29" if leap else "")
    return f"^(?:{date})(?:[Tt ]{CLOCK}(?:{ZONE})?)?$"


def _decades(first: int, last: int) -> list[str]:
    """Return regular expressions for the years of each decade.

    >>> _decades(1978, 1991)
    ['197[8-9]', '198[0-9]', '199[0-1]']
    """
    return [
        f"{decade}[{max(first - 10 * decade, 0)}-{min(last - 10 * decade, 9)}]"
        for decade in range(first // 10, last // 10 + 1)
    ]


def _id(*also: str) -> Json:
    largest = 10.0 ** (MAX_ID_LENGTH - 2)  # with its sign, as text
    bounds = {"maxLength": MAX_ID_LENGTH, "minimum": -largest, "maximum": largest}
    return {"type": ["string", "integer", *also], **bounds}


def _amount(source: AmountSource) -> Json:
    possible = MAX_AMOUNT / 10**source.decimals
    low = -possible if source.minimum is None else max(source.minimum, -possible)
    high = possible if source.maximum is None else min(source.maximum, possible)
    return _number(low, high)


def _number(low: float, high: float, maximum: str = "maximum") -> Json:
    """Return the schema of a number, or of text that holds its digits."""
    number = {"type": "number", "minimum": low, maximum: high}
    if not low <= 0 < TWO_DIGITS <= high:
        return number
    text = {"type": "string", "pattern": rf"^[0-9]{{1,{int(math.log10(high))}}}(?:\.[0-9]+)?$"}
    return {"anyOf": [number, text]}


def _verdicts(source: LabelSource) -> Json:
    """Return the schema of the values that mean fraud or not: words in any case, numbers and booleans."""
    description = [*source.positive, *source.negative]
    whole = [int(word) for word in description if word.isdecimal()]
    booleans = [word.lower() == "true" for word in description if word.lower() in {"true", "false"}]
    text = {"type": "string", "pattern": f"^(?:{'|'.join(map(_in_any_case, description))})$"}
    return {"anyOf": [text, {"enum": [*whole, *booleans]}]} if whole or booleans else text


def _in_any_case(word: str) -> str:
    """Return a pattern for a word, whichever of its letters are capitals.

    >>> _in_any_case("no"), _in_any_case("1")
    ('[nN][oO]', '1')
    """
    return "".join(
        f"[{letter.lower()}{letter.upper()}]" if letter.lower() != letter.upper() else re.escape(letter)
        for letter in word
    )


def _optional(description: str) -> Json:
    return {"description": description + OTHERWISE}


def _described(description: str, schema: Json) -> Json:
    return {"description": description, **schema}


def _object(fields: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": True}
