"""The arguments of `fraud retrain`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fraud_detection.cli.arguments import (
    BUNDLE,
    Commands,
    OneSentenceParser,
    command,
    config,
    decided,
    past,
)
from fraud_detection.core.decoding import Duration

CHALLENGERS = Path("build/challengers")


def retrain(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud retrain`."""
    words = "train a challenger on what has matured, and put it in the shadow"
    parser = command(commands, "retrain", "release.retrain:train_challenger", words)
    config(parser)
    past(parser)
    decided(parser)
    parser.add_argument("--bundle", type=Path, help=f"the champion ({BUNDLE}, or that of --live)")
    parser.add_argument("--live", type=Path, metavar="DIR", help="what is live: its champion, its shadows")
    parser.add_argument("--by", metavar="NAME", help="who wants the shadow (the user of this process)")
    parser.add_argument("--trials", type=_trials, default=30, help="settings to try, 0 for none (30)")
    parser.add_argument("--minutes", type=float, help="no trial begins later; without it, no limit")
    parser.add_argument("--when-older-than", type=_duration, metavar="AGE", help="of labels, such as 7d")
    parser.add_argument("--when-drifted", action="store_true", help="payments of --state have changed")
    parser.add_argument("--new-features", action="store_true", help="learn categories and features anew")
    parser.add_argument(
        "--out", type=Path, default=CHALLENGERS, help=f"where challengers are put ({CHALLENGERS})"
    )
    parser.add_argument("--no-tracking", action="store_true", help="do not tell MLflow")


def _duration(text: str) -> int:
    try:
        return Duration.parse(text).ms
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _trials(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number of trials, got {text!r}")
    return int(text)
