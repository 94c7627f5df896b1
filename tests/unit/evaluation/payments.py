"""Payments with answers of two sides, one record each, and the arrays that are evaluated."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from hypothesis import strategies as st

from fraud_detection.evaluation.evaluation_set import (
    ArmDecisions,
    ArmDecisionsBuilder,
    Categorical,
    EvaluationSet,
)

DAY = 86_400_000
START = 1_767_571_200_000  # 2026-01-05, a Monday
DELAY = 7 * DAY
WEEKS = 3
AS_OF = START + (2 * 7 + 7) * DAY
"""The labels of the first two weeks are mature, those of the third are not."""

CODES = ("", "burst", "score")


class Paid(msgspec.Struct, frozen=True):
    """A payment: when (ms since START), what (cents), which card, what is known, how each side answered."""

    at: int
    cents: int | None
    card: str | None
    label: int
    baseline: int
    variant: int
    channel: str | None = "web"
    weight: int = 1

    @property
    def amount(self) -> float:
        return math.nan if self.cents is None else self.cents / 100

    @property
    def week(self) -> int:
        return self.at // (7 * DAY)


payments = st.lists(
    st.builds(
        Paid,
        at=st.integers(0, WEEKS * 7 * DAY - 1),
        cents=st.none() | st.integers(0, 10**7),
        card=st.sampled_from(["a", "b", "c", None]),
        label=st.sampled_from([1, 0, 0, -1]),
        baseline=st.integers(0, 2),
        variant=st.integers(0, 2),
        channel=st.sampled_from(["web", "shop", None]),
        weight=st.integers(1, 3),
    ),
    min_size=1,
    max_size=40,
)


def evaluation_set(paid: list[Paid], as_of: int = AS_OF, *, weighted: bool = False) -> EvaluationSet:
    """Return the payments as they are evaluated; those after `as_of` are left out by the caller."""
    times = np.array([START + payment.at for payment in paid], np.int64)
    return EvaluationSet(
        span=(START, START + WEEKS * 7 * DAY),
        as_of=as_of,
        delay_ms=DELAY,
        transaction_id=np.array([f"t{number}" for number in range(len(paid))], object),
        event_time=times,
        amount=np.array([payment.amount for payment in paid]),
        card=Categorical.of([payment.card for payment in paid]),
        label=np.array([payment.label for payment in paid], np.int8),
        known_at=np.minimum(times + DELAY, as_of),
        segments={"channel": Categorical.of([payment.channel for payment in paid])},
        weight=np.array([float(payment.weight) for payment in paid]) if weighted else None,
    )


def decisions(name: str, actions: list[int], capacity: float | None = None) -> ArmDecisions:
    """Return one side's answers; what is not approved has a reason."""
    builder = ArmDecisionsBuilder()
    for action in actions:
        builder.add(action, 0.1 + 0.4 * action, (CODES[action],) if action else ())
    return builder.decisions(name, {"burst": "a burst of payments"}, capacity)
