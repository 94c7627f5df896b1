"""All workers as one: whoever is asked finds the worker that owns an event, and hands on its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from fraud_detection.adapters.http_answers import problem
from fraud_detection.adapters.links import Links
from fraud_detection.errors import RetryError
from fraud_detection.events import Sender
from fraud_detection.run.access import Access, Caller
from fraud_detection.run.api import Reply, line
from fraud_detection.run.following import NEWS, TELL_AFTER_S, Following
from fraud_detection.run.request_door import Answer, Identities, RequestDoor
from fraud_detection.run.shards import Ownership, Place
from fraud_detection.run.worker_metrics import merged, own_metrics

DRAINED = "drained"
STRAY = 404
NOBODY = -1

T = TypeVar("T")


class Together:
    """Answers for all workers, whichever of them has the event, the decision or the caller's allowance.

    statuses: how many requests this worker answered, by status.  forwarded: events that were handed to
    their owners.  drained: the others that have answered their last request and are about to end.  shared:
    events counted here against a share of a rate, while the worker that keeps the rate was away.
    """

    def __init__(
        self, door: RequestDoor, ownership: Ownership, access: Access, following: Following, folder: Path
    ) -> None:
        """Take what this worker owns; `folder` is where the workers meet."""
        self.door, self.ownership, self.access, self.following = door, ownership, access, following
        self.own = following.door.worker
        self.statuses: dict[int, int] = {}
        self.forwarded = self.shared = 0
        self._shares: dict[str, tuple[Caller, Caller]] = {}
        self.drained: set[int] = set()
        self.links = Links(self.own, ownership.workers, folder, self.answer, following.look)

    async def take(
        self, events: Sequence[bytes], sender: Sender, identities: Identities = None
    ) -> list[Reply]:
        """Let each event be taken by its owner, and return the answers in the same order.

        identities: what the events are known by beside ids of their own.

        Raises RetryError when an owner refuses or is away; what the others took stands, and is answered as
        repeated when it is sent again.
        """
        known = list(identities or [None] * len(events))
        owners = await self._owners(events, sender, known)
        if len(set(owners)) == 1:
            told = await self._ask_owner(owners[0], list(events), sender, known)
            return [(status, body) for status, body in told]
        # The own part first: what is refused here at once is not asked elsewhere.
        parts: dict[int, list[int]] = {self.own: []} if self.own in owners else {}
        for place, owner in enumerate(owners):
            parts.setdefault(owner, []).append(place)
        asked = [
            self._ask_owner(owner, [events[at] for at in places], sender, [known[at] for at in places])
            for owner, places in parts.items()
        ]
        answers = await _all(asked)
        replies: list[Reply] = [(0, b"")] * len(events)
        for places, told in zip(parts.values(), answers, strict=True):
            for place, (status, body) in zip(places, told, strict=True):
                replies[place] = (status, body)
        return replies

    async def find(self, transaction_id: str) -> Reply | None:
        """Return the answer that stands on a payment, whoever gave it; None where nobody did."""
        found = self.door.find(transaction_id)
        if found is not None:
            return line(found)
        told, away = await self._ask_others("find", transaction_id)
        for status, body in filter(None, told.values()):
            return status, body
        if away is not None:
            raise away
        return None

    async def spend(self, caller: Caller, events: int) -> float:
        """Take events from the caller's allowance, which one worker keeps for all of them.

        While that one is away each of the others allows its share: together less than the whole.
        """
        home = self.ownership.of_id(caller.name)
        if home == self.own or not caller.limited:
            return caller.spend(events)
        try:
            return float(await self.links.lines[home].ask("spend", [caller.name, events]))
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

    async def tell_news(self) -> None:
        """Tell the others of this worker's commits, until cancelled."""
        news = self.following.news
        while True:
            await asyncio.sleep(TELL_AFTER_S)
            if news:
                self.links.tell(NEWS, news)
                news.clear()

    async def drain(self, most_s: float) -> None:
        """Say that no more will be asked, and answer the others until they say the same, or for `most_s`."""
        self.links.tell(DRAINED, None)
        until = asyncio.get_running_loop().time() + most_s
        while any(one.well and one.other not in self.drained for one in self.links.lines.values()):
            if asyncio.get_running_loop().time() > until:
                return
            await asyncio.sleep(TELL_AFTER_S)

    async def answer(self, other: int, what: str, body: Any) -> Any:  # noqa: ANN401 - each kind has its own
        """Answer another worker; whatever goes wrong, it is told so."""
        with self.door.health.guarded:
            return await self._answer(other, what, body)

    async def _answer(self, other: int, what: str, body: Any) -> Any:  # noqa: ANN401 - each kind has its own
        match what:
            case "take":
                self.drained.discard(other)
                return await self._take_here(body[0], msgspec.convert(body[1], Sender), body[2])
            case "find":
                found = self.door.find(body)
                return None if found is None else line(found)
            case "knows":
                return self._known_here(body)
            case "spend":
                return self.access.named(body[0]).spend(body[1])
            case "metrics":
                return own_metrics(self)
            case "news":
                self.following.heard(other, body)
            case "drained":
                self.drained.add(other)
            case _:
                raise RetryError(
                    f"worker {self.own} does not know what {what!r} is; is it of another version?"
                )
        return None

    async def _owners(
        self, events: Sequence[bytes], sender: Sender, identities: Sequence[str | None]
    ) -> list[int]:
        places = [self.ownership.place(*one) for one in zip(events, identities, strict=True)]
        # Who may tell no labels is not told which payments there are: his are refused here.
        strays = sender.may_label and any(_is_stray(place) for place in places)
        known = await self._whereabouts(places) if strays else {}
        return [
            known.get(str(one.transaction_id), NOBODY)
            if strays and _is_stray(one)
            else (self.own if one.owner is None else one.owner)
            for one in places
        ]

    async def _whereabouts(self, places: Sequence[Place]) -> dict[str, int]:
        """Return which workers know the payments of labels that do not tell their owner."""
        told_of = {str(one.transaction_id) for one in places if _is_stray(one)}
        owners = dict.fromkeys(self._known_here(list(told_of)), self.own)
        # A label may come in one list with its payment.
        for one in places:
            if one.transaction_id in told_of and one.owner is not None and not one.is_label:
                owners[one.transaction_id] = one.owner
        if missing := list(told_of - owners.keys()):
            told, away = await self._ask_others("knows", missing)
            for other, known in told.items():
                owners.update(dict.fromkeys(known, other))
            if away is not None and told_of - owners.keys():
                raise away
        return owners

    def _known_here(self, told_of: Sequence[str]) -> list[str]:
        return list(self.door.door.site.ledger.entities(told_of))

    def _ask_owner(
        self, owner: int, events: list[bytes], sender: Sender, identities: list[str | None]
    ) -> Awaitable[list[Reply]]:
        if owner == self.own:
            return self._take_here(events, sender, identities)
        if owner == NOBODY:
            return _unknown(self.ownership, events)
        self.forwarded += len(events)
        return self.links.lines[owner].ask("take", [events, msgspec.structs.asdict(sender), identities])

    def _take_here(
        self, events: Sequence[bytes], sender: Sender, identities: Sequence[str | None]
    ) -> Awaitable[list[Reply]]:
        """Take events now, so that they keep their order, and answer when they are decided."""
        return _answers(self.door.submit(events, sender, identities))

    async def _ask_others(self, what: str, body: object) -> tuple[dict[int, Any], RetryError | None]:
        """Return the answers of those that answer, and the refusal of one that does not, if there is one."""
        lines = list(self.links.lines.values())
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


def _is_stray(place: Place) -> bool:
    """Return whether only the worker that knows its payment can tell where a label belongs."""
    return place.is_label and place.owner is None and place.transaction_id is not None


async def _answers(decided: asyncio.Future[list[Answer]]) -> list[Reply]:
    return [line(answer) for answer in await decided]


async def _unknown(ownership: Ownership, labels: Sequence[bytes]) -> list[Reply]:
    """Return the answers to labels of payments that no worker knows, and that say nothing of their owner."""
    words = "no worker knows payment {!r}: send its label after it" + (
        f", or with its `{ownership.entity_fields[0][0]}`" if ownership.entity_fields else ""
    )
    told = [words.format(ownership.place(label).transaction_id) for label in labels]
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
