"""The filter before the tables: it forgets nothing, and is rarely wrong about what is new."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.adapters.sqlite.dedup.bloom_filter import FIRST_BLOCKS, IDS_A_BLOCK, BloomFilter


@given(st.lists(st.text()))
def test_what_was_entered_is_always_known_again(entered: list[str]) -> None:
    seen = BloomFilter()
    for transaction_id in entered:
        seen.enter(transaction_id)
    assert all(seen.may_hold(transaction_id) for transaction_id in entered)


def test_it_grows_without_forgetting_and_takes_few_new_ids_for_known_ones() -> None:
    seen, many = BloomFilter(), 3 * FIRST_BLOCKS * IDS_A_BLOCK
    for number in range(many):
        seen.enter(f"payment-{number}")
    assert [layer.blocks for layer in seen.layers] == [FIRST_BLOCKS, 2 * FIRST_BLOCKS]
    assert all(seen.may_hold(f"payment-{number}") for number in range(many))
    mistaken = sum(seen.may_hold(f"other-{number}") for number in range(100_000))
    # Both layers are full: that is as bad as it gets with two.
    assert 0 < mistaken < 500
