"""Read the decisions and labels of a state file; another process may write it meanwhile.

Nothing is written.  All that is read is of one moment, however long the reading takes: rows are only ever
added to a state file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import msgspec

from fraud_detection.adapters.sqlite import journal
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Label

READ_ROWS = 4096
CLOCK = 100
"""The time that payments have reached is the latest of so many, so one in the future is soon forgotten."""
MAX_SKEWED = 5
"""It never falls below what so many payments among `CLOCK` had reached: late ones turn no clock."""
COLUMNS = """
    seq, transaction_id, event_time, action, score, reasons, policy, bundle, entities, event, features,
    config_id, counterfactual_action, sampling_rate, caller, notes, chain"""


class LoggedDecision(msgspec.Struct, frozen=True, gc=False):
    """A decided payment: its raw event and its decision.

    reasons: as JSON.  features: the served values, float64, as bytes.  counterfactual_action, sampling_rate:
    of the control group, see `events.ControlGroupAssignment`.
    """

    transaction_id: str
    event_time: int
    action: int
    score: float | None
    reasons: str
    bundle: str
    event: bytes
    features: bytes
    config_id: str
    counterfactual_action: int | None
    sampling_rate: float | None

    @property
    def codes(self) -> list[str]:
        """Return the codes of the reasons."""
        return [code for _, code, _ in msgspec.json.decode(self.reasons, type=list[tuple[str, str, str]])]


class LoggedDecisionReader:
    """A state file as it is when this is made."""

    def __init__(self, path: Path) -> None:
        """Open the file; raise ConfigError when there is none, or it is no state file of this version."""
        if not path.is_file():
            raise ConfigError(f"{path}: no such state file; name one of `fraud run` or `fraud serve`")
        self._state_file = StateFile(path, reading=True)
        db = self._state_file.database
        db.execute("BEGIN")
        try:
            self._last: int = db.execute("SELECT coalesce(max(seq), 0) FROM decisions").fetchone()[0]
            self._waiting = journal.entries(db)
            self.configurations: dict[str, bytes] = dict(
                db.execute("SELECT config_id, content FROM configurations")
            )
            self._label_rows: list[tuple[str, bool, int, str, int, int | None]] = db.execute(
                "SELECT transaction_id, fraud, known_at, source, seq, happened_at FROM labels "
                "WHERE NOT redundant ORDER BY seq"
            ).fetchall()
        finally:
            db.execute("COMMIT")
        self._label_rows += [
            (row[1], row[2], row[3], row[4], row[0], row[7])
            for entry in self._waiting
            for row in entry.labels
            if not row[8]
        ]

    @cached_property
    def labels(self) -> list[Label]:
        """Labels that superseded another one, in order of arrival; later ones supersede earlier ones.

        Each says which time payments had reached when it came: the latest of those decided shortly before,
        or the moment before the first one.
        """
        if not self._label_rows:
            return []
        times = self._times(until=self._label_rows[-1][4])
        following = next(times, None)
        first = -1 if following is None else following[1] - 1
        reached, floor, since = deque([first], CLOCK), -1, 0
        labels: list[Label] = []
        for transaction_id, fraud, known_at, source, seq, happened_at in self._label_rows:
            while following is not None and following[0] < seq:
                reached.append(following[1])
                following, since = next(times, None), since + 1
                if since % (CLOCK // 2) == 0:
                    floor = max(floor, sorted(reached)[-MAX_SKEWED])
            ingested_at = max(floor, *reached)
            labels.append(
                Label(
                    transaction_id, bool(fraud), known_at, source, seq, happened_at, ingested_at=ingested_at
                )
            )
        return labels

    def _times(self, until: int) -> Iterator[tuple[int, int]]:
        """Yield number and event time of the decisions before a number; of the first one in any case."""
        done = 0
        query = "SELECT seq, event_time FROM decisions WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        while rows := self._state_file.rows(query, (done, self._last, READ_ROWS)):
            yield from rows
            done = rows[-1][0]
            if done > until:
                return
        yield from (row[:1] + row[2:3] for entry in self._waiting for row in entry.decisions)

    def close(self) -> None:
        """Close the file."""
        self._state_file.close()

    def decisions(self) -> Iterator[LoggedDecision]:
        """Yield all decisions, in order."""
        done = 0
        query = f"SELECT {COLUMNS} FROM decisions WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608 - our own columns
        while rows := self._state_file.rows(query, (done, self._last, READ_ROWS)):
            yield from (_decision(row) for row in rows)
            done = rows[-1][0]
        for entry in self._waiting:
            yield from (_decision(row) for row in entry.decisions)

    def recent(self, since: int) -> Iterator[LoggedDecision]:
        """Yield the decisions on payments from `since` on, in ms, the latest first.

        Stops where a whole page of decisions is older: a payment that came later than that is missed.
        """
        for entry in reversed(self._waiting):
            yield from (_decision(row) for row in reversed(entry.decisions) if row[2] >= since)
        before = self._last + 1
        query = f"SELECT {COLUMNS} FROM decisions WHERE seq < ? ORDER BY seq DESC LIMIT ?"  # noqa: S608 - our own columns
        while rows := self._state_file.rows(query, (before, READ_ROWS)):
            young = [row for row in rows if row[2] >= since]
            yield from (_decision(row) for row in young)
            if not young:
                return
            before = rows[-1][0]

    @property
    def watermark(self) -> int:
        """Return the latest event time of a payment, in ms; -1 without one."""
        return (
            self._waiting[-1].checkpoint.watermark if self._waiting else self._state_file.checkpoint.watermark
        )


def _decision(row: tuple[object, ...]) -> LoggedDecision:
    (
        _,
        transaction_id,
        time_ms,
        action,
        score,
        reasons,
        _,
        bundle,
        _,
        event,
        features,
        config_id,
        counterfactual_action,
        sampling_rate,
        *_,
    ) = row
    columns = (
        transaction_id,
        time_ms,
        action,
        score,
        reasons,
        bundle,
        event,
        features,
        config_id,
        counterfactual_action,
        sampling_rate,
    )
    return LoggedDecision(*columns)  # type: ignore[arg-type]  # SQLite's columns have the types of `TABLES`
