"""HTTP routes of one worker of several: the same responses, whichever worker gets the request."""

from __future__ import annotations

import msgspec

from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.serving.http.api_keys import Access, Caller
from fraud_detection.serving.http.health import Readiness
from fraud_detection.serving.http.request_identity import request_identities
from fraud_detection.serving.http.routes import OK, TEXT, Api, OnResult, Problem, alone, events_of, too_early
from fraud_detection.serving.workers.router import Router

NOT_YET = 503


class WorkerApi(Api):
    """The same paths as those of one process; the router calls other workers where needed."""

    def __init__(self, router: Router, access: Access, openapi: bytes) -> None:
        """Take the router over all workers."""
        super().__init__(router.requests, access, openapi)
        self.router = router
        router.statuses = self.statuses

    def _take(self, caller: Caller, body: bytes, on_result: OnResult, key: bytes | None) -> None:
        self.later(self._taken(caller, body, key), on_result)

    def _find(self, request: Request, on_result: OnResult) -> None:
        self.later(self._found(self.requested_id(request)), on_result)

    def _ready(self, request: Request, on_result: OnResult) -> None:
        unavailable = [client.other for client in self.router.rpc.clients.values() if not client.is_healthy]
        if unavailable:
            readiness = Readiness("not ready", workers_unavailable=unavailable)
            on_result(Response(NOT_YET, msgspec.json.encode(readiness)))
        else:
            super()._ready(request, on_result)

    def _metrics(self, request: Request, on_result: OnResult) -> None:
        self._allowed(request, "operate")
        self.later(self._metrics_of_all(), on_result)

    async def _taken(self, caller: Caller, body: bytes, key: bytes | None) -> Response:
        events, many = events_of(body)
        early = await self.router.spend(caller, len(events))
        if early:
            raise too_early(caller, early)
        identities = request_identities(caller.name, key, len(events), many=many)
        replies = await self.router.take(events, caller.sender, identities)
        if many:
            return Response(OK, b"[" + b",".join(content for _, content in replies) + b"]")
        return alone(*replies[0])

    async def _found(self, transaction_id: str) -> Response:
        reply = await self.router.find(transaction_id)
        if reply is None:
            raise Problem(404, f"no decision on {transaction_id!r}")
        return alone(*reply)

    async def _metrics_of_all(self) -> Response:
        return Response(OK, (await self.router.metrics()).encode(), TEXT)
