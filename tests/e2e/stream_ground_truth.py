"""What a stream must have led to, recounted naively from its records: once each, bit-identical."""

from __future__ import annotations

import re
import threading
import zlib
from array import array
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from fraud_detection.adapters.aws.kinesis_consumer import ShardReader, StreamRecord, list_shards
from fraud_detection.adapters.aws.kpl import MAX_EVENTS
from fraud_detection.adapters.aws.state.dynamodb_decisions import DecisionItem
from fraud_detection.adapters.aws.state.versioned_profiles import NUMBER_BYTES
from fraud_detection.core.errors import RejectError
from fraud_detection.core.events import Label, Transaction
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile import Profile
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import Project
from tools.local_aws.tap import Call, Reply

Seen = dict[str, int]


class Event(msgspec.Struct, frozen=True):
    """A record that came: its shard, its number, when, and what it says; None for what says nothing."""

    shard: str
    number: int
    arrived_s: float
    data: bytes
    item: Transaction | Label | None


class SavedProfiles:
    """Watches the table of profiles: what each version of a profile had seen of each shard."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], Seen] = {}
        self._lock = threading.Lock()

    def __call__(self, call: Call, reply: Reply) -> None:
        if call.operation == "BatchExecuteStatement" and reply.status == 200:
            statements = msgspec.json.decode(call.body)["Statements"]
            responses = msgspec.json.decode(reply.body)["Responses"]
            done = [
                _written(statement)
                for statement, response in zip(statements, responses, strict=True)
                if "Error" not in response
            ]
            with self._lock:
                self.seen |= {(item["k"]["S"], int(item["v"]["N"])): _seen(item) for item in done}


def _written(item: dict[str, Any]) -> dict[str, Any]:
    """Return the item that a statement wrote."""
    names = re.findall(r"'(\w+)': \?", item["Statement"]) or re.findall(r"(\w+)=\?", item["Statement"])
    # The condition of an update names the version that was there before: the first one is that which was set.
    return dict(reversed(list(zip(names, item["Parameters"], strict=True))))


def _seen(item: dict[str, Any]) -> Seen:
    stored = zlib.decompress(b64decode(item["c"]["B"]))
    seen, _ = msgspec.msgpack.decode(stored, type=tuple[dict[str, bytes], msgspec.Raw])
    return {
        shard: int.from_bytes(position[:NUMBER_BYTES], "big") // MAX_EVENTS
        for shard, position in seen.items()
    }


def log_lines(client: Any, group: str) -> Iterator[str]:  # noqa: ANN401 - boto3's client
    """Return every line of a group of the log."""
    for stream in client.describe_log_streams(logGroupName=group)["logStreams"]:
        request: dict[str, Any] = {"startTime": 0}
        while True:
            page = client.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True, **request
            )
            yield from (event["message"] for event in page["events"])
            if not page["events"] or request.get("nextToken") == page["nextForwardToken"]:
                break
            request = {"nextToken": page["nextForwardToken"]}


def records(client: Any, stream_arn: str) -> Iterator[tuple[str, StreamRecord]]:  # noqa: ANN401 - boto3's client
    """Return every record of a stream, in the order of each shard."""
    for shard in list_shards(client, stream_arn):
        reader = ShardReader(client, stream_arn, shard.name)
        new_records = reader.read()
        while new_records.records or new_records.lag_ms:
            yield from ((shard.name, record) for record in new_records.records)
            new_records = reader.read()


def events(project: Project, stream_records: Iterable[tuple[str, StreamRecord]]) -> list[Event]:
    """Return what the records say, by the order of their arrival in each shard."""
    parser = Parser(project.schema)
    return [
        Event(shard, int(record.number), record.arrived_s, record.data, _read(parser, record))
        for shard, record in stream_records
    ]


def _read(parser: Parser, record: StreamRecord) -> Transaction | Label | None:
    parser.bounds.arrived(int(1000 * record.arrived_s))
    try:
        return parser.parse(record.data)
    except RejectError:
        return None


class GroundTruth:
    """The stream as it came, and what follows from it."""

    def __init__(
        self, project: Project, category_encoding: dict[str, dict[str, float]], came: list[Event]
    ) -> None:
        self.came = came
        self.extractor = Extractor(project, category_encoding)
        self.entities = list(project.schema.entities)
        self.first: dict[str, Event] = {}
        self._payments: dict[str, Transaction] = {}
        for event in came:
            if isinstance(event.item, Transaction) and event.item.transaction_id not in self.first:
                self.first[event.item.transaction_id] = event
                self._payments[event.item.transaction_id] = event.item
        self._supersedes_known_at: dict[tuple[str, int], int | None] = {}
        self._of_entity: dict[tuple[int, str], list[Event]] = defaultdict(list)
        for event in self._effective():
            payment = self._payments[event.item.transaction_id] if event.item is not None else None
            for index, entity_id in enumerate(payment.entities if payment is not None else ()):
                if entity_id is not None:
                    self._of_entity[index, entity_id].append(event)

    @property
    def malformed(self) -> list[Event]:
        """Return the records that say nothing."""
        return [event for event in self.came if event.item is None]

    def row(self, item: DecisionItem, saved: SavedProfiles) -> bytes:
        """Return the features that a decision must have had, from the versions of profiles that it names."""
        payment = self._payments[item.transaction_id]
        profiles: list[Profile | None] = [None for _ in self.extractor.entities]
        for slot, entity in enumerate(self.extractor.entities):
            entity_id = payment.entities[entity.index]
            if entity_id is not None:
                alone: list[Profile | None] = [None for _ in self.extractor.entities]
                alone[slot] = profiles[slot] = Profile(entity.plan)
                for event in self._known(item, saved, entity.index, entity_id):
                    self._take(alone, event)
        return array("d", self.extractor.extract(profiles, payment)).tobytes()

    def profile(self, name: str, entity_id: str) -> bytes | None:
        """Return the memory of an entity that took every event in once; None where nothing changed it."""
        for slot, entity in enumerate(self.extractor.entities):
            if self.entities[entity.index] == name and (entity.index, entity_id) in self._of_entity:
                alone: list[Profile | None] = [None for _ in self.extractor.entities]
                alone[slot] = profile = Profile(entity.plan)
                for event in self._of_entity[entity.index, entity_id]:
                    self._take(alone, event)
                return profile.packed()
        return None

    def profile_lag_s(self, item: DecisionItem, saved: SavedProfiles) -> float:
        """Return how long before it the oldest event came that a profile did not know yet; 0 if none."""
        now, payment = self.first[item.transaction_id], self._payments[item.transaction_id]
        oldest = now.arrived_s
        for entity in self.extractor.entities:
            entity_id = payment.entities[entity.index]
            if entity_id is not None:
                known = {id(event) for event in self._known(item, saved, entity.index, entity_id)}
                came = (event for event in self._of_entity[entity.index, entity_id] if id(event) not in known)
                oldest = min([oldest, *(event.arrived_s for event in came)])
        return now.arrived_s - oldest

    def _known(self, item: DecisionItem, saved: SavedProfiles, index: int, entity_id: str) -> list[Event]:
        """Return the events that a profile included when it was read for a decision."""
        now, name = self.first[item.transaction_id], self.entities[index]
        seen = saved.seen.get((f"{name}#{entity_id}", item.versions[name]), {})
        return [
            event
            for event in self._of_entity[index, entity_id]
            if event.number < (now.number if event.shard == now.shard else seen.get(event.shard, -1) + 1)
        ]

    def _effective(self) -> Iterator[Event]:
        """Return the events that change profiles: payments that come first, labels that tell something."""
        current: dict[str, Label] = {}
        for event in self.came:
            item = event.item
            if isinstance(item, Transaction) and self.first[item.transaction_id] is event:
                yield event
            elif isinstance(item, Label) and item.transaction_id in self.first:
                before = current.get(item.transaction_id)
                if item.supersedes(before):
                    self._supersedes_known_at[event.shard, event.number] = (
                        None if before is None else before.known_at
                    )
                    current[item.transaction_id] = item
                    yield event

    def _take(self, alone: list[Profile | None], event: Event) -> None:
        """Update the one profile that is there with an event."""
        if isinstance(event.item, Transaction):
            self.extractor.update(alone, event.item)
        elif event.item is not None:
            supersedes_known_at = self._supersedes_known_at[event.shard, event.number]
            self.extractor.apply_label(
                alone, event.item.known_at, fraud=event.item.fraud, supersedes_known_at=supersedes_known_at
            )
