"""`fraud audit verify`: say whether what was kept is as it was kept."""

from __future__ import annotations

import datetime as dt
from argparse import Namespace

import msgspec

from fraud_detection.audit.verify import Noted, Verified, append_notes, read_notes, verify
from fraud_detection.cli.printing import print_line, terminal, write_figures
from fraud_detection.core.errors import ConfigError
from fraud_detection.serving.workers.ownership import kept_files

BROKEN = 1


def verify_files(arguments: Namespace) -> int:
    """Check every state file of that name; return 1 when one is not whole."""
    screen = terminal(arguments)
    notes = _notes(arguments)
    found = [verify(path, notes, screen.progress) for path in kept_files(arguments.state)]
    screen.finish()
    for one in found:
        _tell(one, with_notes=bool(notes))
    whole = all(one.is_whole for one in found)
    if whole and arguments.note is not None:
        append_notes(arguments.note, found, dt.datetime.now(dt.UTC))
    write_figures(arguments, {"whole": whole, "files": [msgspec.to_builtins(one) for one in found]})
    return 0 if whole else BROKEN


def _notes(arguments: Namespace) -> list[Noted]:
    if arguments.note is not None and arguments.from_note is not None:
        raise ConfigError("--note compares with its file too; give --note or --from-note, not both")
    if arguments.from_note is not None:
        return read_notes(arguments.from_note)
    if arguments.note is not None and arguments.note.exists():
        return read_notes(arguments.note)
    return []


def _tell(one: Verified, *, with_notes: bool) -> None:
    counted = ", ".join(f"{count:,} {kind}s" for kind, count in one.rows.items())
    end = f"ends with number {one.last:,}, link {one.link or '(none)'}"
    noted = f"; {one.noted:,} noted links found" if with_notes else ""
    if one.is_whole:
        print_line(f"{one.state}: OK: {counted}; {one.configurations:,} configurations{noted}; {end}")
        _remark(one)
        return
    print_line(f"{one.state}: BROKEN: {counted}; {one.configurations:,} configurations{noted}; {end}")
    for fault in one.faults:
        print_line(f"  {fault.message}")
    more = one.fault_count - len(one.faults)
    if more:
        print_line(f"  and {more:,} more")
    _remark(one)


def _remark(one: Verified) -> None:
    for words in one.remarks:
        print_line(f"  note: {words}")
