"""Reapply logged events to profiles, and log those that raise an internal error."""

from __future__ import annotations

import logging

from fraud_detection.adapters.sqlite.event_log import LoggedEvent
from fraud_detection.core.errors import NOT_OF_ONE_EVENT, Failure
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.parse import Parser

LOG = logging.getLogger(__name__)


def reapply_event(profile_cache: ProfileCache, parser: Parser, logged: LoggedEvent) -> None:
    """Reapply a logged event to every profile whose checkpoint predates it."""
    if logged.event is None:
        profile_cache.reapply_label(
            logged.ids, logged.known_at, fraud=logged.fraud, supersedes_known_at=logged.supersedes_known_at
        )
        return
    payment = parser.parse(logged.event, logged.transaction_id)
    if not isinstance(payment, Transaction):
        return
    profile_cache.prefetch([payment.entities])
    try:
        profile_cache.reapply_payment(payment)
    except NOT_OF_ONE_EVENT:
        raise
    except Exception as error:  # noqa: BLE001 - it met this error before, when it was decided, and went to review
        log_failure(Failure(payment.transaction_id, logged.event, error))


def log_failure(failure: Failure) -> None:
    """Log an unexpected error with one event: a bug, to be reported."""
    LOG.error(
        "an error of the program with payment %s, which goes to review (internal_error), or is quarantined "
        "where it has no id; the others are decided. Please report it:\n%s",
        failure.transaction_id or "of no id",
        failure.trace,
        extra={"event": "internal_error"},
    )
