"""The request door over HTTP at one worker of several: the same answers, whichever worker is asked."""

from __future__ import annotations

import msgspec

from fraud_detection.run.access import Access, Caller
from fraud_detection.run.api import OK, Api, Message, Problem, Receive, Reply, events_of, too_early
from fraud_detection.run.together import Together

NOT_YET = 503


class WorkerApi(Api):
    """The same paths as those of one process; what needs another worker is asked of it."""

    def __init__(self, together: Together, access: Access, openapi: bytes) -> None:
        """Take what answers for all workers."""
        super().__init__(together.door, access, openapi)
        self.together = together
        together.statuses = self.statuses

    async def _take(self, caller: Caller, body: bytes) -> Reply:
        events, many = events_of(body)
        early = await self.together.spend(caller, len(events))
        if early:
            raise too_early(caller, early)
        replies = await self.together.take(events)
        if many:
            return OK, b"[" + b",".join(told for _, told in replies) + b"]"
        return replies[0]

    async def _find(self, scope: Message, _: Receive) -> Reply:
        self._allowed(scope, "read")
        one = scope["path"].removeprefix("/v1/decisions/")
        found = await self.together.find(one)
        if found is None:
            raise Problem(404, f"no decision on {one!r}")
        return found

    async def _ready(self, scope: Message, receive: Receive) -> Reply:
        away = [one.other for one in self.together.links.lines.values() if not one.up]
        if not away:
            return await super()._ready(scope, receive)
        return NOT_YET, msgspec.json.encode({"status": "not ready", "workers_away": away})

    async def _metrics(self, scope: Message, _: Receive) -> Reply:
        self._allowed(scope, "operate")
        return OK, (await self.together.metrics()).encode()
