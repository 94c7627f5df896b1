"""`fraud audit verify`: say whether what was kept is as it was kept."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import group
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.audit.verify import Noted, Verified

BROKEN = 1


@group("audit")
def audit() -> None:
    """Verify that the log of decisions is intact."""


@audit.command("verify")
@options.all_states
@click.option(
    "--anchor",
    type=options.PATH,
    metavar="FILE",
    help="Verify against the chain heads in FILE, and append the current one.",
)
@click.option(
    "--verify-against", type=options.PATH, metavar="FILE", help="Verify against the chain heads in FILE."
)
def verify(output: Output, *, state: Path, anchor: Path | None, verify_against: Path | None) -> int:
    """Verify the hash chain of a state file; exit code 1 where it was tampered with."""
    import msgspec

    from fraud_detection.audit import verify as auditing
    from fraud_detection.serving.workers.ownership import state_files_of

    notes = _notes(anchor, verify_against)
    found = [auditing.verify(path, notes, output.screen.progress) for path in state_files_of(state)]
    output.screen.finish()
    for one in found:
        _tell(one, with_notes=bool(notes))
    whole = all(one.is_whole for one in found)
    if whole and anchor is not None:
        auditing.append_notes(anchor, found, dt.datetime.now(dt.UTC))
    output.write({"whole": whole, "files": [msgspec.to_builtins(one) for one in found]})
    return 0 if whole else BROKEN


def _notes(anchor: Path | None, verify_against: Path | None) -> list[Noted]:
    from fraud_detection.audit.verify import read_notes

    if anchor is not None and verify_against is not None:
        raise ConfigError("--anchor compares with its file too; give --anchor or --verify-against, not both")
    if verify_against is not None:
        return read_notes(verify_against)
    if anchor is not None and anchor.exists():
        return read_notes(anchor)
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
