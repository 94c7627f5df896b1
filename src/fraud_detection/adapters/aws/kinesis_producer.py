"""Put records on a Kinesis stream: none lost in silence, each key's in order, none sent again once accepted.

PutRecords keeps no order within a call and may refuse some of its records.  So a call holds at most one
record of a key, and what was refused goes first next time, before any later record of its key.  A call
whose answer is lost is the one case in which a record may arrive twice; whoever reads the stream has to
know payments by their id.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from fraud_detection.core.errors import ConfigError, RejectError, RetryError
from fraud_detection.core.id_text import canonical_id
from fraud_detection.core.lenient_json import object_of

MAX_RECORDS = 500
MAX_BYTES = 5 << 20
MAX_RECORD_BYTES = 1 << 20
MAX_KEY_LENGTH = 256
INITIAL_BACKOFF_S = 0.05
MAX_BACKOFF_S = 5.0
TIMEOUT_S = 120.0
BUSY = {
    "ProvisionedThroughputExceededException",
    "KMSThrottlingException",
    "LimitExceededException",
    "InternalFailure",
    "InternalFailureException",
    "ServiceUnavailable",
    "ThrottlingException",
}
"""What may succeed later; anything else that a whole call answers is a mistake in the set-up."""


class KinesisClient(Protocol):
    """The one call of boto3's client that is used."""

    def put_records(self, *, StreamName: str, Records: Sequence[Mapping[str, object]]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Put records; the answer says for each whether it was accepted."""


class Waiting(msgspec.Struct, gc=False):
    """A record that was not accepted yet.

    key: decides order and shard.  sent_as: the partition key it is sent under, where that is another.
    """

    key: str
    data: bytes
    sent_as: str = ""

    def size(self) -> int:
        """Return the bytes that count against the limits."""
        return len(self.data) + len((self.sent_as or self.key).encode())

    def entry(self) -> dict[str, object]:
        """Return the record as a call takes it."""
        if self.sent_as in {"", self.key}:
            return {"Data": self.data, "PartitionKey": self.key}
        hash_key = int(hashlib.md5(self.key.encode(), usedforsecurity=False).hexdigest(), 16)
        return {"Data": self.data, "PartitionKey": self.sent_as, "ExplicitHashKey": str(hash_key)}


class KinesisProducer:
    """Sends records in calls as large as the limits allow.

    waiting: records not accepted yet.  accepted, refused, calls: counts since the start; a record that
    is refused twice counts twice.
    """

    def __init__(
        self,
        client: KinesisClient,
        stream: str,
        *,
        timeout_s: float = TIMEOUT_S,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take boto3's client; `timeout_s` is how long nothing may be accepted before RetryError."""
        self.waiting: list[Waiting] = []
        self.accepted = 0
        self.refused = 0
        self.calls = 0
        self._client, self._stream = client, stream
        self._timeout_s, self._pause, self._clock = timeout_s, pause, clock
        self._bytes = 0
        self._idle_calls = 0
        self._last_accepted = clock()

    def put(self, key: str, data: bytes, sent_as: str = "") -> None:
        """Take a record, and send when a call is full: a caller who is too fast waits here.

        sent_as: its partition key, where it only goes to the shard of `key`, in order with others of that.

        Raises RejectError for a record that Kinesis never takes, RetryError when its timeout passes.
        """
        record = Waiting(key, data, sent_as)
        if not 0 < len(key) <= MAX_KEY_LENGTH:
            raise RejectError(f"a partition key needs 1 to {MAX_KEY_LENGTH} characters, got {len(key)}")
        if record.size() > MAX_RECORD_BYTES:
            raise RejectError(f"a record of {record.size():,} bytes is larger than {MAX_RECORD_BYTES:,}")
        if not self.waiting:
            self._last_accepted = self._clock()
        self.waiting.append(record)
        self._bytes += record.size()
        if len(self.waiting) >= MAX_RECORDS or self._bytes >= MAX_BYTES:
            self._send()

    def flush(self) -> None:
        """Return when everything was accepted; raise RetryError when the timeout passes."""
        while self.waiting:
            self._send()

    def _send(self) -> None:
        """Make one call; wait after it if anything was refused."""
        call = self._next_call()
        refused = self._refused(call)
        self.calls += 1
        self.refused += len(refused)
        self.accepted += len(call) - len(refused)
        accepted = set(map(id, call)) - set(map(id, refused))
        self.waiting = [record for record in self.waiting if id(record) not in accepted]
        self._bytes = sum([record.size() for record in self.waiting])
        self._idle_calls = 0 if accepted else self._idle_calls + 1
        if accepted:
            self._last_accepted = self._clock()
        elif self._clock() - self._last_accepted > self._timeout_s:
            raise RetryError(
                f"stream {self._stream}: nothing was accepted for {self._timeout_s:g} s; "
                f"{len(self.waiting):,} records wait; does it have enough shards?"
            )
        if refused:
            longest = min(MAX_BACKOFF_S, INITIAL_BACKOFF_S * 2**self._idle_calls)
            self._pause(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter of retries, guards nothing

    def _next_call(self) -> list[Waiting]:
        """Return the first records that fit into a call, at most one of each key."""
        call: list[Waiting] = []
        keys: set[str] = set()
        size = 0
        for record in self.waiting:
            if record.key in keys:
                continue
            keys.add(record.key)
            size += record.size()
            if size > MAX_BYTES or len(call) == MAX_RECORDS:
                break
            call.append(record)
        return call

    def _refused(self, call: Sequence[Waiting]) -> list[Waiting]:
        records = [record.entry() for record in call]
        try:
            response = self._client.put_records(StreamName=self._stream, Records=records)
        except ClientError as error:
            if error.response["Error"]["Code"] in BUSY:
                return list(call)
            raise ConfigError(f"stream {self._stream}: {error}") from None
        except (NoCredentialsError, ParamValidationError) as error:
            raise ConfigError(f"stream {self._stream}: {error}") from None
        except BotoCoreError:
            # The answer was lost, or the call never left: sent again, which may repeat it.
            return list(call)
        return [
            record
            for record, each in zip(call, response["Records"], strict=True)
            if each.get("ErrorCode") is not None
        ]


class KinesisReceiver:
    """Lines of JSON as records: those of one key, such as a card, stay in order.

    keys: the fields that give the partition key, the first that a line has; a line that has none is a
    stream of its own, known by its content.
    """

    def __init__(self, producer: KinesisProducer, keys: Sequence[str]) -> None:
        """Take the producer that sends."""
        self._producer, self._keys = producer, tuple(keys)

    def write(self, data: bytes) -> None:
        """Send the lines, all but those of a call that is not full yet."""
        for line in data.splitlines():
            if line.strip():
                self._producer.put(self._key(line), line)

    def close(self) -> None:
        """Return when all was accepted."""
        self._producer.flush()

    def _key(self, line: bytes) -> str:
        try:
            event = object_of(line)
        except RejectError:
            event = {}
        values = [event[key] for key in self._keys if event.get(key)]
        return (
            canonical_id(str(values[0]))[:MAX_KEY_LENGTH]
            if values
            else hashlib.blake2b(line, digest_size=12).hexdigest()
        )
