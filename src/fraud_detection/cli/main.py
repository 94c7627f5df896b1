"""The command `fraud`: each command parses its arguments, calls one function, and prints.

What a command does is in the folder of its group, where the arguments of some stand too.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from fraud_detection.adapters.host.server_log import configure_log
from fraud_detection.cli.arguments import (
    BUNDLE,
    REFUSED,
    STATE,
    Commands,
    OneSentenceParser,
    command,
    config,
    decided,
    log_format,
    past,
    world,
)
from fraud_detection.cli.extras import Version, missing
from fraud_detection.cli.look_back import arguments as auditing
from fraud_detection.cli.paths import check_paths
from fraud_detection.cli.release import arguments as releasing
from fraud_detection.cli.release import arguments_backtest as offline
from fraud_detection.cli.release import arguments_retrain as learning
from fraud_detection.cli.serve import arguments as serving
from fraud_detection.core.errors import FraudDetectionError

LOG = logging.getLogger("fraud_detection.cli")
FEATURES = Path("build/features.parquet")
EVALUATION = Path("build/evaluation")
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 when all went as asked, 2 when it was refused, with one sentence.

    What checks something returns 1 when it is not as it should be.
    """
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    if chosen.run is None:
        parser.print_help()
        return 0
    return run_command(chosen, f"fraud {chosen.command}", _run_named)


def _run_named(chosen: argparse.Namespace) -> int | None:
    """Call the function that a command names, imported only now: few commands need a model's libraries."""
    module, function = chosen.run.split(":")
    code: int | None = getattr(import_module(f"fraud_detection.cli.{module}"), function)(chosen)
    return code


def run_command(
    chosen: argparse.Namespace, program: str, work: Callable[[argparse.Namespace], int | None]
) -> int:
    """Do the work of a command, and turn what it refuses into one sentence and an exit code."""
    # XGBoost's threads would spin while they wait, and hold up whatever else runs on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    log_format = getattr(chosen, "log_format", None)
    if log_format is not None:
        configure_log(log_format)
    try:
        check_paths(chosen)
        code = work(chosen)
    except BrokenPipeError:
        return _reader_went_away()
    except (FraudDetectionError, OSError, ModuleNotFoundError) as error:
        refusal = missing(error) if isinstance(error, ModuleNotFoundError) else error
        if refusal is None:
            raise
        if log_format == "json":
            LOG.critical("%s", refusal, extra={"event": "refused"})
        else:
            print(f"{program}: {refusal}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code or 0


def _reader_went_away() -> int:
    """End in peace; Python would complain again when it flushes standard output at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = OneSentenceParser(prog="fraud", description="Real-time fraud detection.")
    parser.add_argument(
        "--version", action=Version, nargs=0, help="print the version, and whether it is compiled"
    )
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for add in (
        _demo,
        _init,
        _generate,
        _features,
        _train,
        _evaluate,
        _prequential,
        learning.retrain,
        offline.backtest,
        _novelty,
        _score,
        serving.state,
        _run,
        serving.serve,
        serving.api_key,
        serving.label,
        releasing.release,
        releasing.rollback,
        releasing.shadow,
        releasing.compare,
        releasing.promote,
        auditing.explain,
        auditing.audit,
        _report,
        _parity,
        serving.deploy,
        serving.logs,
        serving.status,
    ):
        add(commands)
    return parser


def _demo(commands: Commands[OneSentenceParser]) -> None:
    parser = command(
        commands, "demo", "try_it.demo:demo", "make a world, train, and decide its payments live"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to stream (60)")
    parser.add_argument("--rate", type=float, default=1000.0, help="payments a second (1000)")
    world(parser)
    parser.add_argument("--directory", type=Path, default=Path("build/demo"), help="where everything is put")
    parser.add_argument("--drift", action="append", default=[], help="see `fraud generate live --help`")


def _init(commands: Commands[OneSentenceParser]) -> None:
    parser = command(
        commands, "init", "try_it.init:init", "look at a file of payments and propose a params.yaml"
    )
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
    history = command(kinds, "history", "try_it.generate:history", "write a labelled file of past payments")
    history.add_argument("--out", type=Path, default=Path("data/history.parquet"), help="Parquet or CSV")
    history.add_argument("--truth", type=Path, help="where to write the truth behind the labels")
    live = command(
        kinds, "live", "try_it.generate:live", "send payments and labels in real time, as JSON Lines"
    )
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
        world(parser)


def _features(commands: Commands[OneSentenceParser]) -> None:
    parser = command(
        commands, "features", "train.training:features", "replay history into a table of features"
    )
    config(parser)
    past(parser)
    decided(parser)
    parser.add_argument("--out", type=Path, default=FEATURES, help=f"where to write it ({FEATURES})")


def _train(commands: Commands[OneSentenceParser]) -> None:
    parser = command(commands, "train", "train.training:train", "train a model and pack it into a bundle")
    config(parser)
    past(parser)
    decided(parser)
    parser.add_argument("--features", type=Path, help="a ready table of features, instead of --data")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"where to write the bundle ({BUNDLE})")
    parser.add_argument("--refit", action="store_true", help="judge it, then learn the latest payments too")
    parser.add_argument("--no-tracking", action="store_true", help="do not tell MLflow")


def _evaluate(commands: Commands[OneSentenceParser]) -> None:
    parser = command(commands, "evaluate", "train.training:evaluate", "judge a bundle on the test slice")
    config(parser)
    parser.add_argument("--features", type=Path, default=FEATURES, help=f"table of features ({FEATURES})")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle ({BUNDLE})")
    parser.add_argument("--out", type=Path, default=EVALUATION, help=f"figures and plots ({EVALUATION})")
    parser.add_argument("--no-tracking", action="store_true", help="do not tell MLflow")


def _prequential(commands: Commands[OneSentenceParser]) -> None:
    words = "train anew for each start and score the days that follow"
    parser = command(commands, "prequential", "train.training:prequential_scores", words)
    config(parser)
    parser.add_argument("--data", type=Path, help="file of past payments (`history` in the project file)")
    parser.add_argument("--starts", required=True, help="first train days, YYYY-MM-DD,YYYY-MM-DD,...")
    for flag, days in (("train", 7), ("delay", 7), ("test", 7), ("history", 56)):
        parser.add_argument(f"--{flag}-days", type=int, default=days, help=f"({days})")
    parser.add_argument("--seeds", type=int, default=2, help="models a fold that are averaged (2)")
    parser.add_argument(
        "--out", type=Path, default=Path("scores.parquet"), help="fold, id and score of each payment"
    )


def _novelty(commands: Commands[OneSentenceParser]) -> None:
    words = "show how soon a new kind of fraud is found, week by week, in a simulated world"
    parser = command(commands, "novelty", "train.novelty:novelty", words)
    parser.add_argument("--kind", default="card_testing", help="what begins late (card_testing)")
    parser.add_argument("--from-day", type=int, default=98, help="the day on which it begins (98)")
    parser.add_argument(
        "--weight", type=float, default=0.2, help="how much of it, see docs/simulator.md (0.2)"
    )
    parser.add_argument("--drift", action="append", default=[], help="a drift of behaviour, repeatable")
    parser.add_argument("--review-share", type=float, default=0.01, help="of payments (0.01)")
    parser.add_argument("--history-days", type=int, default=56, help="that each model learns from (56)")
    parser.add_argument(
        "--directory", type=Path, default=Path("build/novelty"), help="where its world is put"
    )
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw it into a PNG file")
    world(parser)
    parser.set_defaults(days=182)


def _score(commands: Commands[OneSentenceParser]) -> None:
    parser = command(
        commands, "score", "serve.serving:score", "decide a file once: a line of JSON for each row"
    )
    parser.add_argument("file", help="JSON Lines, CSV or Parquet; - for JSON Lines on standard input")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help=f"the bundle ({BUNDLE})")
    config(parser, default=None)
    parser.add_argument("--history", type=Path, help="past payments to remember first")
    parser.add_argument("--out", default="-", help="where to write decisions (standard output)")
    log_format(parser)


def _run(commands: Commands[OneSentenceParser]) -> None:
    parser = command(
        commands, "run", "serve.serving:run", "decide a stream, with durable state in one SQLite file"
    )
    parser.add_argument(
        "--source", required=True, help="JSON Lines, CSV or Parquet; - for JSON Lines on standard input"
    )
    serving.answered_by(parser)
    parser.add_argument("--state", type=Path, default=STATE, help=f"the state file ({STATE})")
    config(parser, default=None)
    parser.add_argument("--out", help="also write decisions there, as JSON Lines; - for standard output")
    log_format(parser)
    parser.add_argument(
        "--synchronous", choices=("normal", "full"), default="normal", help="full survives power loss"
    )
    serving.accepts_loss(parser)


def _report(commands: Commands[OneSentenceParser]) -> None:
    words = "show how events differ from the declared schema, since when, in what share"
    parser = command(commands, "schema-report", "serve.serving:schema_report", words)
    parser.add_argument("--state", type=Path, default=STATE, help=f"of `fraud run` ({STATE})")
    parser.add_argument("--source", type=Path, help="a file to look through, instead of --state")
    parser.add_argument("--bundle", type=Path, help="for its schema and known categories, with --source")
    config(parser)


def _parity(commands: Commands[OneSentenceParser]) -> None:
    words = "serve a stream, replay its log, and compare every feature value to the last bit"
    parser = command(commands, "parity", "look_back.parity:parity", words)
    parser.add_argument("--events", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--seed", type=int, default=7, help="of the world (7)")
