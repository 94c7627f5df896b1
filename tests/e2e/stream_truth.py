"""What a stream must have led to, recounted naively from its records: once each, in order, to the last bit."""

from __future__ import annotations

import threading
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from fraud_detection.adapters.dynamodb_ledger import KeptDecision
from fraud_detection.adapters.kinesis_reader import ShardReader, StreamRecord, list_shards
from fraud_detection.config import Project
from fraud_detection.errors import RejectError
from fraud_detection.events import Label, Transaction
from fraud_detection.features.extract import Extractor
from fraud_detection.features.memory import FeatureMemory
from fraud_detection.local_aws.tap import Call, Reply
from fraud_detection.parse import Parser

Seen = dict[str, int]


class Event(msgspec.Struct, frozen=True):
    """A record that came: its shard, its number, when, and what it says; None for what says nothing."""

    lane: str
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
        if call.operation == "TransactWriteItems" and reply.status == 200:
            puts = [each["Put"]["Item"] for each in msgspec.json.decode(call.body)["TransactItems"]]
            with self._lock:
                self.seen |= {(item["k"]["S"], int(item["v"]["N"])): _seen(item) for item in puts}


def _seen(item: dict[str, Any]) -> Seen:
    from base64 import b64decode

    stored = zlib.decompress(b64decode(item["c"]["B"]))
    seen, _ = msgspec.msgpack.decode(stored, type=tuple[dict[str, bytes], msgspec.Raw])
    return {lane: int.from_bytes(number, "big") for lane, number in seen.items()}


def records(client: Any, stream_arn: str) -> Iterator[tuple[str, StreamRecord]]:  # noqa: ANN401 - boto3's client
    """Return every record of a stream, in the order of each shard."""
    for shard in list_shards(client, stream_arn):
        reader = ShardReader(client, stream_arn, shard.name)
        while found := reader.read():
            yield from ((shard.name, record) for record in found.records)
            if not found.records and not found.behind_ms:
                break


def events(project: Project, found: Iterable[tuple[str, StreamRecord]]) -> list[Event]:
    """Return what the records say, by the order of their arrival in each shard."""
    parser = Parser(project.schema)
    return [
        Event(lane, int(record.number), record.arrived_s, record.data, _read(parser, record.data))
        for lane, record in found
    ]


def _read(parser: Parser, data: bytes) -> Transaction | Label | None:
    try:
        return parser.parse(data)
    except RejectError:
        return None


class Truth:
    """The stream as it came, and what follows from it."""

    def __init__(self, project: Project, vocabulary: dict[str, dict[str, float]], came: list[Event]) -> None:
        self.came = came
        self.extractor = Extractor(project, vocabulary)
        self.entities = list(project.schema.entities)
        self.first: dict[str, Event] = {}
        for event in came:
            if isinstance(event.item, Transaction):
                self.first.setdefault(event.item.transaction_id, event)
        self._of_entity: dict[tuple[int, str], list[Event]] = defaultdict(list)
        for event in came:
            for key in self._touched(event):
                self._of_entity[key].append(event)

    @property
    def poison(self) -> list[Event]:
        """Return the records that say nothing."""
        return [event for event in self.came if event.item is None]

    def row(self, kept: KeptDecision, saved: SavedProfiles) -> bytes:
        """Return the features that a decision must have had, from the versions of profiles that it names."""
        event = self.first[kept.transaction_id]
        payment = event.item
        assert isinstance(payment, Transaction)
        memory = FeatureMemory(self.extractor)
        for index, one in enumerate(payment.entities):
            if one is None:
                continue
            name = self.entities[index]
            seen = saved.seen.get((f"{name}#{one}", kept.versions[name]), {})
            for past in self._of_entity[index, one]:
                if self._known(past, event, seen):
                    self._take(memory, past, index)
        return array("d", memory.observe(payment)).tobytes()

    def unseen_s(self, kept: KeptDecision, saved: SavedProfiles) -> float:
        """Return how old the oldest event was, at the decision's arrival, that a profile did not know yet."""
        event = self.first[kept.transaction_id]
        assert isinstance(event.item, Transaction)
        oldest = event.arrived_s
        for index, one in enumerate(event.item.entities):
            if one is not None:
                name = self.entities[index]
                seen = saved.seen.get((f"{name}#{one}", kept.versions[name]), {})
                missed = [
                    past.arrived_s
                    for past in self._of_entity[index, one]
                    if past.arrived_s < event.arrived_s and not self._known(past, event, seen)
                ]
                oldest = min([oldest, *missed])
        return event.arrived_s - oldest

    def _known(self, past: Event, now: Event, seen: Seen) -> bool:
        if past.lane == now.lane:
            return past.number < now.number
        return past.number <= seen.get(past.lane, -1)

    def _touched(self, event: Event) -> list[tuple[int, str]]:
        """Return the entities that an event changes: of a payment's first record, or of a label's payment."""
        item = event.item
        if item is None:
            return []
        first = self.first.get(item.transaction_id)
        if first is None or not isinstance(first.item, Transaction):
            return []
        if isinstance(item, Transaction) and first is not event:
            return []
        return [(index, one) for index, one in enumerate(first.item.entities) if one is not None]

    def _take(self, memory: FeatureMemory, past: Event, index: int) -> None:
        """Let one entity alone remember an event."""
        first = self.first[past.item.transaction_id].item if past.item is not None else None
        assert isinstance(first, Transaction)
        ids = tuple(one if place == index else None for place, one in enumerate(first.entities))
        if isinstance(past.item, Label):
            memory.learn(ids, past.item.known_at, fraud=past.item.fraud)
        else:
            others = msgspec.structs.replace(first, entities=first.entities)
            memory.observe_alone(others, index)
