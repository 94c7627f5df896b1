"""The arguments of what looks back: why a payment was decided as it was, and whether the log is whole."""

from __future__ import annotations

import argparse
from pathlib import Path

from fraud_detection.cli.arguments import BUNDLE, STATE, Commands, OneSentenceParser, command


def explain(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud explain`."""
    words = "make a past decision again, to the bit, and tell its story"
    parser = command(commands, "explain", "look_back.explain:explain", words)
    parser.add_argument("id", help="the transaction's id")
    _state(parser)
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        dest="bundles",
        metavar="PATH",
        help=f"where the bundle may lie that decided, repeatable ({BUNDLE})",
    )
    parser.add_argument("--live", type=Path, metavar="DIR", help="a folder that keeps bundles/NAME.tar.gz")
    parser.add_argument("--replay", action="store_true", help="make the features again too, from the log")
    parser.add_argument("--history", type=Path, help="what the state file began with, for --replay")
    parser.add_argument("--top", type=int, default=5, help="features to tell for and against (5)")
    parser.add_argument("--all-features", action="store_true", help="tell what every feature said")


def audit(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud audit verify`."""
    outer = commands.add_parser("audit", help="prove that what was decided was not changed since")
    kinds = outer.add_subparsers(dest="kind", required=True, metavar="verify")
    words = "check the chain of everything that a state file has kept"
    parser = command(kinds, "verify", "look_back.audit:verify_files", words)
    _state(parser)
    parser.add_argument(
        "--note", type=Path, metavar="FILE", help="compare with the links noted there, and note the last one"
    )
    parser.add_argument("--from-note", type=Path, metavar="FILE", help="compare with the links noted there")


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, default=STATE, help=f"the state file, or the name of all workers' ({STATE})"
    )
