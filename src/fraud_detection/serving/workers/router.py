"""Route each event to the worker that owns it, whichever worker receives the request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from fraud_detection.adapters.http.answers import problem
from fraud_detection.adapters.ipc.rpc import RpcNode
from fraud_detection.adapters.sqlite.shared_ids import SharedIds
from fraud_detection.core.errors import RetryError
from fraud_detection.core.events import Sender
from fraud_detection.serving.http.api_keys import Access, Caller
from fraud_detection.serving.http.batcher import Answer, Identities, RequestBatcher
from fraud_detection.serving.http.routes import Reply, line
from fraud_detection.serving.workers import claims
from fraud_detection.serving.workers.claims import Claim, Claims
from fraud_detection.serving.workers.ownership import Ownership, Part, Route, turns_of
from fraud_detection.serving.workers.prometheus import merged, own_metrics
from fraud_detection.serving.workers.replication import ANNOUNCE_AFTER_S, NEWS, Replicator

DRAINED = "drained"
STRAY = 404
NOBODY = -1

T = TypeVar("T")


class Router:
    """Serves requests for all workers, whichever of them owns the event, the decision or the caller's rate.

    statuses: how many requests this worker answered, by status.  forwarded: events that were handed to
    their owners.  drained: the others that have answered their last request and are about to end.  shared:
    events counted here against a share of a rate, while the worker that keeps the rate was away.
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
        self.claims = Claims(self.own, shared_ids, files, dedup_index, self._ask)
        self.rpc = RpcNode(self.own, ownership.workers, folder, self.answer, replicator.look)

    async def take(
        self, events: Sequence[bytes], sender: Sender, identities: Identities = None
    ) -> list[Reply]:
        """Let the owner of each event decide it; return the answers in the same order.

        identities: what the events are known by beside ids of their own.

        Raises RetryError when an owner refuses or is away; what the others took stands, and is answered as
        a duplicate when it is sent again.
        """
        known = list(identities or [None] * len(events))
        routes = [self.ownership.route(*one) for one in zip(events, known, strict=True)]
        owners = await self._owners(routes, sender)
        # What its sender may not have decided claims no id.
        ids = [None if one.is_label or not sender.may_decide else one.transaction_id for one in routes]
        whole = Part(list(events), known, ids)
        if len(set(owners)) == 1:
            told = await self._ask_owner(owners[0], whole, sender)
            return [(status, body) for status, body in told]
        replies: list[Reply] = [(0, b"")] * len(events)
        for turn in turns_of(owners, ids):
            # The own part first: what is refused here at once is not asked elsewhere.
            parts = sorted(turn.items(), key=lambda part: part[0] != self.own)
            asked = [self._ask_owner(owner, whole.of(chosen), sender) for owner, chosen in parts]
            for (_, chosen), answers in zip(parts, await _all(asked), strict=True):
                for index, (status, body) in zip(chosen, answers, strict=True):
                    replies[index] = (status, body)
        return replies

    async def find(self, transaction_id: str) -> Reply | None:
        """Return the answer that stands on a payment, whoever gave it; None where nobody did."""
        unread: RetryError | None = None
        try:
            found = self.requests.find(transaction_id)
        except RetryError as error:
            # A file that cannot be read just now hides nothing that another worker can tell.
            found, unread = None, error
        if found is not None:
            return line(found)
        told, away = await self._ask_others("find", transaction_id)
        for status, body in filter(None, told.values()):
            return status, body
        refused = unread or away
        if refused is not None:
            raise refused
        return None

    async def spend(self, caller: Caller, events: int) -> float:
        """Take events from the caller's allowance, which one worker keeps for all of them.

        While that one is away each of the others allows its share: together less than the whole.
        """
        home = self.ownership.of_id(caller.name)
        if home == self.own or not caller.is_rate_limited:
            return caller.spend(events)
        try:
            return float(await self.rpc.clients[home].ask("spend", [caller.name, events]))
        except RetryError:
            # It is away, or has not read the keys yet that this one knows.
            self.shared += events
            of, share = self._shares.get(caller.name, (None, caller))
            if of is not caller:
                share = caller.share(self.ownership.workers)
                self._shares[caller.name] = (caller, share)
            return share.spend(events)

    async def metrics(self) -> str:
        """Return the metrics of all workers; those that do not answer are said to be down."""
        told, _ = await self._ask_others("metrics", None)
        told[self.own] = own_metrics(self)
        return merged({worker: told.get(worker) for worker in range(self.ownership.workers)})

    async def announce_commits(self) -> None:
        """Announce this worker's commits to the others, until cancelled."""
        news = self.replicator.news
        while True:
            await asyncio.sleep(ANNOUNCE_AFTER_S)
            if news:
                self.rpc.notify(NEWS, news)
                news.clear()

    async def drain(self, most_s: float) -> None:
        """Announce the last request, and serve the others until they announce theirs, or for `most_s`."""
        self.rpc.notify(DRAINED, None)
        until = asyncio.get_running_loop().time() + most_s
        while any(one.is_healthy and one.other not in self.drained for one in self.rpc.clients.values()):
            if asyncio.get_running_loop().time() > until:
                return
            await asyncio.sleep(ANNOUNCE_AFTER_S)

    async def answer(self, other: int, what: str, body: Any) -> Any:  # noqa: ANN401 - each kind has its own
        """Answer another worker; whatever goes wrong, it is told so."""
        with self.requests.health.guarded:
            return await self._answer(other, what, body)

    async def _answer(self, other: int, what: str, body: Any) -> Any:  # noqa: ANN401 - each kind has its own
        match what:
            case "take":
                self.drained.discard(other)
                part, sender = msgspec.convert(body, tuple[Part, Sender])
                return await self._take_here(part, sender)
            case "find":
                found = self.requests.find(body)
                return None if found is None else line(found)
            case claims.DECIDED | claims.KNOWS:
                return await self.claims.answer(other, what, body)
            case "spend":
                return self.access.named(body[0]).spend(body[1])
            case "metrics":
                return own_metrics(self)
            case "news":
                self.replicator.on_commits(other, body)
            case "drained":
                self.drained.add(other)
            case _:
                raise RetryError(
                    f"worker {self.own} does not know what {what!r} is; is it of another version?"
                )
        return None

    async def _owners(self, routes: Sequence[Route], sender: Sender) -> list[int]:
        owners = [self.own if one.owner is None else one.owner for one in routes]
        # Who may tell no labels is not told which payments there are: his are refused here.
        if sender.may_label and any(one.is_label for one in routes):
            for at, owner in (await self._owners_of_labels(routes)).items():
                owners[at] = owner
        return owners

    async def _owners_of_labels(self, routes: Sequence[Route]) -> dict[int, int]:
        """Return by their indices who takes labels: who knows the payment, else who owns the card."""
        labels = {at: one for at, one in enumerate(routes) if one.is_label and one.transaction_id is not None}
        # A label may come in one list with its payment, of which the first one stands.
        payments = [one for one in reversed(routes) if one.transaction_id is not None and not one.is_label]
        listed = {str(one.transaction_id): one.owner for one in payments}
        labelled: dict[str, set[int | None]] = {}
        for label in labels.values():
            one = str(label.transaction_id)
            labelled.setdefault(one, set()).update({label.owner, listed.get(one, label.owner)})
        known = listed | await self.claims.deciders(labelled)
        owners = {at: known.get(str(one.transaction_id), one.owner) for at, one in labels.items()}
        return {at: NOBODY if owner is None else owner for at, owner in owners.items()}

    def _ask_owner(self, owner: int, part: Part, sender: Sender) -> Awaitable[list[Reply]]:
        if owner == self.own:
            return self._take_here(part, sender)
        if owner == NOBODY:
            return _unknown(self.ownership, part.events)
        self.forwarded += len(part.events)
        return self.rpc.clients[owner].ask("take", [part, msgspec.structs.asdict(sender)])

    def _take_here(self, part: Part, sender: Sender) -> Awaitable[list[Reply]]:
        """Take events now, so that they keep their order, and answer when they are decided.

        Where another worker may have the id of one, they are taken as soon as that is certain.
        """
        ids = [one for one in part.ids if one is not None]
        claim = self.claims.claim(ids, lambda: self._keys(part))
        if claim is None:
            return _answers(self._submit(part, sender, ids))
        # A task of its own: it goes on, and lets go of the ids, when whoever asked has gone.
        task = asyncio.get_running_loop().create_task(self._take_when_clear(claim, part, sender))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return asyncio.shield(task)

    async def _take_when_clear(self, claim: Claim, part: Part, sender: Sender) -> list[Reply]:
        await self.claims.cleared(claim)
        return await _answers(self._submit(part, sender, claim.ids))

    def _submit(self, part: Part, sender: Sender, ids: Sequence[str]) -> asyncio.Future[list[Answer]]:
        try:
            return self.requests.submit(
                part.events, sender, part.identities, lambda: self.claims.release(ids)
            )
        except RetryError:
            self.claims.release(ids)
            raise

    def _keys(self, part: Part) -> set[str]:
        """Return ids and cards of events, each told apart from the other."""
        routes = [self.ownership.route(*one) for one in zip(part.events, part.identities, strict=True)]
        keys = {one.transaction_id for one in routes}
        keys |= {f"\n{one.ordering}" for one in routes if one.ordering is not None}
        return {key for key in keys if key is not None}

    def _ask(self, other: int, what: str, body: object) -> Awaitable[Any]:
        return self.rpc.clients[other].ask(what, body)

    async def _ask_others(self, what: str, body: object) -> tuple[dict[int, Any], RetryError | None]:
        """Return the answers of those that answer, and the refusal of one that does not, if there is one."""
        lines = list(self.rpc.clients.values())
        answers = await asyncio.gather(*(one.ask(what, body) for one in lines), return_exceptions=True)
        told: dict[int, Any] = {}
        away: RetryError | None = None
        for one, answer in zip(lines, answers, strict=True):
            if isinstance(answer, RetryError):
                away = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                told[one.other] = answer
        return told, away


async def _answers(decided: asyncio.Future[list[Answer]]) -> list[Reply]:
    return [line(answer) for answer in await decided]


async def _unknown(ownership: Ownership, labels: Sequence[bytes]) -> list[Reply]:
    """Return the answers to labels of payments that no worker knows, and that say nothing of their owner."""
    message = "no worker knows payment {!r}: send its label after it" + (
        f", or with its `{ownership.entity_fields[0][0]}`" if ownership.entity_fields else ""
    )
    told = [message.format(ownership.route(label).transaction_id) for label in labels]
    return [(STRAY, problem(STRAY, one).body) for one in told]


async def _all(asked: Sequence[Awaitable[T]]) -> list[T]:
    """Return all answers; raise the first refusal when everybody has answered."""
    if len(asked) == 1:
        return [await asked[0]]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return cast("list[T]", answers)
