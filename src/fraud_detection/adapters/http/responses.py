"""Answers of an HTTP connection in bytes, and problem details as RFC 9457 defines them."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from fraud_detection.adapters.http.messages import Response

PROBLEM = b"application/problem+json"
Headers = Iterable[tuple[bytes, bytes]]


class ProblemDetails(msgspec.Struct, frozen=True):
    """An error; `record` is that of an event that was quarantined."""

    type: Annotated[str, Meta(extra_json_schema={"format": "uri-reference"})]
    title: str
    status: int
    detail: str
    record: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})] | UnsetType = UNSET


def problem(
    status: int,
    detail: str,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    record: msgspec.Raw | UnsetType = UNSET,
) -> Response:
    """Return an error as problem details.

    >>> problem(404, "no such path").body
    b'{"type":"about:blank","title":"Not Found","status":404,"detail":"no such path"}'
    """
    details = ProblemDetails("about:blank", HTTPStatus(status).phrase, int(status), detail, record)
    return Response(status, msgspec.json.encode(details), PROBLEM, headers)


def encoded(
    response: Response, default_headers: Headers, request_id: bytes, *, last: bool, bare: bool
) -> bytes:
    """Return the bytes of a response.

    default_headers: they carry the date.  last: the connection ends with it.  bare: it has no body, as one
    to HEAD.
    """
    body = response.body
    parts = [STATUS[response.status], b"content-type: ", response.kind]
    parts.append(b"\r\ncontent-length: %d\r\n" % len(body))
    for name, value in (*default_headers, *response.headers):
        parts += (name, b": ", value, b"\r\n")
    parts += (b"x-request-id: ", request_id, b"\r\n")
    parts.append(b"connection: close\r\n\r\n" if last else b"\r\n")
    if not bare:
        parts.append(body)
    return b"".join(parts)


STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
