"""One log group of CloudWatch: its newest lines as they come, and lines put into it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.core.errors import ConfigError, RetryError

OVERLAP_MS = 10_000
"""Lines become visible some seconds after they were written, and not in their order."""
MAX_EVENTS = 10_000
EVENTS_A_PUT, BYTES_A_PUT, BYTES_AN_EVENT = 10_000, 1 << 20, 26


class LogTail:
    """Tail of a log group: continues where it stopped; every line comes once.

    since_ms: from when on, in ms since 1970.  overlap_ms: how late a line may become visible.
    """

    def __init__(self, client: Any, group: str, since_ms: int, overlap_ms: int = OVERLAP_MS) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take boto3's client."""
        self._client, self._group = client, group
        self._since, self._overlap = since_ms, overlap_ms
        self._seen: dict[str, int] = {}

    def news(self) -> list[str]:
        """Return the lines that have become visible since the last call, the oldest first."""
        events = self._events(max(0, self._since))
        fresh = sorted(
            (event for event in events if event["eventId"] not in self._seen),
            key=lambda event: int(event["timestamp"]),
        )
        self._seen |= {event["eventId"]: int(event["timestamp"]) for event in fresh}
        if fresh:
            self._since = max(self._since, int(fresh[-1]["timestamp"]) - self._overlap)
            self._seen = {event_id: at for event_id, at in self._seen.items() if at >= self._since}
        return [str(event["message"]) for event in fresh]

    def _events(self, since_ms: int) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        more: dict[str, Any] = {"startTime": since_ms}
        while True:
            try:
                response = self._client.filter_log_events(logGroupName=self._group, limit=MAX_EVENTS, **more)
            except (ClientError, BotoCoreError) as error:
                raise _refused(self._group, error) from None
            page = response["events"]
            events += page
            last = int(page[-1]["timestamp"]) if page else since_ms
            if response.get("nextToken"):
                more = {"startTime": since_ms, "nextToken": response["nextToken"]}
            elif len(page) >= MAX_EVENTS and last > more["startTime"]:
                # A full page without a token: what follows is asked for by its time.
                more = {"startTime": last}
            else:
                return events


class LogWriter:
    """Writes lines into one log stream, as Lambda does with what a function prints."""

    def __init__(self, client: Any, group: str, stream: str) -> None:  # noqa: ANN401 - boto3's client has no type
        """Make the stream, if it is not there."""
        self._client, self._where = client, {"logGroupName": group, "logStreamName": stream}
        try:
            client.create_log_stream(**self._where)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise _refused(group, error) from None

    def put(self, lines: Sequence[bytes]) -> None:
        """Put the lines, with the time of this moment."""
        chunk: list[dict[str, Any]] = []
        size, now = 0, round(1000 * time.time())
        for line in lines:
            if chunk and (len(chunk) == EVENTS_A_PUT or size + len(line) + BYTES_AN_EVENT > BYTES_A_PUT):
                self._send(chunk)
                chunk, size = [], 0
            chunk.append({"timestamp": now, "message": line.decode(errors="replace")})
            size += len(line) + BYTES_AN_EVENT
        if chunk:
            self._send(chunk)

    def _send(self, events: list[dict[str, Any]]) -> None:
        try:
            self._client.put_log_events(**self._where, logEvents=events)
        except (ClientError, BotoCoreError) as error:
            raise RetryError(f"log {self._where['logGroupName']}: {error}") from None


def _refused(group: str, error: Exception) -> ConfigError:
    return ConfigError(f"log group {group}: AWS refuses: {error}")
