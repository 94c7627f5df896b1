"""The same id on two shards at the same moment: one decides it, and the other sets it aside, at any call."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import pytest

from fraud_detection.serving.aws_lambda.batch import ShardEvent
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud, Killed

SHARDS = {"c0": "shardId-000000000000", "c1": "shardId-000000000001"}
PAYMENTS = 28
"""More than one call writes."""
BOTH = frozenset({"x", "y"})
Alone = Callable[[str, frozenset[str]], dict[str, bytes]]
KILLS = [10, pytest.param(300, marks=pytest.mark.long)]


def payment(transaction_id: str, card: str, second: int) -> bytes:
    event: dict[str, Any] = {
        "transaction_id": transaction_id,
        "amount": 5.0,
        "card_id": card,
        "merchant_id": f"m-{card}",
    }
    return json.dumps(event | {"event_time": f"2026-03-02T10:00:{second:02d}Z"}).encode()


def batch(card: str) -> list[ShardEvent]:
    """Return payments of a card, of which two have ids that the other shard has too, in another order."""
    ids = [f"{card}-{number}" for number in range(PAYMENTS)]
    ids[3], ids[26] = ("x", "y") if card == "c0" else ("y", "x")
    return [
        ShardEvent(str(FIRST + at), payment(transaction_id, card, at), 1.0)
        for at, transaction_id in enumerate(ids)
    ]


class Race:
    """Two shards; while the first decides, the second decides all of its batch between two calls."""

    def __init__(self, simulation: SmallSimulation, at: int = -1, dies_at: int = -1) -> None:
        self.cloud, self.calls = Cloud(simulation), 0
        self.at, self.dies_at = at, dies_at
        self.cloud.inject_faults(self._called, lambda _: None)

    def _called(self, _operation: str) -> None:
        self.calls += 1
        if self.calls - 1 == self.at:
            mine, self.calls, self.at = self.calls, -(10**6), -1
            assert self.cloud.processor().handle(SHARDS["c1"], batch("c1")) == []
            self.calls = mine
        elif self.calls - 1 == self.dies_at:
            raise Killed

    def run(self) -> None:
        """Let each batch come until it is done, as a stream does."""
        for card in ("c0", "c1"):
            for _ in range(4):
                with contextlib.suppress(Killed):
                    if self.cloud.processor().handle(SHARDS[card], batch(card)) == []:
                        break
            else:
                pytest.fail("it comes again and again")


def features(cloud: Cloud, shard: str) -> dict[str, bytes]:
    return {
        transaction_id: decision[5]
        for transaction_id, decision in cloud.decisions().items()
        if decision[2] == shard
    }


@pytest.fixture(scope="module")
def alone(small_simulation: SmallSimulation) -> Alone:
    """Return what a shard decides that has never heard of the ids which the other one has won."""

    @cache
    def decided(card: str, won: frozenset[str]) -> dict[str, bytes]:
        cloud = Cloud(small_simulation)
        lost = BOTH - won
        records = [one for one in batch(card) if json.loads(one.data)["transaction_id"] not in lost]
        assert cloud.processor().handle(SHARDS[card], records) == []
        return features(cloud, SHARDS[card])

    return decided


def assert_right(cloud: Cloud, alone: Alone) -> None:
    """Each id has one decision, logged alike each time; elsewhere it is quarantined and leaves no trace."""
    lines = dict[str, dict[str, Any]]()
    for line in cloud.lines_of("decision"):
        assert lines.setdefault(line["transaction_id"], line) == line
    assert lines.keys() == cloud.decisions().keys()
    assert len(lines) == 2 * PAYMENTS - len(BOTH)
    aside = {(record.shard, json.loads(record.event)["transaction_id"]) for record in cloud.aside()}
    assert {record.reason.partition(":")[0] for record in cloud.aside()} == {"conflict"}
    assert len(aside) == len(BOTH)
    for card, shard in SHARDS.items():
        mine = features(cloud, shard)
        assert mine.keys() & BOTH | {one for where, one in aside if where == shard} == BOTH
        assert mine == alone(card, frozenset(mine.keys() & BOTH))


def test_another_shard_may_decide_all_of_its_batch_between_any_two_calls(
    small_simulation: SmallSimulation,
    alone: Alone,
) -> None:
    whole = Race(small_simulation)
    whole.cloud.processor().handle(SHARDS["c0"], batch("c0"))
    winners = set()
    for at in range(whole.calls):
        race = Race(small_simulation, at)
        race.run()
        assert_right(race.cloud, alone)
        winners.add(frozenset(features(race.cloud, SHARDS["c0"]).keys() & BOTH))
    # The second shard comes before the first has written, and after; and it loses what was written by then.
    assert winners >= {BOTH, frozenset()}


@pytest.mark.parametrize("times", KILLS)
def test_a_kill_at_any_call_changes_nothing_of_that(
    small_simulation: SmallSimulation,
    alone: Alone,
    times: int,
) -> None:
    for seed in range(times):
        chance = Random(seed)
        at = chance.randrange(14)
        race = Race(small_simulation, at, chance.randint(at + 1, at + 14))
        race.run()
        assert_right(race.cloud, alone)
