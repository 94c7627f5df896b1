"""Lists of values that are always declined, reviewed or approved, each value until it expires."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action, Verdict
from fraud_detection.core.id_text import canonical_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fraud_detection.core.decide.rule_terms import ReadText
    from fraud_detection.core.decision_settings import LifecycleSettings, ListEntry, ListSettings
    from fraud_detection.core.events import Transaction

ACTIONS: Final = {"allow": Action.APPROVE, "watch": Action.REVIEW, "deny": Action.DECLINE}
ALWAYS: Final = (-sys.maxsize, sys.maxsize)

Span = tuple[int, int]
"""From when, and until when something holds, in ms of event time."""


def span(expiring: LifecycleSettings, within: Span = ALWAYS) -> Span:
    """Return when something that people entered applies, as a part of a longer span.

    >>> from fraud_detection.core.decision_settings import ListEntry
    >>> from fraud_detection.core.decoding import Moment
    >>> span(ListEntry(value="c1", expires=Moment(9)), within=(3, 12))
    (3, 9)
    """
    since, until = within
    if expiring.snoozed_until is not None:
        since = max(since, expiring.snoozed_until.ms)
    if expiring.expires is not None:
        until = min(until, expiring.expires.ms)
    return since, until


class ValueList:
    """One compiled list."""

    def __init__(
        self, name: str, read: ReadText, action: Action, values: Mapping[str, tuple[Span, str]]
    ) -> None:
        """Take what reads the field, and for each value when it holds, with the message of its reason."""
        self.name = name
        self.denies = action is Action.DECLINE
        self._read = read
        self._values = {
            value: (since, until, Verdict(action, name, message))
            for value, ((since, until), message) in values.items()
        }

    def verdict(self, payment: Transaction) -> Verdict | None:
        """Return the list's verdict on a payment, None without one."""
        value = self._read(payment, ())
        if value is None:
            return None
        listed = self._values.get(value)
        if listed is None:
            return None
        since, until, verdict = listed
        return verdict if since <= payment.event_time < until else None


def compile_list(settings: ListSettings, texts: Mapping[str, ReadText], path: str) -> ValueList:
    """Compile a list; raise ConfigError where it is of no text field, or names a value twice."""
    if settings.of not in texts:
        raise ConfigError(
            f"the list `{settings.name}` is of `{settings.of}`, which is no entity or category; there are: "
            f"{', '.join(texts)} - at `{path}.of`"
        )
    values: dict[str, tuple[Span, str]] = {}
    for index, entry in enumerate(settings.entries):
        # As an event's value is read: "12.0" is the 12 of a payment.
        value = canonical_id(entry.value.strip())
        if value in values:
            raise ConfigError(
                f"`{entry.value}` appears twice on `{settings.name}` - at `{path}.entries[{index}]`"
            )
        values[value] = (span(entry, span(settings)), _message(settings, entry))
    return ValueList(settings.name, texts[settings.of], ACTIONS[settings.kind], values)


def _message(settings: ListSettings, entry: ListEntry) -> str:
    why = entry.reason or settings.reason
    return f"{settings.of} is on the list `{settings.name}`" + (f": {why}" if why else "")
