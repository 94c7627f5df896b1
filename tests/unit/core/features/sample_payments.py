"""Small projects and payments that the tests of features share."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from fraud_detection.core.decoding import decode
from fraud_detection.core.events import Transaction
from fraud_detection.core.project_schema import Project, Statistic

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_767_225_600_000  # 2026-01-01, on every grid that divides a day

PROJECT = decode(
    {
        "project": "test",
        "schema": {
            "event_time": {"field": "time"},
            "amount": {"field": "amount"},
            "entities": {"card": {"field": "card"}, "merchant": {"field": "merchant"}},
            "categories": {"channel": {"field": "channel"}},
            "place": {"latitude": "lat", "longitude": "lon"},
            "label": {"field": "fraud"},
        },
        "features": {
            "max_distinct_ids": 3,
            "entities": {
                "card": {
                    "windows": ["1h", "1d", "30d"],
                    "statistics": get_args(Statistic),
                    "distinct": {"merchant": ["1d", "30d"]},
                    "first_seen": ["merchant"],
                    "speed": True,
                    "risk": ["1d", "30d"],
                },
                "merchant": {"windows": ["1d"], "statistics": ["count"], "risk": ["30d"]},
            },
        },
    },
    Project,
    "test",
)


def payment(
    number: int, time_ms: int, amount: int, card: str | None = "c", merchant: str | None = "m"
) -> Transaction:
    """Return a payment somewhere on earth that depends on its number."""
    place = (float(number % 90), float(number % 180))
    return Transaction(f"t{number}", time_ms, amount, (card, merchant), (), ("web",), place)


@st.composite
def streams(draw: st.DrawFn, largest: int = 25) -> list[Transaction]:
    """Draw payments of a few cards and merchants within some weeks, in any order of time."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 40 * DAY) | st.integers(0, 2 * HOUR),
                st.integers(-500, 10**15),
                st.sampled_from(["a", "b", None]),
                st.sampled_from(["m", "n", "o", "p", "q", None]),
            ),
            max_size=largest,
        )
    )
    return [
        payment(n, START + time, amount, card, merchant)
        for n, (time, amount, card, merchant) in enumerate(rows)
    ]
