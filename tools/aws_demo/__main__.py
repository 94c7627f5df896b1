"""`python -m tools.aws_demo`: deploy to AWS services of this machine, stream, sum up, remove everything."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fraud_detection.cli.arguments import OneSentenceParser, common, world
from fraud_detection.cli.main import run_command
from tools.aws_demo.commands import aws_demo

PROGRAM = "python -m tools.aws_demo"
LOCAL_AWS = Path(".venv-aws")


def main(arguments: Sequence[str] | None = None) -> int:
    """Demonstrate; return 0, or 2 when it was refused."""
    return run_command(build_parser().parse_args(arguments), PROGRAM, aws_demo)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the demonstration."""
    parser = OneSentenceParser(
        prog=PROGRAM,
        description="The demo on AWS's own protocols: deployed to local services, streamed, removed.",
    )
    common(parser)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to stream (60)")
    parser.add_argument("--rate", type=float, default=200.0, help="payments a second (200)")
    world(parser)
    parser.add_argument(
        "--directory", type=Path, default=Path("build/aws-demo"), help="where everything is put"
    )
    parser.add_argument("--tools", type=Path, default=LOCAL_AWS, help=f"the local services ({LOCAL_AWS})")
    parser.add_argument("--drift", action="append", default=[], help="see `fraud generate live --help`")
    return parser


if __name__ == "__main__":
    sys.exit(main())
