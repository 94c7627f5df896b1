"""Of all workers that claim an id at the same time exactly one decides it, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from random import Random

import pytest

from fraud_detection.adapters.sqlite.dedup.dedup_index import SqliteDedupIndex
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds, shared_memory
from fraud_detection.core.errors import RetryError
from fraud_detection.core.ports import FirstDelivery
from fraud_detection.serving.workers.claims import Call, Claims

WORKERS = 3
IDS = ["a", "b", "c", "d"]


class Supervisor:
    """Workers in one loop; a payment is decided some turns of the loop after its ids are clear."""

    def __init__(self, stack: ExitStack, seed: int, *, all_seen: bool) -> None:
        self.chance = Random(seed)
        self.shared_ids = [SharedIds(shared_memory(worker)) for worker in range(WORKERS)]
        self.dedup_indexes = [stack.enter_context(dedup_index(worker_ids)) for worker_ids in self.shared_ids]
        self.claims = [
            Claims(worker, self.shared_ids, {}, self.dedup_indexes[worker], self._caller(worker))
            for worker in range(WORKERS)
        ]
        self.dead: set[int] = set()
        self.decided: list[tuple[str, int]] = []
        self.order: list[int] = []
        for worker_ids in self.shared_ids if all_seen else ():
            # Each takes all ids for the others': the worst that may happen at the same moment.
            for transaction_id in IDS:
                worker_ids.enter(transaction_id)

    def _caller(self, own: int) -> Call:
        async def call(other_worker: int, what: str, body: object) -> object:
            await self._turns()
            if other_worker in self.dead:
                raise RetryError(f"worker {other_worker} does not respond")
            handle = await self.claims[other_worker].handle(own, what, body)
            await self._turns()
            return handle

        return call

    async def _turns(self) -> None:
        for _ in range(self.chance.randint(0, 4)):
            await asyncio.sleep(0)

    async def take(self, worker: int, ids: Sequence[str], number: int = 0, key: str = "") -> str:
        claims, found = self.claims[worker], self.dedup_indexes[worker]
        claim = claims.claim(ids, lambda: {*ids, f"\n{key or number}"})
        try:
            if claim is not None:
                await claims.cleared(claim)
        except RetryError:
            return "refused"
        # From here on as in the engine: one request after the other, the look-up right before the decision.
        mine = {
            transaction_id
            for transaction_id in ids
            if not found.batch_state([transaction_id], []).already_processed
        }
        if self.chance.random() < 0.1:
            mine = set()
        self.order.append(number)
        found.enter(list(mine))
        for transaction_id in mine:
            self.decided.append((transaction_id, worker))
            found._db.execute(
                "INSERT OR IGNORE INTO decisions VALUES (?, ?, x'90')", (transaction_id, bytes([worker]))
            )
        await self._turns()
        claims.release(ids)
        return "done"


@contextlib.contextmanager
def dedup_index(worker_ids: SharedIds) -> Iterator[SqliteDedupIndex]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE decisions (transaction_id TEXT PRIMARY KEY, event BLOB, entities BLOB)")
        db.execute("CREATE TABLE history (transaction_id TEXT, content BLOB, entities BLOB)")
        sqlite_dedup_index = SqliteDedupIndex(db, lambda: None, worker_ids)
        sqlite_dedup_index.enter_from_tables(1)
        yield sqlite_dedup_index


@pytest.mark.parametrize("all_seen", [True, False])
def test_each_id_is_decided_by_one_worker_and_every_request_ends(*, all_seen: bool) -> None:
    for seed in range(80):

        async def run(supervisor: Supervisor) -> list[str]:
            requests = []
            for number in range(12):
                ids = supervisor.chance.sample(IDS, supervisor.chance.randint(1, len(IDS)))
                requests.append(
                    asyncio.ensure_future(supervisor.take(supervisor.chance.randrange(WORKERS), ids, number))
                )
                await supervisor._turns()
            return await asyncio.wait_for(asyncio.gather(*requests), 10)

        with ExitStack() as stack:
            supervisor = Supervisor(stack, seed, all_seen=all_seen)
            assert set(asyncio.run(run(supervisor))) == {"done"}
            assert max(Counter(transaction_id for transaction_id, _ in supervisor.decided).values()) == 1
            assert {transaction_id for transaction_id, _ in supervisor.decided} == set(IDS)
            for claims, found in zip(supervisor.claims, supervisor.dedup_indexes, strict=True):
                assert not any((claims._deciding, claims._querying, claims._doubtful, claims._released))
                assert not found.elsewhere


def test_a_claim_gets_first_deliveries_from_the_worker_that_decided() -> None:
    async def run(supervisor: Supervisor) -> None:
        assert await supervisor.take(1, ["a"]) == "done"
        claim = supervisor.claims[0].claim(["a", "b"], set)
        assert claim is not None
        await supervisor.claims[0].cleared(claim)
        assert supervisor.dedup_indexes[0].elsewhere == {"a": FirstDelivery(b"\x01")}
        assert supervisor.dedup_indexes[0].batch_state(["a", "b"], []).first == {"a": FirstDelivery(b"\x01")}
        supervisor.claims[0].release(["a", "b"])
        assert await supervisor.claims[2].deciders({"a": {0}, "b": {None}, "c": {0}}) == {"a": 1}
        assert await supervisor.claims[2].deciders({"a": {1}}) == {}

    with ExitStack() as stack:
        supervisor = Supervisor(stack, 1, all_seen=False)
        supervisor.chance.random = lambda: 1.0  # type: ignore[method-assign]
        asyncio.run(run(supervisor))


def test_while_another_is_unavailable_only_what_it_may_have_is_refused() -> None:
    async def run(supervisor: Supervisor) -> None:
        supervisor.shared_ids[2].enter("a")
        supervisor.dead.add(2)
        assert await supervisor.take(0, ["b"]) == "done"
        assert await supervisor.take(0, ["a", "c"]) == "refused"
        assert await supervisor.take(1, ["c"]) == "done"
        supervisor.dead.clear()
        assert await supervisor.take(0, ["a"]) == "done"

    with ExitStack() as stack:
        supervisor = Supervisor(stack, 2, all_seen=False)
        supervisor.chance.random = lambda: 1.0  # type: ignore[method-assign]
        asyncio.run(run(supervisor))
        assert supervisor.decided == [("b", 0), ("c", 1), ("a", 0)]


def test_what_shares_an_id_or_a_card_with_a_doubtful_request_keeps_its_order() -> None:
    async def run(supervisor: Supervisor) -> None:
        requests = [supervisor.take(0, ids, number, key) for number, (ids, key) in enumerate(REQUESTS)]
        await asyncio.gather(*requests)

    for seed in range(50):
        with ExitStack() as stack:
            supervisor = Supervisor(stack, seed, all_seen=False)
            supervisor.shared_ids[1].enter("a")
            asyncio.run(run(supervisor))
            assert [request for request in supervisor.order if request in {0, 1, 3}] == [
                0,
                1,
                3,
            ]
            # What shares neither waits for nobody.
            assert supervisor.order[0] == 2


REQUESTS = [(["a"], "x"), (["b"], "x"), (["c"], "y"), (["b"], "z")]
