"""Output file of decisions: none is lost or repeated after a kill.

The state file notes how long the file was after each batch.  At the start whatever stands behind that is
cut off, and what was committed since is written again from the tables.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from fraud_detection.adapters.host.private_files import append_to
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.core.events import (
    Action,
    Conflict,
    ControlGroupAssignment,
    Decision,
    Label,
    Quarantined,
    Verdict,
)
from fraud_detection.core.file_targets import check_target

LOG = logging.getLogger(__name__)

LoggedOutcome = tuple[Decision, int] | Label | Quarantined
"""The logged outcome of an event: a decision with the event's time in ms, a label, or a refusal."""

SINCE = """
    SELECT seq, 0, transaction_id, event_time, action, score, reasons, policy, bundle, config_id,
           counterfactual_action, sampling_rate, caller, notes FROM decisions WHERE seq > :seq
    UNION ALL SELECT seq, 1, transaction_id, fraud, known_at, source, caller, NULL, NULL, NULL, NULL, NULL,
           NULL, NULL
    FROM labels WHERE seq > :seq
    UNION ALL SELECT seq, 2, reason, path, event, transaction_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           NULL
    FROM quarantine WHERE seq > :seq
    ORDER BY seq"""
ONE = """
    SELECT transaction_id, event_time, action, score, reasons, policy, bundle, config_id,
           counterfactual_action, sampling_rate, caller, notes
    FROM decisions WHERE transaction_id = :one"""


def find_decision(state_file: StateFile, transaction_id: str) -> tuple[Decision, int] | None:
    """Return the decision on one payment, with the event's time in ms; None where it was never decided."""
    rows = state_file.rows(ONE, {"one": transaction_id})
    return _decision(*rows[0]) if rows else None


def outcomes_since(state_file: StateFile, seq: int) -> Iterator[LoggedOutcome]:
    """Yield the outcomes after number `seq`, in order; duplicates are not logged."""
    for _, kind, *row in state_file.rows(SINCE, {"seq": seq}):
        if kind == 0:
            yield _decision(*row)
        elif kind == 1:
            yield Label(row[0], bool(row[1]), row[2], row[3], caller=row[4])
        else:
            reason, path, event, of, *_ = row
            yield Conflict(event, reason, path, of) if of else Quarantined(event, reason, path)


class OutputFile:
    """Appends lines to a file, or to standard output where the name is '-'.

    Lines that were handed to standard output before a kill may be handed out again: nobody knows whether
    they were read.
    """

    def __init__(self, state_file: StateFile, name: str, line: Callable[[LoggedOutcome], bytes]) -> None:
        """Open it, and write what the last process committed but could not write."""
        self._state_file = state_file
        self._name = name if name == "-" else str(Path(name).resolve())
        self._file = _opened(name)
        self._position = self._cut_off()
        row = state_file.rows("SELECT seq FROM outputs WHERE name = ?", (self._name,))
        missing = [line(outcome) for outcome in outcomes_since(state_file, row[0][0])] if row else []
        self.write(missing)

    def write(self, lines: Sequence[bytes]) -> None:
        """Write the lines of all committed outcomes, and store the length."""
        data = b"".join(lines)
        self._file.write(data)
        self._file.flush()
        self._position += len(data)
        try:
            with self._state_file.transaction():
                self._state_file.store_output_length(self._name, self._position)
        except RetryError as error:
            message = "%s; the next write stores the length of these too, or the next start writes them again"
            LOG.warning(message, error, extra={"event": "output_length_not_stored"})

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._name != "-":
            self._file.close()

    def _cut_off(self) -> int:
        if self._name == "-":
            return 0
        row = self._state_file.rows("SELECT bytes FROM outputs WHERE name = ?", (self._name,))
        length = self._file.seek(0, 2)
        if row and length > row[0][0]:
            length = self._file.truncate(row[0][0])
        return length


def _decision(  # noqa: PLR0913, PLR0917 - the columns of a row
    transaction_id: str,
    event_time: int,
    action: int,
    score: float | None,
    reasons: str,
    policy: str,
    bundle: str,
    config_id: str,
    counterfactual_action: int | None,
    sampling_rate: float | None,
    caller: str,
    notes: str,
) -> tuple[Decision, int]:
    verdicts = [Verdict(Action[reason.upper()], code, text) for reason, code, text in _reasons(reasons)]
    assignment = (
        None
        if counterfactual_action is None or sampling_rate is None
        else ControlGroupAssignment(Action(counterfactual_action), sampling_rate)
    )
    row = msgspec.json.decode(notes, type=tuple[str, ...])
    given_reasons = tuple(verdicts)
    decided = Decision(
        transaction_id,
        Action(action),
        score,
        given_reasons,
        policy,
        bundle,
        config_id,
        assignment,
        caller,
        row,
    )
    return decided, event_time


def _reasons(text: str) -> list[tuple[str, str, str]]:
    return msgspec.json.decode(text, type=list[tuple[str, str, str]])


def _opened(name: str) -> BinaryIO:
    if name == "-":
        return sys.stdout.buffer
    try:
        return append_to(check_target(Path(name)))
    except OSError as error:
        raise ConfigError(f"{name}: cannot be written: {error}") from None
