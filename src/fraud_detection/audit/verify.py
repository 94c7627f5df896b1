"""Check that nothing was changed, removed or added in what state files have kept.

The chain tells of any row that is not as it was written.  Who makes the whole chain anew, or cuts off its
end together with the file's own word of it, is found by a note of an earlier link that was kept elsewhere.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fraud_detection.adapters.host.private_files import append_to
from fraud_detection.adapters.sqlite.state_guard import LOSSES, Loss, found_loss
from fraud_detection.adapters.sqlite.state_reader import StateReader
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target
from fraud_detection.core.hash_chain import KINDS, START, Link
from fraud_detection.engine.engine import Configuration

Progress = Callable[[str, float], None]

TOLD_EVERY = 8192
MAX_FAULTS = 20
"""So many are told one by one; a file that was made anew has as many as rows."""


class Noted(msgspec.Struct, frozen=True):
    """The last link of a state file at some time: the file's name, the row's number, the link in hex."""

    time: str
    state: str
    number: int
    link: str


class Fault(msgspec.Struct, frozen=True):
    """Something that is not as it was kept; number, kind and payment where it is a row."""

    message: str
    number: int | None = None
    kind: str | None = None
    about: str | None = None


class Verified(msgspec.Struct):
    """What was found in one state file.

    rows: by kind.  last, link: the number and the link of the last row, the link in hexadecimal.
    broken: rows that do not carry the link they should.  noted: links of an earlier time that were found.
    faults: at most the first of each kind are told one by one; fault_count says how many there are.
    remarks: what is no fault and should be known, such as losses that somebody has accepted.
    """

    state: str
    rows: dict[str, int]
    last: int = 0
    link: str = ""
    configurations: int = 0
    broken: int = 0
    noted: int = 0
    fault_count: int = 0
    faults: list[Fault] = []
    remarks: list[str] = []

    @property
    def is_whole(self) -> bool:
        """Tell whether everything is as it was kept."""
        return not self.fault_count

    def fault(self, message: str, link: Link | None = None) -> None:
        """Add something that was found."""
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            row = () if link is None else (link.seq, link.kind, link.about)
            self.faults.append(Fault(message, *row))


def verify(path: Path, notes: Sequence[Noted], progress: Progress) -> Verified:
    """Walk one state file; raise ConfigError when it cannot be opened.

    notes: of this file and of others; only those of a file of this name count.
    """
    record = StateReader(path)
    try:
        loss = found_loss(path)
        found = Verified(path.name, dict.fromkeys(KINDS, 0))
        _tell_losses(found, loss, record.meta(LOSSES) or [])
        _Walk(record, found, [note for note in notes if note.state == path.name]).run(progress)
        for name, content in record.configurations().items():
            found.configurations += 1
            if not Configuration(name, content).is_whole:
                found.fault(
                    f"the configuration {name} is not the one that was named so: its content was changed"
                )
        for seq, one in record.displaced_labels():
            found.fault(f"label {seq} of payment {one} is said to be learned at another place than it was")
    finally:
        record.close()
    return found


def _tell_losses(found: Verified, loss: Loss | None, accepted: Sequence[dict[str, Any]]) -> None:
    for one in (msgspec.convert(row, Loss) for row in accepted):
        found.remarks.append(f"a loss was accepted at {one.at}: {one.message}")
    if loss is not None and loss.unmarked:
        # A copy for the audit has none; who opens it for serving is asked.
        found.remarks.append(loss.message)
    elif loss is not None:
        found.fault(loss.message)


class _Walk:
    """Judges the links of one file in order."""

    def __init__(self, record: StateReader, found: Verified, notes: Sequence[Noted]) -> None:
        self.record, self.found = record, found
        self.configurations = set(record.configurations())
        self.notes: dict[int, list[Noted]] = {}
        for note in notes:
            self.notes.setdefault(note.number, []).append(note)

    def run(self, progress: Progress) -> None:
        found, name, last = self.found, self.record.path.name, START
        until = max(self.record.checkpoint.seq, 1)
        for count, link in enumerate(self.record.links(), start=1):
            self._take(link)
            last = link.carried
            if count % TOLD_EVERY == 0:
                progress(f"checking {name}: {count:,} rows", min(link.seq / until, 1.0))
        progress(f"checking {name}: {sum(found.rows.values()):,} rows", 1.0)
        found.link = last.hex()
        if last != self.record.checkpoint.chain:
            found.fault("the last row is not the one that the file itself says it ends with: rows are gone")
        for note in (note for gone in self.notes.values() for note in gone if note.number):
            found.fault(f"row {note.number}, which was noted at {note.time}, is gone")

    def _take(self, link: Link) -> None:
        found = self.found
        found.rows[link.kind] += 1
        found.last = link.seq
        if link.carried != link.expected:
            _broken(found, link)
        if link.kind == KINDS[0] and link.config_id not in self.configurations:
            self.configurations.add(link.config_id)
            found.fault(
                f"the configuration {link.config_id or '(none)'}, which decided, is not in the file", link
            )
        for note in self.notes.pop(link.seq, ()):
            _compare(found, note, link)


def _broken(found: Verified, link: Link) -> None:
    found.broken += 1
    if found.broken > 1:
        found.fault_count += 1
        return
    found.fault(
        f"row {link.seq} ({link.kind}: {link.about}) is the first that does not carry the link it should: it "
        "was changed or added, or what stood before it was removed",
        link,
    )


def _compare(found: Verified, note: Noted, link: Link) -> None:
    if note.link == link.carried.hex():
        found.noted += 1
    else:
        message = f"row {link.seq} has another link than was noted at {note.time}: all up to it was made anew"
        found.fault(message, link)


def read_notes(path: Path) -> list[Noted]:
    """Return what was noted; raise ConfigError when the file is missing or a line of it is none."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of notes; begin one with --anchor")
    notes = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            notes.append(msgspec.json.decode(line, type=Noted))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: line {number} is no note: {error}") from None
    return notes


def append_notes(path: Path, verified: Sequence[Verified], now: dt.datetime) -> None:
    """Append the last link of each file, on disk when this returns."""
    time = now.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    with append_to(check_target(path)) as file:
        for one in verified:
            note = Noted(time, one.state, one.last, one.link)
            file.write(msgspec.json.encode(note) + b"\n")
        file.flush()
        os.fsync(file.fileno())
