"""One SQS queue: messages are sent, and deleted once they are processed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.core.errors import ConfigError, RetryError

HIDDEN_S = 300


class SqsQueue:
    """One queue."""

    def __init__(self, client: Any, name: str) -> None:  # noqa: ANN401 - botocore's client has no type
        """Look the queue up by its ARN or its name; raise ConfigError when there is none."""
        self._client = client
        try:
            self.url = str(client.get_queue_url(QueueName=name.rpartition(":")[2])["QueueUrl"])
        except (ClientError, BotoCoreError) as error:
            raise ConfigError(f"queue {name}: {error}") from None

    def send(self, message: bytes) -> None:
        """Send one message; raise RetryError when it was not accepted."""
        try:
            self._client.send_message(QueueUrl=self.url, MessageBody=message.decode())
        except (ClientError, BotoCoreError) as error:
            raise RetryError(f"queue {self.url}: {error}") from None

    def take(self, done: Callable[[str], object], timeout_s: int = 10) -> int:
        """Give each message that waits to `done`, and remove it when that returns; return how many.

        timeout_s: how long an empty queue is asked; SQS may say that nothing waits when something does.
        """
        count = 0
        while message := self._receive(timeout_s):
            done(message["Body"])
            self._remove(message["ReceiptHandle"])
            count += 1
        return count

    def _receive(self, timeout_s: int) -> dict[str, Any] | None:
        # One at a time, hidden from others while it is being done.
        request = {"MaxNumberOfMessages": 1, "WaitTimeSeconds": timeout_s, "VisibilityTimeout": HIDDEN_S}
        try:
            messages = self._client.receive_message(QueueUrl=self.url, **request).get("Messages", [])
        except (ClientError, BotoCoreError) as error:
            raise RetryError(f"queue {self.url}: {error}") from None
        return dict(messages[0]) if messages else None

    def _remove(self, receipt: str) -> None:
        try:
            self._client.delete_message(QueueUrl=self.url, ReceiptHandle=receipt)
        except (ClientError, BotoCoreError) as error:
            raise RetryError(f"queue {self.url}: {error}") from None
