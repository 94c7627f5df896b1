"""Ownership: which worker decides an event, and which state file belongs to which worker.

A worker owns a share of the ids of the ordering entity by hash: it decides their payments and stores their
profiles in its own state file.  The number of workers is part of the file names: with another number the ids
would change owners.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.adapters.sqlite.state_reader import StateReader
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.lenient_json import read_object
from fraud_detection.core.parse.declared_fields import declared_fields
from fraud_detection.core.parse.identity import LABEL_ID_FIELD, is_random
from fraud_detection.core.parse.values import Missing, as_id
from fraud_detection.core.project_schema import Schema

ORDERING = 0
"""The index of the entity in the schema that orders the stream."""


class Route(msgspec.Struct, frozen=True, gc=False):
    """Where an event belongs.

    owner: the worker that takes it; None where a label names its payment alone.  transaction_id: of a payment
    or label, None where it has none.  ordering: its id of the entity that orders the stream.
    """

    owner: int | None
    transaction_id: str | None
    is_label: bool = False
    ordering: str | None = None


class SubBatch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events that go to one owner together.

    identities: what each is known by beside an id of its own.  ids: of the payments among them, else None.
    """

    events: list[bytes]
    identities: list[str | None]
    ids: list[str | None]

    def of(self, indices: Sequence[int]) -> SubBatch:
        """Return those at some indices."""
        return SubBatch(
            [self.events[index] for index in indices],
            [self.identities[index] for index in indices],
            [self.ids[index] for index in indices],
        )


class Ownership:
    """Maps an event to its owner, reading only the fields needed; never fails, whatever the bytes are.

    Counts nothing: the owner reads the event again, and counts its drift.
    """

    def __init__(self, schema: Schema, workers: int) -> None:
        """Resolve the schema once."""
        self.workers = workers
        self.entity_fields = [(entity.field, *entity.aliases) for entity in schema.entities.values()][:1]
        identity = schema.transaction_id
        self.has_id = identity.field is not None
        self.id_fields = (identity.field or LABEL_ID_FIELD, *identity.aliases)
        self.missing = Missing(schema.missing)
        keeps = [entity.keep for entity in schema.entities.values()][:1]
        self.missing_entity = self.missing.but(*keeps) if keeps else self.missing
        self.type_is_free = "type" not in declared_fields(schema)
        names = {name for fields in self.entity_fields for name in fields} | {*self.id_fields, "type"}
        self.attributes = {name: f"field_{index}" for index, name in enumerate(sorted(names))}
        fields = [(attribute, Any, None) for attribute in self.attributes.values()]
        rename = {attribute: name for name, attribute in self.attributes.items()}
        self.decoder = msgspec.json.Decoder(msgspec.defstruct("Head", fields, rename=rename))

    def worker_of(self, identifier: str) -> int:
        """Return the worker to whom an id falls, the same in every process and version."""
        return zlib.crc32(identifier.encode()) % self.workers

    def of(self, entities: tuple[str | None, ...], transaction_id: str) -> int:
        """Return the owner of a payment that was read already."""
        ordering = entities[ORDERING] if entities else None
        return self.worker_of(transaction_id if ordering is None else ordering)

    def route(self, raw: bytes, identity: str | None = None) -> Route:
        """Return where an event belongs; `identity` is that of one without an id."""
        head: Any
        try:
            head = self.decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            head = self._loosely(raw)
        if head is None:
            return Route(self._of_bytes(raw), None)
        ordering = next(
            (as_id(self._find(head, fields, self.missing_entity)) for fields in self.entity_fields), None
        )
        transaction_id = as_id(self._find(head, self.id_fields, self.missing))
        if self.type_is_free and getattr(head, self.attributes["type"]) == "label":
            if ordering is None and transaction_id is None:
                return Route(self._of_bytes(raw), None, is_label=True)
            owner = None if ordering is None else self.worker_of(ordering)
            return Route(owner, transaction_id, is_label=True, ordering=ordering)
        if transaction_id is None or not self.has_id:
            transaction_id = identity
        routing_key = transaction_id if ordering is None else ordering
        if routing_key is None or (routing_key is identity and is_random(routing_key)):
            return Route(self._of_bytes(raw), transaction_id)
        return Route(self.worker_of(routing_key), transaction_id, ordering=ordering)

    def _of_bytes(self, raw: bytes) -> int:
        """Return the owner of an event without ids, by its bytes: equal events are one row in quarantine."""
        return zlib.crc32(raw) % self.workers

    def _find(self, head: object, fields: tuple[str, ...], missing: Missing) -> object:
        values = (getattr(head, self.attributes[field]) for field in fields)
        return next((value for value in values if value is not None and not missing.matches(value)), None)

    def _loosely(self, raw: bytes) -> Any:  # noqa: ANN401 - a struct made here
        """Read the head of an event that a strict reader refuses; None where it is no object."""
        try:
            event = read_object(raw)
        except RejectError:
            return None
        values = {attribute: event.get(name) for name, attribute in self.attributes.items()}
        return self.decoder.type(**values)


def turns_of(owners: Sequence[int], ids: Sequence[str | None]) -> list[dict[int, list[int]]]:
    """Return which events of a list, by their indices, go to which owners at once.

    An event whose id came before at another owner waits for that decision, and what comes after it at its
    owner waits too.

    >>> turns_of([0, 1, 0, 1], ["a", "b", "c", "d"])
    [{0: [0, 2], 1: [1, 3]}]
    >>> turns_of([0, 1, 0, 1], ["a", "a", "c", "d"])
    [{0: [0, 2]}, {1: [1, 3]}]
    """
    turns: list[dict[int, list[int]]] = [{}]
    reached: dict[int, int] = {}
    latest: dict[str, tuple[int, int]] = {}
    for index, (owner, transaction_id) in enumerate(zip(owners, ids, strict=True)):
        turn = reached.get(owner, 0)
        if transaction_id is not None:
            before, earlier = latest.get(transaction_id, (owner, 0))
            turn = max(turn, earlier + (before != owner))
            latest[transaction_id] = (owner, turn)
        if turn == len(turns):
            turns.append({})
        reached[owner] = turn
        turns[turn].setdefault(owner, []).append(index)
    return turns


class WorkerFile(msgspec.Struct, frozen=True):
    """The worker of a state file, of how many, and the set of files that it was made with."""

    worker: int
    workers: int
    set_id: str


def worker_path(state: Path, worker: int, workers: int) -> Path:
    """Return the state file of one worker.

    >>> str(worker_path(Path("build/state.db"), 0, 2))
    'build/state.worker-0-of-2.db'
    """
    return state.with_name(f"{state.stem}.worker-{worker}-of-{workers}{state.suffix}")


def state_files_of(state: Path) -> list[Path]:
    """Return the state files under a name: that of one process, or those of all workers.

    Raises ConfigError when there is none.
    """
    shards = sorted(state.parent.glob(f"{state.stem}.worker-*-of-*{state.suffix}"))
    files = [state, *shards] if state.is_file() else shards
    if not files:
        raise ConfigError(f"{state}: no such state file; name one with --state")
    return files


def check_worker_count(state: Path, workers: int) -> None:
    """Raise ConfigError when another number of workers has left state under this name."""
    for path in sorted(state.parent.glob(f"{state.stem}.worker-*-of-*{state.suffix}")):
        made_by = path.name.removesuffix(state.suffix).rpartition("-of-")[2]
        if made_by != str(workers):
            raise ConfigError(
                f"{path}: was made by {made_by} workers, and {workers} would own other cards; start with "
                f"--workers {made_by}, or make new ones under another name with `fraud state create`"
            )
    if workers > 1 and state.exists():
        raise ConfigError(
            f"{state}: was made by one process, and {workers} workers keep a file each; start with "
            "--workers 1, or make new ones under another name with `fraud state create`"
        )


def check_shards(state: Path, workers: int) -> None:
    """Raise ConfigError unless the state files of all workers are there, and were made together."""
    check_worker_count(state, workers)
    paths = [worker_path(state, worker, workers) for worker in range(workers)]
    there = [path for path in paths if path.exists()]
    if not there:
        raise ConfigError(
            f"{paths[0]}: no such state file; make those of all workers with `fraud state create {state} "
            f"--workers {workers} --history FILE` (without --history their profiles are empty)"
        )
    set_id = {_set_id(path) for path in there}
    if len(set_id) > 1:
        names = ", ".join(str(path) for path in there)
        raise ConfigError(f"{names}: were not made together; put back the files that were")
    for path in paths:
        if path not in there:
            raise ConfigError(
                f"{path}: is missing, and the other workers' files speak of what was in it; put it back, or "
                "make new ones under another name with `fraud state create FILE --workers N "
                "--history PAYMENTS`"
            )


def assign_workers(paths: list[Path]) -> None:
    """Write into new state files which worker each belongs to, in the order of the workers."""
    set_id = secrets.token_hex(8)
    for worker, path in enumerate(paths):
        state_file = StateFile(path)
        with state_file.transaction():
            state_file.put_meta("worker_state", msgspec.to_builtins(WorkerFile(worker, len(paths), set_id)))
        state_file.close()


def _set_id(path: Path) -> str:
    record = StateReader(path)
    shard = record.meta("worker_state")
    record.close()
    return "" if shard is None else msgspec.convert(shard, WorkerFile).set_id
