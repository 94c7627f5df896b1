"""The budget on the page is the one that is computed."""

from __future__ import annotations

from benchmarks.aws_budget import PAGE, Demand, Limits, Prices, budget, table


def test_the_page_shows_what_is_computed() -> None:
    assert table() in PAGE.read_text()


def test_ten_times_the_payments_need_at_least_ten_times_as_much_of_what_grows() -> None:
    smaller, ten = (budget(rate, Demand(), Limits(), Prices()) for rate in (10_000, 100_000))
    # More, because profiles that all shards touch grow with the number of shards.
    assert ten.tables > 10 * smaller.tables
    assert 9 * smaller.shards < ten.shards <= 10 * smaller.shards
    assert ten.total > 9 * smaller.total
