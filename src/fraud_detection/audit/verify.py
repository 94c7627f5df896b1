"""Verify the hash chain of state files: no row was changed, removed or added.

The chain shows any row that is not as it was written.  A chain that was recomputed as a whole, or cut off at
its end, is found by an anchor: an earlier chain head that was stored elsewhere.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fraud_detection.adapters.host.private_files import append_to
from fraud_detection.adapters.sqlite.losses import LOSSES, Loss, found_loss
from fraud_detection.adapters.sqlite.state_reader import StateReader
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target
from fraud_detection.core.hash_chain import KINDS, START, ChainEntry
from fraud_detection.engine.engine import Configuration

Progress = Callable[[str, float], None]

PROGRESS_EVERY = 8192
MAX_FAULTS = 20
"""So many are listed; a file whose chain was recomputed has as many as rows."""


class Anchor(msgspec.Struct, frozen=True):
    """The chain head of a state file at some time: the file's name, the row's number, the hash in hex."""

    time: str
    state: str
    number: int
    chain_head: str


class Fault(msgspec.Struct, frozen=True):
    """Something that is not as it was written; number, kind and payment where it is a row."""

    message: str
    number: int | None = None
    kind: str | None = None
    about: str | None = None


class Verified(msgspec.Struct):
    """What was found in one state file.

    rows: by kind.  last, chain_head: number and hash of the last row, the hash in hexadecimal.
    tampered: rows whose hash is not the expected one.  anchors_found: earlier anchors that match.
    faults: at most MAX_FAULTS are listed; fault_count says how many there are.
    notes: what is no fault and should be known, such as losses that somebody has accepted.
    """

    state: str
    rows: dict[str, int]
    last: int = 0
    chain_head: str = ""
    configurations: int = 0
    tampered: int = 0
    anchors_found: int = 0
    fault_count: int = 0
    faults: list[Fault] = []
    notes: list[str] = []

    @property
    def is_intact(self) -> bool:
        """Return whether everything is as it was written."""
        return not self.fault_count

    def fault(self, message: str, entry: ChainEntry | None = None) -> None:
        """Add something that was found."""
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            row = () if entry is None else (entry.seq, entry.kind, entry.about)
            self.faults.append(Fault(message, *row))


def verify(path: Path, anchors: Sequence[Anchor], progress: Progress) -> Verified:
    """Walk one state file; raise ConfigError when it cannot be opened.

    anchors: of this file and of others; only those of a file of this name count.
    """
    record = StateReader(path)
    try:
        loss = found_loss(path)
        report = Verified(path.name, dict.fromkeys(KINDS, 0))
        _report_losses(report, loss, record.meta(LOSSES) or [])
        _Walk(record, report, [anchor for anchor in anchors if anchor.state == path.name]).run(progress)
        for name, content in record.configurations().items():
            report.configurations += 1
            if not Configuration(name, content).is_intact:
                report.fault(
                    f"the configuration {name} is not the one that was named so: its content was changed"
                )
        for seq, transaction_id in record.displaced_labels():
            report.fault(
                f"label {seq} of payment {transaction_id} is marked as applied at another event than it was"
            )
    finally:
        record.close()
    return report


def _report_losses(report: Verified, loss: Loss | None, accepted: Sequence[dict[str, Any]]) -> None:
    for accepted_loss in (msgspec.convert(row, Loss) for row in accepted):
        report.notes.append(f"a loss was accepted at {accepted_loss.at}: {accepted_loss.message}")
    if loss is not None and loss.unmarked:
        # A copy for the audit has none; who opens it for serving is asked.
        report.notes.append(loss.message)
    elif loss is not None:
        report.fault(loss.message)


class _Walk:
    """Verifies the rows of one file in order."""

    def __init__(self, record: StateReader, report: Verified, anchors: Sequence[Anchor]) -> None:
        self.record, self.report = record, report
        self.configurations = set(record.configurations())
        self.anchors: dict[int, list[Anchor]] = {}
        for anchor in anchors:
            self.anchors.setdefault(anchor.number, []).append(anchor)

    def run(self, progress: Progress) -> None:
        report, name, last = self.report, self.record.path.name, START
        until = max(self.record.checkpoint.seq, 1)
        for count, entry in enumerate(self.record.chain_entries(), start=1):
            self._take(entry)
            last = entry.carried
            if count % PROGRESS_EVERY == 0:
                progress(f"checking {name}: {count:,} rows", min(entry.seq / until, 1.0))
        progress(f"checking {name}: {sum(report.rows.values()):,} rows", 1.0)
        report.chain_head = last.hex()
        if last != self.record.checkpoint.chain:
            report.fault("the last row is not the one that the file itself says it ends with: rows are gone")
        for anchor in (anchor for gone in self.anchors.values() for anchor in gone if anchor.number):
            report.fault(f"row {anchor.number}, anchored at {anchor.time}, is gone")

    def _take(self, entry: ChainEntry) -> None:
        report = self.report
        report.rows[entry.kind] += 1
        report.last = entry.seq
        if entry.carried != entry.expected:
            _tampered(report, entry)
        if entry.kind == KINDS[0] and entry.config_id not in self.configurations:
            self.configurations.add(entry.config_id)
            report.fault(
                f"the configuration {entry.config_id or '(none)'}, which decided, is not in the file", entry
            )
        for anchor in self.anchors.pop(entry.seq, ()):
            _compare(report, anchor, entry)


def _tampered(report: Verified, entry: ChainEntry) -> None:
    report.tampered += 1
    if report.tampered > 1:
        report.fault_count += 1
        return
    report.fault(
        f"row {entry.seq} ({entry.kind}: {entry.about}) is the first whose hash is not the expected one: it "
        "was changed or added, or what stood before it was removed",
        entry,
    )


def _compare(report: Verified, anchor: Anchor, entry: ChainEntry) -> None:
    if anchor.chain_head == entry.carried.hex():
        report.anchors_found += 1
    else:
        message = (
            f"row {entry.seq} has another hash than its anchor of {anchor.time}: the chain up to it was "
            "recomputed"
        )
        report.fault(message, entry)


def read_anchors(path: Path) -> list[Anchor]:
    """Read anchors; raise ConfigError when the file is missing or a line of it is no anchor."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of anchors; begin one with --anchor")
    anchors = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            anchors.append(msgspec.json.decode(line, type=Anchor))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: line {number} is no anchor: {error}") from None
    return anchors


def append_anchors(path: Path, verified: Sequence[Verified], now: dt.datetime) -> None:
    """Append the chain head of each file, on disk when this returns."""
    time = now.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    with append_to(check_target(path)) as file:
        for verified_file in verified:
            anchor = Anchor(time, verified_file.state, verified_file.last, verified_file.chain_head)
            file.write(msgspec.json.encode(anchor) + b"\n")
        file.flush()
        os.fsync(file.fileno())
