"""Read the events of a state file in order: those in its tables, then those in the journal alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from fraud_detection.adapters.sqlite.dedup.dedup_index import Ids, SqliteDedupIndex
from fraud_detection.adapters.sqlite.journal import Entry


class LoggedEvent(msgspec.Struct, frozen=True):
    """An event of the log: a payment (with `event` and its served `features`) or a label (with `fraud`).

    supersedes_known_at: when the label that it supersedes became known, in ms.  bundle: the
    name of what answered a payment.
    """

    seq: int
    transaction_id: str
    event: bytes | None
    ids: Ids
    fraud: bool
    known_at: int
    features: bytes
    supersedes_known_at: int | None
    bundle: str = ""


def tables_since(db: sqlite3.Connection, dedup_index: SqliteDedupIndex, seq: int) -> Iterator[LoggedEvent]:
    """Yield the payments and labels of the tables after `seq`, in order."""
    query = """
        SELECT seq AS at, 0 AS number, transaction_id, event, entities, 0, event_time, features, NULL, bundle
        FROM decisions WHERE seq > :seq
        UNION ALL
        SELECT applied_at, seq, transaction_id, NULL, NULL, fraud, known_at, NULL, supersedes_known_at, ''
        FROM labels WHERE applied_at > :seq
        ORDER BY at, number"""
    cursor = db.execute(query, {"seq": seq})
    for at, _, transaction_id, event, ids, fraud, time_ms, features, supersedes_known_at, bundle in cursor:
        owner = _owner(dedup_index, transaction_id) if ids is None else _ids(ids)
        yield LoggedEvent(
            at,
            transaction_id,
            event,
            owner,
            bool(fraud),
            time_ms,
            features or b"",
            supersedes_known_at,
            bundle,
        )


def journal_since(waiting: Sequence[Entry], dedup_index: SqliteDedupIndex, seq: int) -> Iterator[LoggedEvent]:
    """Yield those of unflushed journal entries, which are later than all in the tables."""
    owners: dict[str, Ids] = {}
    events: list[LoggedEvent] = []
    for entry in waiting:
        for at, transaction_id, time_ms, _, _, _, _, bundle, ids, event, features, *_ in entry.decisions:
            owners[transaction_id] = _ids(ids)
            events.append(
                LoggedEvent(
                    at,
                    transaction_id,
                    event,
                    owners[transaction_id],
                    fraud=False,
                    known_at=time_ms,
                    features=features,
                    supersedes_known_at=None,
                    bundle=bundle,
                )
            )
        for _, transaction_id, fraud, known_at, _, supersedes_known_at, applied_at, *_ in entry.labels:
            if applied_at is None:
                continue
            owner = owners.get(transaction_id) or _owner(dedup_index, transaction_id)
            events.append(
                LoggedEvent(
                    applied_at, transaction_id, None, owner, bool(fraud), known_at, b"", supersedes_known_at
                )
            )
    yield from (logged for logged in sorted(events, key=lambda logged: logged.seq) if logged.seq > seq)


def _owner(dedup_index: SqliteDedupIndex, transaction_id: str) -> Ids:
    return dedup_index.entities([transaction_id]).get(transaction_id, ())


def _ids(content: bytes) -> Ids:
    return tuple(msgspec.msgpack.decode(content))
