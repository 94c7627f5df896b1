"""Replay the decline cap at a past payment: its counts, from the decisions before it.

Its counts are not stored with a decision.  They follow from the decisions of its interval that came before.
Those of other workers count too, and what of them it saw is not stored.
"""

from __future__ import annotations

import msgspec

from fraud_detection.adapters.sqlite.state_reader import StateReader, StoredDecision
from fraud_detection.core.decide.decline_cap import DeclineCap
from fraud_detection.core.decision_settings import DeclineCapSettings
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import DECLINE_CAP, Transaction
from fraud_detection.core.project_schema import Project
from fraud_detection.engine.engine import Configuration


class DeclineCapReplay(msgspec.Struct, frozen=True):
    """The decline cap at a past payment.

    decline_requested: score or rules asked for a decline.  admitted: what it answered, by what is stored.
    payments, declines: counted in its interval before the payment.  agrees: whether these counts say the
    same; None where that is unknown.
    """

    settings: DeclineCapSettings
    message: str
    decline_requested: bool
    admitted: bool
    payments: int
    declines: int
    agrees: bool | None

    @property
    def did(self) -> str:
        """Return what it did, in a word."""
        return "admitted the decline" if self.admitted else "refused the decline"

    @property
    def should(self) -> str:
        """Return what its counts say against that."""
        return (
            f"{self.declines:,} declines of {self.payments:,} payments before it in {self.settings.interval} "
            f"say otherwise"
        )

    @property
    def doubt(self) -> str:
        """Return why it is taken as it is stored."""
        if self.agrees is False:
            return self.should
        return "what other workers declined counts too, and how much of it was seen is not stored"


class AsThen(DeclineCap):
    """A decline cap whose past result is known."""

    def __init__(self, settings: DeclineCapSettings, *, admitted: bool) -> None:
        """Take the answer."""
        super().__init__(settings)
        self.admitted = admitted

    def allows(self, time_ms: int) -> bool:  # noqa: ARG002 - whenever it is asked
        """Return the answer."""
        return self.admitted


def replay_decline_cap(
    record: StateReader,
    stored: StoredDecision,
    project: Project,
    payment: Transaction,
    wanted: bool,  # noqa: FBT001 - a fact
) -> DeclineCapReplay | None:
    """Return what the decline cap did; None where none was at work.

    wanted: score and rules ask for a decline.
    """
    message = _cap_message(stored)
    settings = project.decline_cap
    if message is not None and (settings is None or DeclineCap(settings).message != message):
        # A canary is capped by the champion's decline cap, which is that of another configuration.
        settings = _of_others(record, message)
    if settings is None:
        return None
    decline_cap = DeclineCap(settings)
    for decision in record.decisions_before(stored.seq, payment.event_time - settings.interval.ms):
        decline_cap.add(decision.event_time, declined=bool(decision.declined))
    admitted = message is None
    same = decline_cap.allows(payment.event_time) is admitted
    agrees = None if not same and _has_others(record) else same
    counted = decline_cap.counted(payment.event_time)
    return DeclineCapReplay(
        settings, decline_cap.message, wanted, admitted, *counted, agrees if wanted else None
    )


def _has_others(record: StateReader) -> bool:
    """Return whether the file is that of one worker of several."""
    shard = record.meta("worker_state")
    return isinstance(shard, dict) and shard.get("workers", 1) > 1


def _cap_message(stored: StoredDecision) -> str | None:
    """Return the message of the decline cap where the payment was capped."""
    try:
        reasons = msgspec.json.decode(stored.reasons, type=list[tuple[str, str, str]])
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"payment {stored.transaction_id}: its stored reasons cannot be read: {error}; see "
            "`fraud audit verify`"
        ) from None
    return reasons[0][2] if reasons and reasons[0][1] == DECLINE_CAP else None


def _of_others(record: StateReader, message: str) -> DeclineCapSettings | None:
    for name, content in record.configurations().items():
        settings = Configuration(name, content).read()[1].decline_cap
        if settings is not None and DeclineCap(settings).message == message:
            return settings
    return None
