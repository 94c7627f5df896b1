"""Send messages to an SQS queue that is known by its ARN."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.errors import ConfigError, RetryError


class SqsQueue:
    """One queue."""

    def __init__(self, client: Any, arn: str) -> None:  # noqa: ANN401 - botocore's client has no type
        """Look the queue up; raise ConfigError when there is none."""
        self._client = client
        try:
            self.url = str(client.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"])
        except (ClientError, BotoCoreError) as error:
            raise ConfigError(f"queue {arn}: {error}") from None

    def send(self, message: bytes) -> None:
        """Send one message; raise RetryError when it was not accepted."""
        try:
            self._client.send_message(QueueUrl=self.url, MessageBody=message.decode())
        except (ClientError, BotoCoreError) as error:
            raise RetryError(f"queue {self.url}: {error}") from None
