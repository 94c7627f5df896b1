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
    found = [auditing.verify(path, anchors, output.screen.progress) for path in state_files_of(state)]
    output.screen.finish()
    for one in found:
        _print(one, with_anchors=bool(anchors))
    intact = all(one.is_intact for one in found)
    if intact and anchor is not None:
        auditing.append_anchors(anchor, found, dt.datetime.now(dt.UTC))
    output.write({"intact": intact, "files": [msgspec.to_builtins(one) for one in found]})
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


def _print(one: Verified, *, with_anchors: bool) -> None:
    counted = ", ".join(f"{count:,} {kind}s" for kind, count in one.rows.items())
    end = f"ends with number {one.last:,}, chain head {one.chain_head or '(none)'}"
    note = f"; {one.anchors_found:,} anchors match" if with_anchors else ""
    if one.is_intact:
        print_line(f"{one.state}: OK: {counted}; {one.configurations:,} configurations{note}; {end}")
        _print_notes(one)
        return
    print_line(f"{one.state}: TAMPERED: {counted}; {one.configurations:,} configurations{note}; {end}")
    for fault in one.faults:
        print_line(f"  {fault.message}")
    more = one.fault_count - len(one.faults)
    if more:
        print_line(f"  and {more:,} more")
    _print_notes(one)


def _print_notes(one: Verified) -> None:
    for note in one.notes:
        print_line(f"  note: {note}")
