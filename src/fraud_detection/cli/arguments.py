"""What the parsers of the commands share."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import NoReturn

BUNDLE = Path("build/bundle")
STATE = Path("build/state.db")
REFUSED = 2

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse names its type nowhere else


class OneSentenceParser(argparse.ArgumentParser):
    """Refuses in one sentence, where argparse would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where to read on."""
        self.exit(REFUSED, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def command(
    commands: Commands[OneSentenceParser], name: str, run: str, words: str
) -> argparse.ArgumentParser:
    """Add a command with the arguments that all have."""
    parser = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    parser.set_defaults(run=run)
    common(parser)
    return parser


def common(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that all commands have."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--headless", action="store_true", help="print plain lines, as without a terminal")


def log_format(parser: argparse.ArgumentParser) -> None:
    """Let a command that serves say how it writes its log."""
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="lines of the log, each with its time and level (text)",
    )


def past(parser: argparse.ArgumentParser) -> None:
    """Let a command take past payments, labels beside them, and the moment from which it looks back."""
    parser.add_argument("--data", type=Path, help="file of past payments (`history` in the project file)")
    parser.add_argument(
        "--labels", type=Path, action="append", default=[], metavar="FILE", help="more labels, repeatable"
    )
    parser.add_argument(
        "--as-of",
        type=moment,
        metavar="TIME",
        help="know nothing later, such as 2026-03-01 or 2026-03-01T12:00Z",
    )


def decided(parser: argparse.ArgumentParser) -> None:
    """Let a command take what a live system has decided as its past."""
    parser.add_argument(
        "--state",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="state file whose decided payments and labels follow --data, repeatable",
    )


def moment(text: str) -> int:
    """Return the time that ISO 8601 names, in ms since 1970; without a zone it is UTC.

    >>> moment("1970-01-02"), moment("1970-01-01T01:00+01:00")
    (86400000, 0)
    """
    try:
        named = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a day or a time such as 2026-03-01T12:00Z, got {text!r}"
        ) from None
    zoned = named if named.tzinfo else named.replace(tzinfo=dt.UTC)
    return round(zoned.timestamp() * 1000)


def config(parser: argparse.ArgumentParser, *, default: Path | None = Path("params.yaml")) -> None:
    """Let a command take a project file."""
    parser.add_argument(
        "--config", type=Path, default=default, metavar="FILE", help="the project file (params.yaml)"
    )


def world(parser: argparse.ArgumentParser) -> None:
    """Let a command choose its simulated world."""
    parser.add_argument("--seed", type=int, default=7, help="of the world (7)")
    parser.add_argument("--cards", type=int, help="how many cards there are (5,000)")
    parser.add_argument("--days", type=int, help="how many days the history has (90; `novelty`: 182)")
