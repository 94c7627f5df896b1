"""Who is in the control group: a declared share, unpredictable without the key."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.decide.control_group import ControlGroupSampler
from fraud_detection.core.events import Transaction


def chosen(share: float, key: bytes, many: int = 20_000) -> set[int]:
    sampler = ControlGroupSampler(share, 10_000, key)
    return {number for number in range(many) if sampler.selects(Transaction(f"t{number}", 0, 500))}


def test_the_share_is_the_declared_one() -> None:
    for share in (0.01, 0.1, 0.5):
        size, many = len(chosen(share, b"key")), 20_000
        assert abs(size - share * many) < 4 * math.sqrt(many * share * (1 - share))


def test_another_key_chooses_others_and_the_same_key_the_same() -> None:
    first, second = chosen(0.1, b"key"), chosen(0.1, b"other")
    assert first == chosen(0.1, b"key")
    assert len(first & second) < 0.2 * len(first)


def test_a_smaller_share_chooses_among_those_of_a_larger() -> None:
    assert chosen(0.05, b"key") < chosen(0.2, b"key")


@given(st.integers(-5, 20_000) | st.none(), st.text(min_size=1, max_size=8))
def test_no_payment_above_the_cap_or_without_an_amount_is_chosen(
    amount: int | None, transaction_id: str
) -> None:
    payment = Transaction(transaction_id, 0, amount)
    if ControlGroupSampler(0.5, 10_000, b"key").selects(payment):
        assert amount is not None
        assert amount <= 10_000
