"""Claims on transaction ids: one decision an id, whichever worker owns its card.

A worker enters the ids of payments into memory shared by all workers, before it decides them, and checks
whether another worker has entered one of them.  Nearly always none has, and the payment is decided at once.
Otherwise it queries that worker, which replies when its work in progress is done, with the first decision if
there is one.  Of two workers that query each other at the same time, the one with the higher number gives
way, and queries again.

So a worker waits only for requests that are cleared, or for those of workers with lower numbers: there is no
deadlock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, cast

import msgspec

from fraud_detection.adapters.sqlite.dedup.dedup_index import SqliteDedupIndex
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds
from fraud_detection.adapters.sqlite.errors import reading
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.ports import FirstDelivery

Held = dict[str, set[int]]
"""Ids that other workers may have, and which workers."""
Call = Callable[[int, str, object], Awaitable[Any]]
"""Calls another worker by its number: see `Claims.handle`."""
DECIDED, KNOWS = "decided", "knows"


class Claim:
    """The ids of one request, until it is certain that no other worker holds them.

    keys: ids and cards of its events; what comes later with one of them waits behind it.  before: what it
    waits for itself.  yielded: its ids that a worker with a lower number has queried meanwhile.
    clear: set when the claim is cleared, or refused.
    """

    def __init__(self, ids: Sequence[str], keys: Collection[str], before: Sequence[Claim]) -> None:
        """Take the ids of the payments, and the claims before them."""
        self.ids, self.keys, self.before = ids, keys, before
        self.held: Held = {}
        self.yielded: Held = {}
        self.clear = asyncio.Event()


class Claims:
    """Claims the ids that this worker decides, and queries the others about them.

    shared_ids: the ids of each worker, by its number.  files: the others' state files, which are looked into
    as long as not all their ids are shared.
    """

    def __init__(
        self,
        own: int,
        shared_ids: Sequence[SharedIds],
        files: Mapping[int, StateFile],
        dedup_index: SqliteDedupIndex,
        call: Call,
    ) -> None:
        """Take what this worker owns, and the call to the others."""
        self._own, self._own_ids, self._files, self._dedup_index, self._call = (
            own,
            shared_ids[own],
            files,
            dedup_index,
            call,
        )
        self._shared_ids = dict(enumerate(shared_ids))
        self._others = [
            (worker, worker_ids) for worker, worker_ids in self._shared_ids.items() if worker != own
        ]
        self._deciding: dict[str, int] = {}
        self._released: dict[str, asyncio.Event] = {}
        self._querying: dict[str, Claim] = {}
        self._doubtful: dict[str, Claim] = {}

    def claim(self, ids: Sequence[str], keys: Callable[[], Collection[str]]) -> Claim | None:
        """Claim the ids of a request; return None if no other worker holds them, else a claim for `cleared`.

        keys: ids and cards of all its events, where they are needed: what shares one keeps its order.
        """
        if self._doubtful:
            before = {doubt for key in keys() if (doubt := self._doubtful.get(key)) is not None}
            if before:
                return self._doubt(ids, keys(), list(before))
        held = self._claim(ids)
        if not held:
            self._decide(ids)
            return None
        doubt = self._doubt(ids, keys(), [])
        self._begin(doubt, held)
        return doubt

    async def cleared(self, claim: Claim) -> None:
        """Return when it is certain whose the ids are; what another has decided is added to the index.

        Raises RetryError where a worker that may hold one does not reply; nothing is claimed then.
        """
        try:
            for earlier in claim.before:
                await earlier.clear.wait()
            if claim.before:
                self._begin(claim, self._claim(claim.ids))
            await self._query_holders(claim)
            self._decide(claim.ids)
        finally:
            self._end(claim)

    def release(self, ids: Sequence[str]) -> None:
        """Release the ids of a request that is decided, or rejected."""
        for transaction_id in ids:
            left = self._deciding.pop(transaction_id) - 1
            if left:
                self._deciding[transaction_id] = left
                continue
            if transaction_id not in self._querying:
                self._dedup_index.elsewhere.pop(transaction_id, None)
            if (released := self._released.pop(transaction_id, None)) is not None:
                released.set()

    async def handle(self, worker: int, what: str, body: Any) -> FirstDelivery | list[str] | None:  # noqa: ANN401 - each kind has its own
        """Reply to another worker: the first decision on an id, or which ids are known here."""
        return self._known_here(body) if what == KNOWS else await self._decided(worker, body)

    async def deciders(self, labelled: Mapping[str, set[int | None]]) -> dict[str, int]:
        """Return which workers know payments, where these may be others than the owners of their labels.

        labelled: those owners, None where a label carries no entity.

        Raises RetryError where a worker that may know one does not reply.
        """
        ids_by_worker: dict[int, list[str]] = {}
        for transaction_id, owners in labelled.items():
            for worker in self._holders(transaction_id, but=owners if len(owners) == 1 else ()):
                ids_by_worker.setdefault(worker, []).append(transaction_id)
        replies = await asyncio.gather(*(self._query_known(*each) for each in ids_by_worker.items()))
        return {
            transaction_id: worker
            for worker, known in zip(ids_by_worker, replies, strict=True)
            for transaction_id in known
        }

    async def _query_known(self, worker: int, ids: list[str]) -> Sequence[str]:
        if worker == self._own:
            return self._known_here(ids)
        return cast("list[str]", await self._call(worker, KNOWS, ids))

    def _known_here(self, ids: Sequence[str]) -> list[str]:
        return list(self._dedup_index.entities(ids))

    async def _decided(self, worker: int, transaction_id: str) -> FirstDelivery | None:
        """Return the first decision on an id here, after work in progress on it."""
        while True:
            if transaction_id in self._deciding:
                await self._released.setdefault(transaction_id, asyncio.Event()).wait()
            elif (querying := self._querying.get(transaction_id)) is None:
                break
            elif worker < self._own:
                querying.yielded.setdefault(transaction_id, set()).add(worker)
                break
            else:
                await querying.clear.wait()
        return self._dedup_index.first([transaction_id]).get(transaction_id)

    def _holders(self, transaction_id: str, but: Collection[int | None]) -> set[int]:
        shared_ids = self._shared_ids.items()
        return {
            worker
            for worker, worker_ids in shared_ids
            if worker not in but and self._may_hold(worker, worker_ids, transaction_id)
        }

    def _claim(self, ids: Sequence[str]) -> Held:
        deciding, worker_ids = self._deciding, self._own_ids
        # Ids being decided are cleared already, and these come after them.
        fresh = [transaction_id for transaction_id in ids if transaction_id not in deciding]
        for transaction_id in fresh:
            worker_ids.enter(transaction_id)
        worker_ids.fence()
        for transaction_id in fresh:
            for worker, other_ids in self._others:
                if self._may_hold(worker, other_ids, transaction_id):
                    return {each: holders for each in ids if (holders := self._holders(each, (self._own,)))}
        return {}

    def _decide(self, ids: Sequence[str]) -> None:
        for transaction_id in ids:
            self._deciding[transaction_id] = self._deciding.get(transaction_id, 0) + 1

    def _may_hold(self, worker: int, worker_ids: SharedIds, transaction_id: str) -> bool:
        if worker_ids.may_hold(transaction_id):
            return True
        if worker_ids.is_complete() or worker == self._own:
            return False
        with reading(f"the state file of worker {worker}"):
            return bool(self._files[worker].dedup_index.first([transaction_id]))

    def _doubt(self, ids: Sequence[str], keys: Collection[str], before: Sequence[Claim]) -> Claim:
        doubt = Claim(ids, keys, before)
        self._doubtful.update(dict.fromkeys(keys, doubt))
        return doubt

    def _begin(self, claim: Claim, held: Held) -> None:
        claim.held = held
        self._querying.update(dict.fromkeys(claim.ids, claim))

    async def _query_holders(self, claim: Claim) -> None:
        held = claim.held
        while held:
            pairs = [(transaction_id, worker) for transaction_id, others in held.items() for worker in others]
            replies = await asyncio.gather(
                *(self._call(worker, DECIDED, transaction_id) for transaction_id, worker in pairs)
            )
            for (transaction_id, _), first in zip(pairs, replies, strict=True):
                if first is not None:
                    self._dedup_index.elsewhere[transaction_id] = msgspec.convert(first, FirstDelivery)
            held, claim.yielded = claim.yielded, {}

    def _end(self, claim: Claim) -> None:
        for claims, keys in ((self._querying, claim.ids), (self._doubtful, claim.keys)):
            for key in keys:
                if claims.get(key) is claim:
                    del claims[key]
        for transaction_id in claim.ids:
            if transaction_id not in self._deciding:
                self._dedup_index.elsewhere.pop(transaction_id, None)
        claim.clear.set()
