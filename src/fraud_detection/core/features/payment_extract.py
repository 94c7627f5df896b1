"""Compute the features of the payment alone: amount, calendar, numbers, categories.

They read no profile; those that do are in `extract`, which puts both in order.
"""

from __future__ import annotations

import math
from typing import Final

from fraud_detection.core.events import FeatureDefinition, Transaction
from fraud_detection.core.features import names as feature_names
from fraud_detection.core.project_schema import Project

NAN: Final = math.nan
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000


class PaymentExtractor:
    """Reads what a payment says of itself, in the order of `definitions`."""

    def __init__(self, project: Project, category_encoding: dict[str, dict[str, float]]) -> None:
        """Build the extractor; for `category_encoding` see `learn_category_encoding`."""
        settings = project.features
        offset = project.schema.event_time.utc_offset_hours
        self.scale: float = 10.0 ** (project.schema.amount.decimals if project.schema.amount else 0)
        self.has_amount: bool = project.schema.amount is not None
        self.offset_ms: int = int(offset * HOUR_MS)
        self.calendar: list[str] = list(settings.calendar)
        self.night_from: int = settings.night[0]
        self.night_until: int = settings.night[1]
        self.codes: list[dict[str, float]] = []
        self.shares: list[dict[str, float]] = []
        self.definitions: list[FeatureDefinition] = (
            [feature_names.amount_feature()] if self.has_amount else []
        )
        self.definitions += [feature_names.calendar_feature(part) for part in self.calendar]
        self.definitions += [feature_names.number_feature(name) for name in project.schema.numbers]
        for name in project.schema.categories:
            shares = category_encoding.get(name, {})
            self.codes.append({value: float(code) for code, value in enumerate(shares)})
            self.shares.append(shares)
            self.definitions += feature_names.category_features(name)

    def read(self, payment: Transaction, row: list[float]) -> None:
        """Append the payment's own features to `row`."""
        amount = payment.amount
        if self.has_amount:
            row.append(NAN if amount is None else amount / self.scale)
        local: int = payment.event_time + self.offset_ms
        hour = local // HOUR_MS % 24
        for part in self.calendar:
            if part == "hour":
                row.append(float(hour))
            elif part == "weekday":
                row.append(float((local // DAY_MS + 3) % 7))
            else:
                row.append(1.0 if self._is_night(hour) else 0.0)
        numbers: tuple[float, ...] = payment.numbers
        for number in numbers:
            row.append(number)
        self._read_categories(payment.categories, row)

    def _read_categories(self, categories: tuple[str | None, ...], row: list[float]) -> None:
        for position, value in enumerate(categories):
            if value is None:
                row.append(NAN)
                row.append(NAN)
            else:
                row.append(self.codes[position].get(value, -1.0))
                row.append(self.shares[position].get(value, 0.0))

    def _is_night(self, hour: int) -> bool:
        if self.night_from > self.night_until:
            return hour >= self.night_from or hour < self.night_until
        return self.night_from <= hour < self.night_until
