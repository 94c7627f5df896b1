"""The arguments of what serves: over HTTP, and on AWS."""

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
)
from fraud_detection.core.decoding import Duration

SETTINGS = Path("deploy.yaml")
MAX_WORKERS = 64
_STEPS = (
    ("plan", "plan", "print what apply would change, and why"),
    ("apply", "apply", "make AWS what the settings say, or leave it as it was"),
    ("warm-up", "warm", "fill the profiles from past payments, before the stream begins"),
    ("redrive", "redrive", "put batches that were given up, or events set aside, into the stream again"),
    ("status", "status", "print how the running system does"),
    ("destroy", "destroy", "remove the environment with all its data"),
)


def serve(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud serve`."""
    parser = command(
        commands, "serve", "serve.api:serve", "decide payments over HTTP while the customer waits"
    )
    answered_by(parser)
    parser.add_argument("--state", type=Path, default=STATE, help=f"the state file ({STATE})")
    config(parser, default=None)
    parser.add_argument("--source", help="events to decide beside the requests: a file, or - for a pipe")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="(8000)")
    parser.add_argument(
        "--workers", type=_workers, default=1, metavar="N", help="processes that share the work (1)"
    )
    parser.add_argument("--keys", type=Path, metavar="FILE", help="who may ask, see `fraud api-key`")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="for TLS, in PEM")
    parser.add_argument("--private-key", type=Path, metavar="FILE", help="of the certificate, in PEM")
    parser.add_argument(
        "--most-waiting", type=int, default=2000, help="events that may wait; more are refused at once (2000)"
    )
    log_format(parser)
    parser.add_argument(
        "--most-connections",
        type=_at_least_one,
        default=1000,
        metavar="N",
        help="that may be open, of each worker; one more is answered 503 and closed (1000)",
    )
    parser.add_argument(
        "--synchronous", choices=("normal", "full"), default="normal", help="full survives power loss"
    )
    accepts_loss(parser)


def accepts_loss(parser: argparse.ArgumentParser) -> None:
    """Let a command go on with a state file that has lost answers."""
    parser.add_argument(
        "--accept-loss", action="store_true", help="go on with a state file though answers are gone from it"
    )


def state(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud state create`."""
    outer = commands.add_parser("state", help="make a state file")
    kinds = outer.add_subparsers(dest="kind", required=True, metavar="create")
    words = "make a new state file for `fraud run` or `fraud serve`, and end"
    parser = command(kinds, "create", "serve.state:create", words)
    parser.add_argument("path", type=Path, nargs="?", default=STATE, help=f"where to make it ({STATE})")
    parser.add_argument("--history", type=Path, help="past payments that it remembers")
    answered_by(parser)
    config(parser, default=None)
    parser.add_argument(
        "--workers", type=_workers, default=1, metavar="N", help="make one for each of so many workers (1)"
    )


def answered_by(parser: argparse.ArgumentParser) -> None:
    """Let a command take what answers: a bundle, or what is live."""
    parser.add_argument("--bundle", type=Path, help=f"the bundle ({BUNDLE})")
    parser.add_argument(
        "--live", type=Path, metavar="DIR", help="answer by what is released there, and follow it"
    )


def api_key(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud api-key`."""
    parser = command(
        commands, "api-key", "serve.api:api_key", "make a key for the HTTP service; it is printed once"
    )
    parser.add_argument("name", help="whose key it is")
    parser.add_argument(
        "--roles", default="decide,read", help="of decide, read, label, operate (decide,read)"
    )
    parser.add_argument("--per-second", type=float, metavar="N", help="events at most")
    parser.add_argument("--keys", type=Path, default=Path("keys.yaml"), help="where it is kept (keys.yaml)")


def label(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud label import`."""
    outer = commands.add_parser("label", help="tell what became of past payments")
    kinds = outer.add_subparsers(dest="kind", required=True, metavar="import")
    parser = command(kinds, "import", "serve.labels:import_labels", "learn the labels of a file, each once")
    parser.add_argument("file", type=Path, help="CSV, Parquet or JSON Lines, a label a row")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle ({BUNDLE})")
    parser.add_argument("--state", type=Path, default=STATE, help=f"the state file ({STATE})")
    parser.add_argument("--to", metavar="URL", help="a running `fraud serve`, instead of a state file")
    parser.add_argument("--key", metavar="KEY", help="for --to; or FRAUD_KEY in the environment")
    accepts_loss(parser)


def deploy(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud deploy` and its steps."""
    outer = commands.add_parser("deploy", help="make, change and remove the system on AWS")
    steps = outer.add_subparsers(
        dest="step", required=True, metavar="plan|apply|warm-up|redrive|status|destroy"
    )
    for step, function, words in _STEPS:
        parser = command(steps, step, f"aws.deploy:{function}", words)
        _settings(parser)
        if step in ("plan", "apply", "warm-up"):
            parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle ({BUNDLE})")
        if step in ("plan", "apply"):
            parser.add_argument("--image", help="of the container, in ECR (`image` in the settings)")
        if step == "warm-up":
            parser.add_argument("--history", type=Path, required=True, help="past payments to remember")
        if step == "redrive":
            parser.add_argument(
                "--quarantine",
                nargs="?",
                const="",
                metavar="PREFIX",
                help="put what was set aside again instead: all of it, or what lies below quarantine/PREFIX",
            )
        if step == "destroy":
            parser.add_argument("--yes", action="store_true", help="do not ask")


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", type=Path, default=SETTINGS, help=f"the environment ({SETTINGS})")


def _duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MAX_WORKERS}, got {text!r}")
    return int(text)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def logs(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud logs`."""
    parser = command(commands, "logs", "aws.deploy:logs", "print the decisions of the system on AWS")
    _settings(parser)
    parser.add_argument("--follow", action="store_true", help="go on as they come, until interrupted")
    parser.add_argument(
        "--since", type=_duration, default="10m", help="how far back, such as 10m, 1h, 2d (10m)"
    )
    only = ("approve", "review", "decline", "quarantined", "retry")
    parser.add_argument("--only", choices=only, help="lines of one kind")
    parser.add_argument("--raw", action="store_true", help="whole lines of JSON, as they were logged")


def status(commands: Commands[OneSentenceParser]) -> None:
    """Take `fraud status`."""
    _settings(command(commands, "status", "aws.deploy:status", "print how the system on AWS does"))
