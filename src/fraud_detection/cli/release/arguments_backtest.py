"""The arguments of what tries changes on past payments."""

from __future__ import annotations

from pathlib import Path

from fraud_detection.cli.arguments import (
    BUNDLE,
    Commands,
    OneSentenceParser,
    command,
    config,
    moment,
    past,
)

REPORT = Path("build/backtest")


def backtest(commands: Commands[OneSentenceParser]) -> None:
    """Try a change on history."""
    words = "try a change on history: what would differ, in frauds, customers, reviews and money"
    parser = command(commands, "backtest", "release.backtest:try_changes", words)
    config(parser)
    parser.add_argument(
        "--change",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="YAML with blocks of the project file, repeatable",
    )
    since, until = "first day or time to decide again", "until before this day or time"
    parser.add_argument(
        "--from", dest="start", type=moment, metavar="TIME", help=f"{since} (end of learning)"
    )
    parser.add_argument("--to", dest="end", type=moment, metavar="TIME", help=f"{until} (end of history)")
    past(parser)
    parser.add_argument(
        "--features", type=Path, help="a table of features, as it is; with --data it is made there"
    )
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle in force ({BUNDLE})")
    parser.add_argument("--out", type=Path, default=REPORT, help=f"folder of the report ({REPORT})")
