"""Feature fingerprint: a hash that changes whenever a feature value could change its meaning."""

from __future__ import annotations

import hashlib

import msgspec

from fraud_detection.core.decoding import to_plain
from fraud_detection.core.features.category_encoding import CategoryEncoding
from fraud_detection.core.project_schema import FieldSource, Project, Schema

SEMANTICS = 2
"""Raised whenever the code of a feature changes what it computes."""


def fingerprint(project: Project, category_encoding: CategoryEncoding) -> str:
    """Return a hash over everything that determines the feature values of a payment.

    Aliases and ignored fields are left out: they change how a value is found, not what it means.
    """
    schema = project.schema
    meaning = [
        SEMANTICS,
        to_plain(project.features),
        list(schema.entities),
        list(schema.numbers),
        list(schema.categories),
        None if schema.amount is None else schema.amount.decimals,
        schema.event_time.utc_offset_hours,
        sorted({word.strip().lower() for word in schema.missing}),
        {name: sorted(source.keep) for name, source in _sources(schema).items() if source.keep},
        category_encoding,
    ]
    return hashlib.sha256(msgspec.json.encode(meaning)).hexdigest()[:16]


def _sources(schema: Schema) -> dict[str, FieldSource]:
    amount = {} if schema.amount is None else {"amount": schema.amount}
    return {**schema.entities, **schema.numbers, **schema.categories, **amount}
