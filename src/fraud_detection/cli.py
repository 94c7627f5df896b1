"""The command `fraud`: each command parses its arguments, calls one function, and prints.

What a command does is in `commands`; this module only knows their arguments.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from fraud_detection.commands.paths import check_paths
from fraud_detection.errors import FraudDetectionError
from fraud_detection.strict import Duration

BUNDLE = Path("build/bundle")
FEATURES = Path("build/features.parquet")
EVALUATION = Path("build/evaluation")
STATE = Path("build/state.db")
SETTINGS = Path("deploy.yaml")
LOCAL_AWS = Path(".venv-aws")
REFUSED = 2
INTERRUPTED = 130

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse names its type nowhere else


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 when all went as asked, 2 when it was refused, with one sentence."""
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    if chosen.run is None:
        parser.print_help()
        return 0
    module, function = chosen.run.split(":")
    # XGBoost's threads would spin while they wait, and hold up whatever else runs on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        check_paths(chosen)
        # Imported only now: a command that needs no model should not wait for its libraries.
        getattr(import_module(f"fraud_detection.commands.{module}"), function)(chosen)
    except FraudDetectionError as error:
        print(f"fraud {chosen.command}: {error}", file=sys.stderr)
        return REFUSED
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            return _reader_went_away()
        print(f"fraud {chosen.command}: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _reader_went_away() -> int:
    """End in peace; Python would complain again when it flushes standard output at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class OneSentenceParser(argparse.ArgumentParser):
    """Refuses in one sentence, where argparse would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where to read on."""
        self.exit(REFUSED, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = OneSentenceParser(prog="fraud", description="Real-time fraud detection.")
    parser.add_argument("--version", action="version", version=version("fraud-detection-system"))
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for add in (
        _demo,
        _aws_demo,
        _init,
        _generate,
        _features,
        _train,
        _evaluate,
        _prequential,
        _score,
        _run,
        _serve,
        _api_key,
        _report,
        _parity,
        _deploy,
        _logs,
        _status,
    ):
        add(commands)
    return parser


def _command(
    commands: Commands[OneSentenceParser], name: str, run: str, words: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--headless", action="store_true", help="print plain lines, as without a terminal")
    return parser


def _config(parser: argparse.ArgumentParser, *, default: Path | None = Path("params.yaml")) -> None:
    parser.add_argument(
        "--config", type=Path, default=default, metavar="FILE", help="the project file (params.yaml)"
    )


def _demo(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(commands, "demo", "demo:demo", "make a world, train, and decide its payments live")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to stream (60)")
    parser.add_argument("--rate", type=float, default=1000.0, help="payments a second (1000)")
    _world(parser)
    parser.add_argument("--directory", type=Path, default=Path("build/demo"), help="where everything is put")
    parser.add_argument("--drift", action="append", default=[], help="see `fraud generate live --help`")


def _aws_demo(commands: Commands[OneSentenceParser]) -> None:
    words = "the same on AWS's own protocols: deployed to local services, streamed, removed"
    parser = _command(commands, "aws-demo", "aws_demo:aws_demo", words)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to stream (60)")
    parser.add_argument("--rate", type=float, default=200.0, help="payments a second (200)")
    _world(parser)
    parser.add_argument(
        "--directory", type=Path, default=Path("build/aws-demo"), help="where everything is put"
    )
    parser.add_argument("--tools", type=Path, default=LOCAL_AWS, help=f"the local services ({LOCAL_AWS})")
    parser.add_argument("--drift", action="append", default=[], help="see `fraud generate live --help`")


def _init(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(commands, "init", "data:init", "look at a file of payments and propose a params.yaml")
    parser.add_argument("--data", type=Path, required=True, help="CSV, Parquet or JSON Lines")
    parser.add_argument(
        "--out", type=Path, default=Path("params.yaml"), help="where to write it (params.yaml)"
    )
    parser.add_argument("--force", action="store_true", help="replace a project file that is there")
    parser.add_argument("--yes", action="store_true", help="ask nothing: take the best guess, or refuse")
    for flag, words in _INIT_ONCE.items():
        parser.add_argument(f"--{flag}", help=words)
    for flag, words in _INIT_OFTEN.items():
        parser.add_argument(f"--{flag}", action="append", default=[], help=f"{words}, repeatable")
    parser.add_argument("--no-entities", action="store_true", help="the payments share no ids")
    parser.add_argument("--no-label", action="store_true", help="no column says fraud or not")


_INIT_ONCE = {
    "id": "column of the transaction's id",
    "time": "column of the event time",
    "time-format": "auto, number, or a strptime pattern",
    "time-unit": "what a time written as a number counts: s, m, h or d",
    "amount": "column of the amount",
    "label": "column that says fraud or not",
    "label-known-at": "column of the time the label became known",
    "label-delay": "how long until labels are known, such as 7d",
    "place": "columns LATITUDE,LONGITUDE",
    "test-from": "first day of the test slice, YYYY-MM-DD",
}
_INIT_OFTEN = {
    "entity": "NAME=COLUMN of an id that payments share; the first one orders the stream",
    "number": "column of a numeric attribute",
    "category": "column of a categorical attribute",
    "label-positive": "value of the label that means fraud",
    "label-negative": "value of the label that means legitimate",
    "ignore": "column to leave out",
}


def _generate(commands: Commands[OneSentenceParser]) -> None:
    outer = commands.add_parser("generate", help="make payments of a simulated world")
    kinds = outer.add_subparsers(dest="kind", required=True, metavar="history|live")
    history = _command(kinds, "history", "generate:history", "write a labelled file of past payments")
    history.add_argument("--out", type=Path, default=Path("data/history.parquet"), help="Parquet or CSV")
    history.add_argument("--truth", type=Path, help="where to write the truth behind the labels")
    live = _command(kinds, "live", "generate:live", "send payments and labels in real time, as JSON Lines")
    live.add_argument("--rate", type=float, default=1000.0, help="payments a second (1000)")
    live.add_argument("--to", default="-", help="a file, - for standard output, or kinesis://STREAM")
    live.add_argument("--seconds", type=float, help="how long; without it, until interrupted")
    live.add_argument("--events", type=int, help="how many payments")
    live.add_argument(
        "--drift", action="append", default=[], help="a drift of fields or behaviour, see docs/simulator.md"
    )
    for share in ("late", "repeat", "poison"):
        live.add_argument(f"--{share}-share", type=float, help=f"share of {share} events")
    for parser in (history, live):
        _world(parser)


def _world(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=7, help="of the world (7)")
    parser.add_argument("--cards", type=int, help="how many cards there are (5,000)")
    parser.add_argument("--days", type=int, help="how many days the history has (90)")


def _features(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(commands, "features", "training:features", "replay history into a table of features")
    _config(parser)
    parser.add_argument("--data", type=Path, help="file of past payments (`history` in the project file)")
    parser.add_argument("--out", type=Path, default=FEATURES, help=f"where to write it ({FEATURES})")


def _train(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(commands, "train", "training:train", "train a model and pack it into a bundle")
    _config(parser)
    parser.add_argument("--data", type=Path, help="file of past payments (`history` in the project file)")
    parser.add_argument("--features", type=Path, help="a ready table of features, instead of --data")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"where to write the bundle ({BUNDLE})")
    parser.add_argument("--no-tracking", action="store_true", help="do not tell MLflow")


def _evaluate(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(commands, "evaluate", "training:evaluate", "judge a bundle on the test slice")
    _config(parser)
    parser.add_argument("--features", type=Path, default=FEATURES, help=f"table of features ({FEATURES})")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle ({BUNDLE})")
    parser.add_argument("--out", type=Path, default=EVALUATION, help=f"figures and plots ({EVALUATION})")
    parser.add_argument("--no-tracking", action="store_true", help="do not tell MLflow")


def _prequential(commands: Commands[OneSentenceParser]) -> None:
    words = "train anew for each start and score the days that follow"
    parser = _command(commands, "prequential", "training:prequential_scores", words)
    _config(parser)
    parser.add_argument("--data", type=Path, help="file of past payments (`history` in the project file)")
    parser.add_argument("--starts", required=True, help="first train days, YYYY-MM-DD,YYYY-MM-DD,...")
    for flag, days in (("train", 7), ("delay", 7), ("test", 7), ("history", 56)):
        parser.add_argument(f"--{flag}-days", type=int, default=days, help=f"({days})")
    parser.add_argument(
        "--out", type=Path, default=Path("scores.parquet"), help="fold, id and score of each payment"
    )


def _score(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(commands, "score", "serving:score", "decide a file once: a line of JSON for each row")
    parser.add_argument("file", help="JSON Lines, CSV or Parquet; - for JSON Lines on standard input")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle ({BUNDLE})")
    _config(parser, default=None)
    parser.add_argument("--history", type=Path, help="past payments to remember first")
    parser.add_argument("--out", default="-", help="where to write decisions (standard output)")


def _run(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(
        commands, "run", "serving:run", "decide a stream, with durable state in one SQLite file"
    )
    parser.add_argument(
        "--source", required=True, help="JSON Lines, CSV or Parquet; - for JSON Lines on standard input"
    )
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle ({BUNDLE})")
    parser.add_argument("--state", type=Path, default=STATE, help=f"the state file ({STATE})")
    _config(parser, default=None)
    parser.add_argument("--history", type=Path, help="past payments to remember first, into a new state file")
    parser.add_argument("--out", help="also write decisions there, as JSON Lines; - for standard output")
    parser.add_argument(
        "--synchronous", choices=("normal", "full"), default="normal", help="full survives power loss"
    )


def _serve(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(commands, "serve", "api:serve", "decide payments over HTTP while the customer waits")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle ({BUNDLE})")
    parser.add_argument("--state", type=Path, default=STATE, help=f"the state file ({STATE})")
    _config(parser, default=None)
    parser.add_argument("--history", type=Path, help="past payments to remember first, into a new state file")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="(8000)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="who may ask, see `fraud api-key`")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="for TLS, in PEM")
    parser.add_argument("--private-key", type=Path, metavar="FILE", help="of the certificate, in PEM")
    parser.add_argument(
        "--most-waiting", type=int, default=2000, help="events that may wait; more are refused at once (2000)"
    )
    parser.add_argument(
        "--synchronous", choices=("normal", "full"), default="normal", help="full survives power loss"
    )


def _api_key(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(commands, "api-key", "api:api_key", "make a key for the HTTP door; it is printed once")
    parser.add_argument("name", help="whose key it is")
    parser.add_argument(
        "--roles", default="decide,read", help="of decide, read, label, operate (decide,read)"
    )
    parser.add_argument("--per-second", type=float, metavar="N", help="events at most")
    parser.add_argument("--keys", type=Path, default=Path("keys.yaml"), help="where it is kept (keys.yaml)")


def _report(commands: Commands[OneSentenceParser]) -> None:
    words = "show how events differ from the declared schema, since when, in what share"
    parser = _command(commands, "schema-report", "serving:schema_report", words)
    parser.add_argument("--state", type=Path, default=STATE, help=f"of `fraud run` ({STATE})")
    parser.add_argument("--source", type=Path, help="a file to look through, instead of --state")
    parser.add_argument("--bundle", type=Path, help="for its schema and known categories, with --source")
    _config(parser)


def _parity(commands: Commands[OneSentenceParser]) -> None:
    words = "serve a stream, replay its log, and compare every feature value to the last bit"
    parser = _command(commands, "parity", "parity:parity", words)
    parser.add_argument("--events", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--seed", type=int, default=7, help="of the world (7)")


def _deploy(commands: Commands[OneSentenceParser]) -> None:
    outer = commands.add_parser("deploy", help="make, change and remove the system on AWS")
    steps = outer.add_subparsers(
        dest="step", required=True, metavar="plan|apply|warm-up|redrive|status|destroy"
    )
    for step, function, words in _STEPS:
        parser = _command(steps, step, f"deploy:{function}", words)
        _settings(parser)
        if step in ("plan", "apply", "warm-up"):
            parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle ({BUNDLE})")
        if step in ("plan", "apply"):
            parser.add_argument("--image", help="of the container, in ECR (`image` in the settings)")
        if step == "warm-up":
            parser.add_argument("--history", type=Path, required=True, help="past payments to remember")
        if step == "destroy":
            parser.add_argument("--yes", action="store_true", help="do not ask")


_STEPS = (
    ("plan", "plan", "print what apply would change, and why"),
    ("apply", "apply", "make AWS what the settings say, or leave it as it was"),
    ("warm-up", "warm", "fill the profiles from past payments, before the stream begins"),
    ("redrive", "redrive", "put batches that were given up into the stream again"),
    ("status", "status", "print how the running system does"),
    ("destroy", "destroy", "remove the environment with all its data"),
)


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--settings", type=Path, default=SETTINGS, help=f"the environment ({SETTINGS})")


def _duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _logs(commands: Commands[OneSentenceParser]) -> None:
    parser = _command(commands, "logs", "deploy:logs", "print the decisions of the system on AWS")
    _settings(parser)
    parser.add_argument("--follow", action="store_true", help="go on as they come, until interrupted")
    parser.add_argument(
        "--since", type=_duration, default="10m", help="how far back, such as 10m, 1h, 2d (10m)"
    )
    only = ("approve", "review", "decline", "quarantined", "retry")
    parser.add_argument("--only", choices=only, help="lines of one kind")
    parser.add_argument("--raw", action="store_true", help="whole lines of JSON, as they were logged")


def _status(commands: Commands[OneSentenceParser]) -> None:
    _settings(_command(commands, "status", "deploy:status", "print how the system on AWS does"))


if __name__ == "__main__":
    sys.exit(main())
