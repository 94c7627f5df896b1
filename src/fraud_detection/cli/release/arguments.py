"""The arguments of what changes the live system: releases, promotion, rollback, shadows."""

from __future__ import annotations

import argparse
from pathlib import Path

from fraud_detection.cli.arguments import (
    BUNDLE,
    STATE,
    Commands,
    OneSentenceParser,
    command,
    config,
    log_format,
    moment,
)

LIVE = Path("build/live")


def release(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud release` and its steps."""
    outer = commands.add_parser("release", help="say what answers, from one moment to the next")
    steps = outer.add_subparsers(dest="step", required=True, metavar="start|change|canary|shadow|show")
    parser = command(steps, "start", "release.release:start", "make the first release of a folder")
    parser.add_argument("--bundle", type=Path, help=f"the bundle ({BUNDLE})")
    config(parser, default=None)
    _released(parser)
    parser = command(steps, "change", "release.release:change", "put rules, lists, cut-offs or limits live")
    parser.add_argument("change", type=Path, help="YAML with blocks of the project file")
    _released(parser)
    parser = command(steps, "canary", "release.release:canary", "let a change answer a share of the cards")
    parser.add_argument("change", type=Path, nargs="?", help="YAML with blocks of the project file")
    parser.add_argument("--share", type=float, default=0.05, help="of the cards (0.05)")
    parser.add_argument("--end", action="store_true", help="end the canary")
    _released(parser)
    parser = command(
        steps, "shadow", "release.release:shadow", "let changes decide beside, without an answer"
    )
    parser.add_argument("change", type=Path, nargs="*", help="YAML with blocks of the project file")
    parser.add_argument("--end", action="append", default=[], metavar="SETUP", help="end one, repeatable")
    _released(parser)
    parser = command(steps, "show", "release.release:show", "print the releases, and who answers by which")
    parser.add_argument("--last", type=int, default=20, help="how many (20)")
    parser.add_argument("--registry", action="store_true", help="tell MLflow again who the champion is")
    live(parser)


def rollback(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud rollback`."""
    parser = command(
        commands, "rollback", "release.release:rollback", "bring back what answered before, everywhere"
    )
    _released(parser)


def promote(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud promote`."""
    parser = command(commands, "promote", "release.release:promote", "let a shadow answer, if the gate opens")
    _compared(parser)
    parser.add_argument("--anyway", action="store_true", help="even if the gate is shut; the log says so")
    _released(parser)


def compare(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud compare`."""
    words = "a shadow beside the champion on live traffic, in money"
    parser = command(commands, "compare", "release.compare:compare", words)
    _compared(parser)
    live(parser)


def shadow(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud shadow`."""
    words = "let the shadows decide every live payment too, beside the services"
    parser = command(commands, "shadow", "release.shadow:shadow", words)
    live(parser)
    _states(parser)
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="what the service began with, for shadows with features of their own",
    )
    parser.add_argument("--once", action="store_true", help="end when all that is there is decided")
    log_format(parser)


def _compared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--setup", metavar="NAME", help="which shadow (the only one)")
    _states(parser)
    parser.add_argument(
        "--as-of", type=moment, metavar="TIME", help="by when labels were known (all that are)"
    )


def _states(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        type=Path,
        action="append",
        metavar="FILE",
        help=f"the state file of a service, repeatable ({STATE})",
    )


def live(parser: argparse.ArgumentParser) -> None:
    """Let a command name the folder that says what is live."""
    parser.add_argument("--live", type=Path, default=LIVE, metavar="DIR", help=f"what is live ({LIVE})")


def _released(parser: argparse.ArgumentParser) -> None:
    live(parser)
    parser.add_argument("--by", metavar="NAME", help="who wants it (the user of this process)")
    parser.add_argument("--reason", required=True, metavar="WORDS", help="why")
    parser.add_argument("--no-tracking", action="store_true", help="do not tell MLflow")
