"""The journal of a state file: small batches as one row each, until they are moved into the tables.

A row of the journal costs a commit of one page; the tables with their indexes cost several times that.  So a
payment is answered after its row is in the journal, and the tables follow in groups.

The rows of one group after another take the same slots, so that a commit neither asks for pages nor frees
any.  Slot 0 has the number of the latest entry that is in the tables: what has a higher one waits.

Why no entry is lost and none counts twice.  The p-th entry of a group stands in slot p with the number in
slot 0 plus p.  `flush` writes the rows into the tables and the new number into slot 0 in one transaction, so
wherever a kill falls, an entry waits or is in the tables, never both and never neither.  Then the next group
begins in slot 1 again: it overwrites only entries whose numbers slot 0 has reached, and of those that wait
each has a slot of its own.  What is left of an earlier, longer group has a number that slot 0 has reached,
and is never read.  An entry whose commit failed stays in memory, in order among those that wait, and all
of them are moved before anything new is taken (`StateFile.retry`): the numbers have no gap, and if that
commit had reached the file after all, slot 0 is past it by then.  `entries` reads slot 0 and the others in
one statement, hence as of one moment, also from another process.  The number in slot 0 does what ARIES has
the number in a page for: it says which records of the log are in it already (Mohan et al. 1992, ACM
Transactions on Database Systems 17(1)).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from fraud_detection.adapters.sqlite.quarantine import Arrival, SqliteQuarantine
from fraud_detection.core.events import Quarantined
from fraud_detection.core.hash_chain import START, chain_hash, label_content
from fraud_detection.core.outcomes import AppliedLabel, Decided, Outcome, RedundantLabel
from fraud_detection.core.parse.drift import TallyRow

DecisionRow = tuple[
    int,
    str,
    int,
    int,
    float | None,
    str,
    str,
    str,
    bytes,
    bytes,
    bytes,
    str,
    int | None,
    float | None,
    str,
    str,
    bytes,
]
"""The columns of `decisions`; the last six: config_id, counterfactual action and sampling rate of the control
group, caller, notes, and the hash of the chain."""
LabelRow = tuple[int, str, bool, int, str, int | None, int | None, int | None, bool, str, bytes]
"""The columns of `labels`: seq, payment, fraud, known_at, source, supersedes_known_at, applied_at,
happened_at, redundant, caller, and the hash of the chain."""
QuarantineRow = tuple[int, str, str, bytes, str, bytes, int, int, int, bytes]
"""The columns of the table: after the event the payment of a conflict, else empty, a digest, how often it
came, when first and last in ms, and the chain hash."""
RefusedDuplicate = tuple[int, int]
"""A quarantined event that has a row: the time in ms at which a duplicate came, and the number of the row."""
SourceOffset = tuple[str, int, str]
"""Name of a source, the offset reached in it, and the fingerprint of all before that offset."""


class Checkpoint(msgspec.Struct, array_like=True):
    """The checkpoint of an engine; written with every batch.

    recovery_from_seq: a restart reapplies from this event on.  watermark: the latest event time in ms,
    by which all labels of history were learned.  surveyed: events in the tallies of drift, without
    labels, which are beside them.  offset, fingerprint: how far the source was read that is being read;
    those of sources read before stand in their own table, so that a batch writes one row for all this.
    chain: the chain head, see `hash_chain`.
    """

    seq: int = 0
    recovery_from_seq: int = 1
    watermark: int = -1
    surveyed: int = 0
    surveyed_labels: int = 0
    source: str = ""
    offset: int = 0
    fingerprint: str = ""
    chain: bytes = START


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One batch: the rows it adds to the tables, the tallies of drift it changed, and how far it came.

    left_source: the offset in the source that was read before.  duplicates, origins: of quarantined events,
    see `quarantine`.
    """

    checkpoint: Checkpoint
    decisions: list[DecisionRow]
    labels: list[LabelRow]
    quarantined: list[QuarantineRow]
    drift: list[TallyRow]
    left_source: SourceOffset | None = None
    duplicates: list[RefusedDuplicate] = []
    origins: list[bytes] = []

    @property
    def size(self) -> int:
        """Return how many rows it adds or counts."""
        return len(self.decisions) + len(self.labels) + len(self.quarantined) + len(self.duplicates)


NO_NOTES = "[]"

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Entry)


APPEND = """
    INSERT OR REPLACE INTO journal SELECT ?, ?, ? WHERE (SELECT epoch FROM owner WHERE one = 1) = ?"""
COUNT_DUPLICATE = "UPDATE quarantine SET count = count + 1, last_at = max(last_at, ?) WHERE seq = ?"
ADD_ORIGIN = "INSERT OR IGNORE INTO quarantine_origins VALUES (?)"
"""Origins outlive a deleted row of an event."""

STORE_LEFT_SOURCE = """
    INSERT INTO sources VALUES (?, ?, ?, ?, '') ON CONFLICT (name) DO UPDATE
    SET length = excluded.length, fingerprint = excluded.fingerprint, offset = excluded.offset"""


def append(db: sqlite3.Connection, flushed: int, slot: int, entry: Entry, epoch: int) -> bool:
    """Commit an entry under its slot, from 1 on; no transaction may be open.

    flushed: number of the latest entry that is in the tables.  epoch: of the owner that writes;
    returns False, and nothing is written, where the file has another owner since.
    """
    row = (slot, flushed + slot, _ENCODER.encode(entry), epoch)
    return db.execute(APPEND, row).rowcount == 1


def last_flushed(db: sqlite3.Connection) -> int:
    """Return the number of the latest entry that is in the tables."""
    return int(db.execute("SELECT max(number) FROM journal WHERE slot = 0").fetchone()[0] or 0)


def entries(db: sqlite3.Connection) -> list[Entry]:
    """Return the unflushed entries, in order."""
    waiting = """
        SELECT content FROM journal
        WHERE slot > 0 AND number > (SELECT number FROM journal WHERE slot = 0) ORDER BY number"""
    return [_DECODER.decode(row[0]) for row in db.execute(waiting)]


def flush(db: sqlite3.Connection, flushed: int, waiting: list[Entry]) -> None:
    """Flush all waiting entries into the tables and record that; inside a transaction."""
    for entry in waiting:
        _insert(db, "decisions", entry.decisions)
        _insert(db, "labels", entry.labels)
        _insert(db, "quarantine", entry.quarantined)
        if entry.duplicates:
            db.executemany(COUNT_DUPLICATE, entry.duplicates)
        if entry.origins:
            db.executemany(ADD_ORIGIN, [(origin,) for origin in entry.origins])
        if entry.drift:
            db.executemany("INSERT OR REPLACE INTO drift VALUES (?,?,?,?,?,?)", entry.drift)
        if entry.left_source is not None:
            name, offset, fingerprint = entry.left_source
            db.execute(STORE_LEFT_SOURCE, (name, offset, fingerprint, offset))
    db.execute("INSERT OR REPLACE INTO journal VALUES (0, ?, x'')", (flushed + len(waiting),))


class Rows(msgspec.Struct):
    """What a batch adds to the tables, up to the number and the chain hash reached.

    awaited: payments whose label arrived first.
    """

    seq: int
    chain: bytes
    decisions: list[DecisionRow] = []
    labels: list[LabelRow] = []
    quarantined: list[QuarantineRow] = []
    awaited: list[str] = []
    duplicates: list[RefusedDuplicate] = []
    origins: list[bytes] = []

    def add_quarantined(self, outcome: Quarantined, arrival: Arrival) -> None:
        """Add a quarantined event, or count it where it has a row."""
        if arrival.row == self.seq:
            self.quarantined.append(quarantine_row(self.seq, outcome, arrival, self.chain))
            self.chain = self.quarantined[-1][-1]
        else:
            outcome.merged = True
            if not arrival.counted:
                self.duplicates.append((arrival.at, arrival.row))
        if arrival.origin and not arrival.counted:
            self.origins.append(arrival.origin)


def linked(outcomes: Sequence[Outcome], seq: int, chain: bytes, quarantine: SqliteQuarantine) -> Rows:
    """Return the rows of a batch, numbered and chained to those before."""
    rows = Rows(seq, chain)
    for outcome in outcomes:
        rows.seq += 1
        if isinstance(outcome, Decided):
            rows.decisions.append(decision_row(rows.seq, outcome, rows.chain))
            rows.chain = rows.decisions[-1][-1]
        elif isinstance(outcome, AppliedLabel | RedundantLabel):
            rows.labels.append(label_row(rows.seq, outcome, rows.chain))
            rows.chain = rows.labels[-1][-1]
            if isinstance(outcome, AppliedLabel) and outcome.ids is None:
                rows.awaited.append(outcome.label.transaction_id)
        elif isinstance(outcome, Quarantined):
            rows.add_quarantined(outcome, quarantine.arrival(outcome, rows.seq))
    return rows


def decision_row(seq: int, outcome: Decided, chain: bytes) -> DecisionRow:
    """Return a decided payment as the tables hold it, chained to the row before it."""
    decision, payment, assignment = outcome.decision, outcome.payment, outcome.decision.control_group
    reasons = [(v.action.label, v.code, v.message) for v in decision.reasons]
    row = (
        seq,
        decision.transaction_id,
        payment.event_time,
        int(decision.action),
        decision.score,
        msgspec.json.encode(reasons).decode() if reasons else NO_NOTES,
        decision.policy,
        decision.bundle,
        msgspec.msgpack.encode(payment.entities),
        outcome.raw,
        outcome.values.tobytes(),
        decision.config_id,
        None if assignment is None else int(assignment.counterfactual_action),
        None if assignment is None else assignment.sampling_rate,
        decision.caller,
        msgspec.json.encode(decision.notes).decode() if decision.notes else NO_NOTES,
    )
    return (*row, chain_hash(chain, row))


def label_row(seq: int, outcome: AppliedLabel | RedundantLabel, chain: bytes) -> LabelRow:
    """Return a label as the tables hold it, chained to the row before it."""
    label, redundant = outcome.label, isinstance(outcome, RedundantLabel)
    head = (seq, label.transaction_id, label.fraud, label.known_at, label.source)
    supersedes_known_at = outcome.supersedes_known_at if isinstance(outcome, AppliedLabel) else None
    applied_at = seq if isinstance(outcome, AppliedLabel) and outcome.ids is not None else None
    content = label_content(*head, supersedes_known_at, label.happened_at, redundant, label.caller)
    return (
        *head,
        supersedes_known_at,
        applied_at,
        label.happened_at,
        redundant,
        label.caller,
        chain_hash(chain, content),
    )


def quarantine_row(seq: int, outcome: Quarantined, arrival: Arrival, chain: bytes) -> QuarantineRow:
    """Return a quarantined event as the tables hold it, chained to the row before it."""
    row = (seq, outcome.reason, outcome.path, bytes(outcome.raw), outcome.transaction_id)
    return (*row, arrival.digest, 1, arrival.at, arrival.at, chain_hash(chain, row))


def _insert(
    db: sqlite3.Connection, table: str, rows: list[DecisionRow] | list[LabelRow] | list[QuarantineRow]
) -> None:
    if rows:
        placeholders = ",".join("?" * len(rows[0]))
        db.executemany(f"INSERT INTO {table} VALUES ({placeholders})", rows)  # noqa: S608 - our own tables
