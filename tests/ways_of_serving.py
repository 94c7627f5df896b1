"""Every way of serving behind one small interface: a stream in, cut as one likes, and what became of it out.

A part of a cutting is what one batch, one run over a file, or one list of requests holds.  Before a part the
process may have ended (`closed`) or died (`killed`); then a new one opens the state that the last one left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol

import msgspec

from fraud_detection.adapters.files.event_sources import Batch, Pipe
from fraud_detection.adapters.host.stopping import Stop
from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.adapters.ipc.shared_counters import SharedCounters
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds, shared_memory
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.decision_record import Record, encode
from fraud_detection.core.outcomes import Outcome
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.engine.decision_json import outcome_line
from fraud_detection.engine.engine import Engine
from fraud_detection.serving.aws_lambda.batch import ShardEvent as Arrived
from fraud_detection.serving.aws_lambda.decision_log import without_value
from fraud_detection.serving.aws_lambda.handler import Processor
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.embedded.stream_runner import run_stream
from fraud_detection.serving.http.api_keys import Access
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.routes import Api
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.workers.claims import Claims
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from fraud_detection.serving.workers.replica import WorkerService
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud, Killed
from tests.functional.workers.test_replica import replicate_all
from tests.states import opened

Before = Literal["", "closed", "killed"]
BEFORE: tuple[Before, ...] = ("", "closed", "killed")
LOGGED = frozenset({"decision", "quarantined", "conflict"})
"""What every service tells of; the log on AWS has no lines of labels and duplicates."""


class Part(msgspec.Struct, frozen=True):
    """Events of the stream from `start` to `stop`, and what happened to the process before them."""

    start: int
    stop: int
    before: Before = ""


def cuttings(events: int, seed: int, largest: int = 60) -> list[Part]:
    """Cut a stream anywhere, with restarts in between."""
    chance, found, at = Random(seed), list[Part](), 0
    while at < events:
        size = min(chance.choice([1, 1, 2, 5, chance.randint(1, largest)]), events - at)
        before = chance.choices(BEFORE, [6, 1, 1])[0] if at else ""
        found.append(Part(at, at + size, before))
        at += size
    return found


class Case(msgspec.Struct, frozen=True):
    """One project, one stream, and the engine made of both the bundle and the project."""

    simulation: SmallSimulation
    project: Project
    bundle: Path
    events: list[bytes]
    engine: Engine
    own_ids: frozenset[str]

    @classmethod
    def of(cls, simulation: SmallSimulation, project: Project, bundle: Path, events: list[bytes]) -> Case:
        """Load the engine once: a process that is opened again has the same."""
        own = {str(read.get("transaction_id")) for read in map(fields_of, events)}
        return cls(simulation, project, bundle, events, load_engine(bundle, project), frozenset(own))

    def known(self, transaction_id: str) -> str:
        """Return an id, or `#` where the event has none of its own: each service names it in its way."""
        return transaction_id if transaction_id in self.own_ids else "#"


def fields_of(event: bytes) -> dict[str, Any]:
    try:
        read = msgspec.json.decode(event)
    except (msgspec.DecodeError, UnicodeError):
        return {}
    return read if isinstance(read, dict) else {}


class Result(msgspec.Struct):
    """What became of a stream.

    records: the record of each index, as `plain` returns it.  first: the answers that came first, by id.
    counts: by the service's own counters, where it has some: decided, repeated, conflicts, quarantined,
    labels.
    """

    records: dict[int, tuple[str, str]] = {}
    counts: dict[str, int] | None = None
    first: dict[str, Any] = {}

    def of_kinds(self, kinds: frozenset[str]) -> dict[int, tuple[str, str]]:
        """Return the records of events that became one of these."""
        return {index: one for index, one in sorted(self.records.items()) if one[0] in kinds}


def plain(case: Case, line: bytes | str) -> tuple[str, str]:
    """Return kind and content of a record: all of it but the delivery, what was refused, and a random id."""
    record = msgspec.json.decode(line, type=Record)
    content = json.loads(encode(msgspec.structs.replace(record, delivery=None)))
    kind = "duplicate" if content.get("duplicate") else content["type"]
    if "transaction_id" in content:
        content["transaction_id"] = case.known(content["transaction_id"])
    if kind == "quarantined":
        # The log on AWS may hold no value.
        content["reason"] = without_value(content["reason"])
    if kind == "duplicate":
        # A caller gets the first decision again: `read_response` looks at what it is.
        content = {"transaction_id": content["transaction_id"]}
    return kind, json.dumps(content, sort_keys=True)


class WayOfServing(Protocol):
    """A way of serving.  kinds: of what it tells one by one."""

    name: str
    kinds: frozenset[str]

    def decide(self, case: Case, cuts: Sequence[Part], folder: Path) -> Result:
        """Send the stream, cut so, to a new state in the folder; return what became of it."""
        ...


EVERYTHING = frozenset({*LOGGED, "label", "duplicate"})
TALLIED = ("decided", "duplicates", "conflicts", "quarantined", "labels")


class Sitting:
    """An embedded service over a state file, which ends and is opened again as the parts say."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.state = case, folder / "state.db"
        self.counts = Counter[str]()
        self.service = self._open()

    def before(self, part: Part) -> bool:
        """Return whether another process goes on."""
        if part.before:
            self.end(part.before)
            self.service = self._open()
        return bool(part.before)

    def end(self, how: Before) -> None:
        self.counts += Counter({name: getattr(self.service.tally, name) for name in TALLIED})
        if how == "killed":
            self.service.state_file.close()
        else:
            self.service.close()

    def _open(self) -> EmbeddedService:
        state_file = opened(self.state)
        service = EmbeddedService(self.case.engine.pipeline(state_file, state_file.dedup_index), state_file)
        service.decide_with(self.case.engine)
        return service


def killed_once(cuts: Sequence[Part], seed: int) -> list[Part]:
    """Return the same parts with one kill: a process takes a second to start."""
    at = Random(seed).randrange(len(cuts) // 4, len(cuts))
    return [Part(cut.start, cut.stop, "killed" if index == at else "") for index, cut in enumerate(cuts)]


def ingested(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in TALLIED}


def lines_of(case: Case, outcomes: Sequence[Outcome]) -> dict[int, tuple[str, str]]:
    return {index: plain(case, outcome_line(outcome)) for index, outcome in enumerate(outcomes)}


class FileWay:
    """`fraud run --source FILE`: the file grows by each part."""

    name = "file"
    kinds = EVERYTHING

    def decide(self, case: Case, cuts: Sequence[Part], folder: Path) -> Result:
        sitting, path, outcomes = Sitting(case, folder), folder / "events.jsonl", list[Outcome]()
        path.touch()
        for part in cuts:
            sitting.before(part)
            with path.open("ab") as file:
                file.writelines(event + b"\n" for event in case.events[part.start : part.stop])
            run_stream(sitting.service, str(path), Stop(), outcomes.extend)
        sitting.end("closed")
        return Result(lines_of(case, outcomes), ingested(sitting.counts))


class PipeWay:
    """`fraud run --source -`: what has arrived in the pipe is a batch; each process has its own pipe."""

    name = "pipe"
    kinds = EVERYTHING

    def decide(self, case: Case, cuts: Sequence[Part], folder: Path) -> Result:
        sitting, outcomes = Sitting(case, folder), list[Outcome]()
        for parts in by_process(cuts):
            sitting.before(parts[0])
            read, write = os.pipe()
            try:
                batches = Pipe(read).batches(0, 512)
                for part in parts:
                    os.write(write, b"".join(event + b"\n" for event in case.events[part.start : part.stop]))
                    outcomes += sitting.service.take(next(batches), "-")
                    sitting.service.run_deferred_work()
            finally:
                os.close(read)
                os.close(write)
        sitting.end("closed")
        return Result(lines_of(case, outcomes), ingested(sitting.counts))


def by_process(cuts: Sequence[Part]) -> list[list[Part]]:
    """Return the parts that one process takes together."""
    found = [[cuts[0]]]
    for part in cuts[1:]:
        if part.before:
            found.append([])
        found[-1].append(part)
    return found


class HttpWay:
    """`fraud serve` without sockets: each part is a list, or `alone` each event a request of its own."""

    kinds = EVERYTHING

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        self.name = "http, one by one" if alone else "http, lists"

    def decide(self, case: Case, cuts: Sequence[Part], folder: Path) -> Result:
        sitting, result = Sitting(case, folder), Result()
        for parts in by_process(cuts):
            sitting.before(parts[0])
            asyncio.run(self._send_all(case, parts, sitting.service, result))
        sitting.end("closed")
        result.counts = ingested(sitting.counts)
        return result

    async def _send_all(
        self, case: Case, parts: Sequence[Part], service: EmbeddedService, result: Result
    ) -> None:
        api = Api(RequestBatcher(service), Access(None), b"")

        async def send(body: bytes, key: int) -> Response:
            future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            api.take(Request("POST", "/v1/decisions", body, b"", b"", b"k%d" % key), future.set_result)
            return await future

        for part in parts:
            for indices in requests_of(case, part, alone=self.alone):
                body = case.events[indices[0]] if len(indices) == 1 else listed(case, indices)
                read_response(case, indices, (await send(body, indices[0])).body, result)


def requests_of(case: Case, part: Part, *, alone: bool) -> Iterator[range]:
    """Yield the indices that one request holds; what is no JSON at all cannot stand in a list."""
    indices = range(part.start, part.stop)
    if alone or len(indices) == 1 or not all(is_json(case.events[index]) for index in indices):
        yield from (range(index, index + 1) for index in indices)
    else:
        yield indices


def is_json(event: bytes) -> bool:
    try:
        msgspec.json.decode(event)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True


def listed(case: Case, indices: range) -> bytes:
    return b"[" + b",".join(case.events[index] for index in indices) + b"]"


def read_response(case: Case, indices: range, body: bytes, result: Result) -> None:
    if len(indices) > 1:
        responses = [bytes(one) for one in msgspec.json.decode(body, type=list[msgspec.Raw])]
    else:
        found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        responses = [bytes(found["record"]) if "record" in found else body]
    for index, response in zip(indices, responses, strict=True):
        result.records[index] = plain(case, response)
        record = json.loads(response)
        if record["type"] == "decision":
            redelivers = record.pop("duplicate", False)
            first = result.first.setdefault(record["transaction_id"], record)
            assert (first == record) if redelivers else (first is record)


class LambdaWay:
    """The handler's processor over the shipped fakes; shards take turns, so the order is the stream's.

    redelivers: a batch may die half way, or be redelivered though it was done.
    """

    kinds = LOGGED

    def __init__(self, shards: int, *, redelivers: bool = False) -> None:
        self.shards, self.redelivers = shards, redelivers
        self.name = f"lambda, {shards} shards" + (", delivered again" if redelivers else "")

    def decide(self, case: Case, cuts: Sequence[Part], folder: Path) -> Result:  # noqa: ARG002 - all is in the fakes
        cloud, chance = Cloud(case.simulation), Random(len(cuts))
        bundle = read_bundle(case.bundle)
        contents = msgspec.structs.replace(bundle.contents, project=case.project)
        bundle = msgspec.structs.replace(bundle, contents=contents)
        processor = cloud.processor(bundle)
        for part in cuts:
            if part.before:
                processor = cloud.processor(bundle)
            for shard, records in self._batches(case, part):
                if self.redelivers and chance.random() < 0.3:
                    self._killed(cloud, cloud.processor(bundle), shard, records, chance)
                    processor = cloud.processor(bundle)
                assert processor.handle(shard, records) == []
                if self.redelivers and chance.random() < 0.2:
                    assert processor.handle(shard, records) == []
        return self._result(case, cloud)

    def _batches(self, case: Case, part: Part) -> Iterator[tuple[str, list[Arrived]]]:
        shards = [(self._shard_of(case.events[index]), index) for index in range(part.start, part.stop)]
        while shards:
            shard = shards[0][0]
            same = next((at for at, one in enumerate(shards) if one[0] != shard), len(shards))
            yield shard, [Arrived(str(FIRST + index), case.events[index], 1.0) for _, index in shards[:same]]
            shards = shards[same:]

    def _shard_of(self, event: bytes) -> str:
        card = str(fields_of(event).get("card_id"))
        return f"shardId-{zlib.crc32(card.encode()) % self.shards:012d}"

    @staticmethod
    def _killed(
        cloud: Cloud, processor: Processor, shard: str, records: Sequence[Arrived], chance: Random
    ) -> None:
        left = [chance.randint(0, 12)]

        def dies(_operation: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        cloud.inject_faults(dies)
        with contextlib.suppress(Killed):
            assert processor.handle(shard, records) == []
        cloud.inject_faults(lambda _: None)

    def _result(self, case: Case, cloud: Cloud) -> Result:
        index_of = {str(FIRST + index): index for index in range(len(case.events))}
        result = log_result(case, cloud.lines, index_of)
        if self.redelivers:
            result.counts = None
        assert len(cloud.decisions()) == len(result.of_kinds(frozenset({"decision"})))
        return result


def log_result(case: Case, lines: Sequence[dict[str, Any]], index_of: dict[str, int]) -> Result:
    """Return what the log on AWS tells of a stream, whose records have these indices by their numbers."""
    result, batches = Result(), Counter[str]()
    for line in lines:
        if line["type"] in LOGGED:
            index = index_of[line["delivery"]["sequence_number"]]
            found = plain(case, json.dumps(line))
            # Logged again, it is logged alike.
            assert result.records.setdefault(index, found) == found
        elif line["type"] == "batch":
            batches.update({name: line[name] for name in TALLIED})
    # Told without labels: of duplicates this log counts payments and labels alike.
    result.counts = ingested(batches)
    return result


class WorkersWay:
    """The services of several workers, each event at its owner; all replicate before the next part."""

    kinds = EVERYTHING

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.name = f"{workers} workers"

    def decide(self, case: Case, cuts: Sequence[Part], folder: Path) -> Result:
        new_state(folder / "state.db", self.workers)
        shared_ids = [SharedIds(shared_memory(worker)) for worker in range(self.workers)]
        services = [self._open(case, folder, shared_ids, worker) for worker in range(self.workers)]
        ownership, counts, result = Ownership(case.project.schema, self.workers), Counter[str](), Result()
        for part in cuts:
            if part.before:
                worker = part.start % self.workers
                counts += self._ended(services[worker], part.before)
                services[worker] = self._open(case, folder, shared_ids, worker)
            for worker, indices in turns_of(case, ownership, part):
                events = [case.events[index] for index in indices]
                identities = [f"offset-{indice}" for indice in indices]
                clear(services, shared_ids, worker, payments_of(ownership, events, identities))
                outcomes = services[worker].take(Batch(events, identities, 0), "test")
                services[worker].run_deferred_work()
                replicate_all(services)
                for index, outcome in zip(indices, outcomes, strict=True):
                    result.records[index] = plain(case, outcome_line(outcome))
        for service in services:
            counts += self._ended(service, "closed")
        result.counts = ingested(counts)
        return result

    def _open(self, case: Case, folder: Path, shared_ids: Sequence[SharedIds], worker: int) -> WorkerService:
        paths = [worker_path(folder / "state.db", one, self.workers) for one in range(self.workers)]
        others = {one: StateFile(paths[one], reading=True) for one in range(self.workers) if one != worker}
        counters = SharedCounters(folder, worker, self.workers)
        state_file = opened(paths[worker], shared_ids=shared_ids[worker])
        service = WorkerService(case.engine, worker, state_file, others, counters=counters)
        service.decide_with(case.engine)
        return service

    @staticmethod
    def _ended(service: WorkerService, how: Before) -> Counter[str]:
        if how == "killed":
            service.state_file.close()
            for file in service.others.values():
                file.close()
        else:
            service.close()
        return Counter({name: getattr(service.tally, name) for name in TALLIED})


def payments_of(ownership: Ownership, events: Sequence[bytes], identities: Sequence[str | None]) -> list[str]:
    routes = [ownership.route(*event) for event in zip(events, identities, strict=True)]
    return [
        route.transaction_id for route in routes if route.transaction_id is not None and not route.is_label
    ]


def clear(
    services: Sequence[WorkerService], shared_ids: Sequence[SharedIds], worker: int, ids: Sequence[str]
) -> None:
    """Let a worker find out which ids another one has decided; they take turns, so none is in hand."""

    async def call(other_worker: int, what: str, body: object) -> object:
        return await claims[other_worker].handle(worker, what, body)

    claims = [
        Claims(own, shared_ids, service.others, service.state_file.dedup_index, call)
        for own, service in enumerate(services)
    ]
    services[worker].state_file.dedup_index.elsewhere.clear()
    claim = claims[worker].claim(ids, set)
    if claim is not None:
        asyncio.run(claims[worker].cleared(claim))


def turns_of(case: Case, ownership: Ownership, part: Part) -> Iterator[tuple[int, list[int]]]:
    """Yield runs of events that one worker owns; what nobody owns goes to the first."""
    owner, indices = 0, list[int]()
    for index in range(part.start, part.stop):
        found = ownership.route(case.events[index], f"offset-{index}").owner or 0
        if indices and found != owner:
            yield owner, indices
            indices = []
        owner = found
        indices.append(index)
    yield owner, indices


REFERENCE = FileWay()
IN_PROCESS: list[WayOfServing] = [
    FileWay(),
    PipeWay(),
    HttpWay(alone=True),
    HttpWay(alone=False),
    LambdaWay(1),
    LambdaWay(4),
    LambdaWay(1, redelivers=True),
    WorkersWay(2),
]
