"""`python -m benchmarks`: what the system promises, measured on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.suite.commands import bench
from fraud_detection.cli.arguments import OneSentenceParser, common
from fraud_detection.cli.main import run_command

PROGRAM = "python -m benchmarks"
WORLD = Path("build/bench")
SERVERS = Path(".venv-peers")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 2 when it was refused."""
    return run_command(build_parser().parse_args(arguments), PROGRAM, bench)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the suite."""
    parser = OneSentenceParser(prog=PROGRAM, description="Measure speed, latency and memory on this machine.")
    common(parser)
    parser.add_argument(
        "what",
        nargs="?",
        choices=("engine", "scale", "http", "all", "soak"),
        default="all",
        help="engine: in this process; scale: many entities; http: `fraud serve`; "
        "soak: for long (all: all but soak)",
    )
    parser.add_argument("--quick", action="store_true", help="a small world and a few seconds, to try it out")
    parser.add_argument("--peers", action="store_true", help="beside other servers with the same model")
    parser.add_argument(
        "--environments", type=Path, default=SERVERS, help=f"of the peers, see `make peers` ({SERVERS})"
    )
    parser.add_argument("--write", action="store_true", help="into docs/performance.md, with charts")
    parser.add_argument("--directory", type=Path, default=WORLD, help=f"keeps the trained world ({WORLD})")
    parser.add_argument("--rate", type=float, help="payments a second at the fixed rate (1000)")
    parser.add_argument("--minutes", type=float, default=60.0, help="soak: how long (60)")
    parser.add_argument("--cards", type=int, default=1_000_000, help="soak: how many are known (1000000)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
