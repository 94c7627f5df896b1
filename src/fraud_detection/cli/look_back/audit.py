"""`fraud audit verify`: verify the hash chain of state files."""

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
    from fraud_detection.audit.verify import Anchor, Verified

TAMPERED = 1


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

    anchors = _anchors(anchor, verify_against)
    verified = [auditing.verify(path, anchors, output.screen.progress) for path in state_files_of(state)]
    output.screen.finish()
    for file in verified:
        _print(file, with_anchors=bool(anchors))
    intact = all(file.is_intact for file in verified)
    if intact and anchor is not None:
        auditing.append_anchors(anchor, verified, dt.datetime.now(dt.UTC))
    output.write({"intact": intact, "files": [msgspec.to_builtins(file) for file in verified]})
    return 0 if intact else TAMPERED


def _anchors(anchor: Path | None, verify_against: Path | None) -> list[Anchor]:
    from fraud_detection.audit.verify import read_anchors

    if anchor is not None and verify_against is not None:
        raise ConfigError("--anchor compares with its file too; give --anchor or --verify-against, not both")
    if verify_against is not None:
        return read_anchors(verify_against)
    if anchor is not None and anchor.exists():
        return read_anchors(anchor)
    return []


def _print(file: Verified, *, with_anchors: bool) -> None:
    counted = ", ".join(f"{count:,} {kind}s" for kind, count in file.rows.items())
    end = f"ends with number {file.last:,}, chain head {file.chain_head or '(none)'}"
    note = f"; {file.anchors_found:,} anchors match" if with_anchors else ""
    if file.is_intact:
        print_line(f"{file.state}: OK: {counted}; {file.configurations:,} configurations{note}; {end}")
        _print_notes(file)
        return
    print_line(f"{file.state}: TAMPERED: {counted}; {file.configurations:,} configurations{note}; {end}")
    for fault in file.faults:
        print_line(f"  {fault.message}")
    more = file.fault_count - len(file.faults)
    if more:
        print_line(f"  and {more:,} more")
    _print_notes(file)


def _print_notes(file: Verified) -> None:
    for note in file.notes:
        print_line(f"  note: {note}")
