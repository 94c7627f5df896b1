"""Route each event to the worker that owns it, whichever worker receives the request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from fraud_detection.adapters.ipc.rpc_node import RpcNode
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds
from fraud_detection.core.errors import RetryError
from fraud_detection.core.events import Sender
from fraud_detection.serving.http.api_keys import Access, Caller
from fraud_detection.serving.http.batcher import Identities, RequestBatcher, Result
from fraud_detection.serving.http.routes import Reply, encode_result
from fraud_detection.serving.workers import claims
from fraud_detection.serving.workers.claims import Claim, Claims
from fraud_detection.serving.workers.label_owners import NOBODY, owners_of_labels, replies_to_strays
from fraud_detection.serving.workers.ownership import Ownership, Route, SubBatch, turns_of
from fraud_detection.serving.workers.prometheus import merged, own_metrics
from fraud_detection.serving.workers.replication import ANNOUNCE_AFTER_S, NEWS, Replicator

DRAINED = "drained"

T = TypeVar("T")


class Router:
    """Serves requests for all workers, whichever of them owns the event, the decision or the caller's rate.

    statuses: how many requests this worker served, by status.  forwarded: events sent to their owners.
    drained: workers that have served their last request and are about to end.  shared: events counted here
    against a share of a rate, while the worker that keeps the rate was unavailable.
    """

    def __init__(
        self,
        requests: RequestBatcher,
        ownership: Ownership,
        access: Access,
        replicator: Replicator,
        folder: Path,
        shared_ids: Sequence[SharedIds],
    ) -> None:
        """Take what this worker owns; `folder` is where the workers meet, `shared_ids` the ids of each."""
        self.requests, self.ownership, self.access, self.replicator = requests, ownership, access, replicator
        self.own = replicator.service.worker
        self.statuses: dict[int, int] = {}
        self.forwarded = self.shared = 0
        self._shares: dict[str, tuple[Caller, Caller]] = {}
        self.drained: set[int] = set()
        self._tasks: set[asyncio.Task[list[Reply]]] = set()
        files, dedup_index = replicator.service.others, replicator.service.state_file.dedup_index
        self.claims = Claims(self.own, shared_ids, files, dedup_index, self._call)
        self.rpc = RpcNode(self.own, ownership.workers, folder, self.handle, replicator.look)

    async def take(
        self, events: Sequence[bytes], sender: Sender, identities: Identities = None
    ) -> list[Reply]:
        """Let the owner of each event decide it; return the replies in the same order.

        identities: dedup keys of events without ids of their own.

        Raises RetryError when an owner refuses or is unavailable; decisions of the others stand, and a retry
        gets them as duplicates.
        """
        known = list(identities or [None] * len(events))
        routes = [
            self.ownership.route(*event_and_identity)
            for event_and_identity in zip(events, known, strict=True)
        ]
        owners = await self._owners(routes, sender)
        # An event that its sender may not send claims no id.
        ids = [None if route.is_label or not sender.may_decide else route.transaction_id for route in routes]
        whole = SubBatch(list(events), known, ids)
        if len(set(owners)) == 1:
            decided = await self._submit_to_owner(owners[0], whole, sender)
            return [(status, body) for status, body in decided]
        replies: list[Reply] = [(0, b"")] * len(events)
        for turn in turns_of(owners, ids):
            # The own part first: what is rejected here at once is not sent elsewhere.
            parts = sorted(turn.items(), key=lambda sub_batch: sub_batch[0] != self.own)
            requests = [self._submit_to_owner(owner, whole.of(chosen), sender) for owner, chosen in parts]
            for (_, chosen), owner_replies in zip(parts, await _all(requests), strict=True):
                for index, (status, body) in zip(chosen, owner_replies, strict=True):
                    replies[index] = (status, body)
        return replies

    async def find(self, transaction_id: str) -> Reply | None:
        """Return the decision on a payment, of whichever worker; None where there is none."""
        unread: RetryError | None = None
        try:
            view = self.requests.find(transaction_id)
        except RetryError as error:
            # A file that cannot be read now does not hide a decision of another worker.
            view, unread = None, error
        if view is not None:
            return encode_result(view)
        replies, unavailable = await self._call_others("find", transaction_id)
        for status, body in filter(None, replies.values()):
            return status, body
        refused = unread or unavailable
        if refused is not None:
            raise refused
        return None

    async def spend(self, caller: Caller, events: int) -> float:
        """Take events from the caller's allowance, which one worker keeps for all of them.

        While that worker is unavailable, each of the others allows its share: together less than the whole.
        """
        home = self.ownership.worker_of(caller.name)
        if home == self.own or not caller.is_rate_limited:
            return caller.spend(events)
        try:
            return float(await self.rpc.clients[home].call("spend", [caller.name, events]))
        except RetryError:
            # It is unavailable, or has not loaded the keys yet that this one knows.
            self.shared += events
            of, share = self._shares.get(caller.name, (None, caller))
            if of is not caller:
                share = caller.share(self.ownership.workers)
                self._shares[caller.name] = (caller, share)
            return share.spend(events)

    async def metrics(self) -> str:
        """Return the metrics of all workers; those that do not reply are reported as down."""
        texts, _ = await self._call_others("metrics", None)
        texts[self.own] = own_metrics(self)
        return merged({worker: texts.get(worker) for worker in range(self.ownership.workers)})

    async def announce_commits(self) -> None:
        """Announce this worker's commits to the others, until cancelled."""
        news = self.replicator.news
        while True:
            await asyncio.sleep(ANNOUNCE_AFTER_S)
            if news:
                self.rpc.notify(NEWS, news)
                news.clear()

    async def drain(self, timeout_s: float) -> None:
        """Announce the last request, and serve the others until they announce theirs, or for `timeout_s`."""
        self.rpc.notify(DRAINED, None)
        until = asyncio.get_running_loop().time() + timeout_s
        while any(
            client.is_healthy and client.other not in self.drained for client in self.rpc.clients.values()
        ):
            if asyncio.get_running_loop().time() > until:
                return
            await asyncio.sleep(ANNOUNCE_AFTER_S)

    async def handle(self, worker: int, what: str, body: Any) -> Any:  # noqa: ANN401 - each kind has its own
        """Handle a call of another worker; an error becomes its RetryError."""
        with self.requests.health.guarded:
            return await self._handle(worker, what, body)

    async def _handle(self, worker: int, what: str, body: Any) -> Any:  # noqa: ANN401 - each kind has its own
        match what:
            case "take":
                self.drained.discard(worker)
                sub_batch, sender = msgspec.convert(body, tuple[SubBatch, Sender])
                return await self._take_here(sub_batch, sender)
            case "find":
                view = self.requests.find(body)
                return None if view is None else encode_result(view)
            case claims.DECIDED | claims.KNOWS:
                return await self.claims.handle(worker, what, body)
            case "spend":
                return self.access.named(body[0]).spend(body[1])
            case "metrics":
                return own_metrics(self)
            case "news":
                self.replicator.on_commits(worker, body)
            case "drained":
                self.drained.add(worker)
            case _:
                raise RetryError(
                    f"worker {self.own} does not know what {what!r} is; is it of another version?"
                )
        return None

    async def _owners(self, routes: Sequence[Route], sender: Sender) -> list[int]:
        owners = [self.own if route.owner is None else route.owner for route in routes]
        # Without the role for labels a caller must not learn which payments exist: its labels are refused
        # here.
        if sender.may_label and any(route.is_label for route in routes):
            for at, owner in (await owners_of_labels(routes, self.claims)).items():
                owners[at] = owner
        return owners

    def _submit_to_owner(self, owner: int, sub_batch: SubBatch, sender: Sender) -> Awaitable[list[Reply]]:
        if owner == self.own:
            return self._take_here(sub_batch, sender)
        if owner == NOBODY:
            return replies_to_strays(self.ownership, sub_batch.events)
        self.forwarded += len(sub_batch.events)
        return self.rpc.clients[owner].call("take", [sub_batch, msgspec.structs.asdict(sender)])

    def _take_here(self, sub_batch: SubBatch, sender: Sender) -> Awaitable[list[Reply]]:
        """Queue events now, so that they keep their order, and reply when they are decided.

        Where another worker may hold an id, they are queued when the claim is cleared.
        """
        ids = [transaction_id for transaction_id in sub_batch.ids if transaction_id is not None]
        claim = self.claims.claim(ids, lambda: self._keys(sub_batch))
        if claim is None:
            return _replies(self._submit(sub_batch, sender, ids))
        # A separate task: it goes on, and releases the ids, when the caller has gone.
        task = asyncio.get_running_loop().create_task(self._take_when_clear(claim, sub_batch, sender))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return asyncio.shield(task)

    async def _take_when_clear(self, claim: Claim, sub_batch: SubBatch, sender: Sender) -> list[Reply]:
        await self.claims.cleared(claim)
        return await _replies(self._submit(sub_batch, sender, claim.ids))

    def _submit(
        self, sub_batch: SubBatch, sender: Sender, ids: Sequence[str]
    ) -> asyncio.Future[list[Result]]:
        try:
            return self.requests.submit(
                sub_batch.events, sender, sub_batch.identities, lambda: self.claims.release(ids)
            )
        except RetryError:
            self.claims.release(ids)
            raise

    def _keys(self, sub_batch: SubBatch) -> set[str]:
        """Return ids and cards of events, the cards with a prefix."""
        routes = [
            self.ownership.route(*event_and_identity)
            for event_and_identity in zip(sub_batch.events, sub_batch.identities, strict=True)
        ]
        keys = {route.transaction_id for route in routes}
        keys |= {f"\n{route.ordering}" for route in routes if route.ordering is not None}
        return {key for key in keys if key is not None}

    def _call(self, worker: int, what: str, body: object) -> Awaitable[Any]:
        return self.rpc.clients[worker].call(what, body)

    async def _call_others(self, what: str, body: object) -> tuple[dict[int, Any], RetryError | None]:
        """Return the replies of the workers, and the RetryError of one that does not reply, if any."""
        clients = list(self.rpc.clients.values())
        replies = await asyncio.gather(
            *(client.call(what, body) for client in clients), return_exceptions=True
        )
        results: dict[int, Any] = {}
        unavailable: RetryError | None = None
        for client, reply in zip(clients, replies, strict=True):
            if isinstance(reply, RetryError):
                unavailable = reply
            elif isinstance(reply, BaseException):
                raise reply
            else:
                results[client.other] = reply
        return results, unavailable


async def _replies(decided: asyncio.Future[list[Result]]) -> list[Reply]:
    return [encode_result(reply) for reply in await decided]


async def _all(requests: Sequence[Awaitable[T]]) -> list[T]:
    """Return all replies; raise the first error when all are done."""
    if len(requests) == 1:
        return [await requests[0]]
    replies = await asyncio.gather(*requests, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    return cast("list[T]", replies)
