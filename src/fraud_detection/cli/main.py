"""The command `fraud`: what it can do, in groups of what a person wants.

A command is imported when it is called.  What it does is in the folder of its group.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from fraud_detection.cli.command import WIDE, Deferred, run

COMMANDS = {
    "Try it": {
        "init": ("try_it.init:init", "Propose a project file (params.yaml) for a file of payments."),
        "demo": ("try_it.demo:demo", "Simulate payments, train a model, and decide a stream."),
        "generate": (
            "try_it.generate:generate",
            "Simulate payments: a history to train on, or a stream.",
        ),
    },
    "Train": {
        "features": ("train.training:features", "Replay history into a table of features."),
        "train": ("train.training:train", "Train a model and pack it into a bundle."),
        "evaluate": ("train.evaluate:evaluate", "Evaluate a bundle on the test slice."),
        "prequential": (
            "train.evaluate:prequential",
            "Train anew for each start date and score the days that follow.",
        ),
        "emerging-fraud": (
            "train.emerging_fraud:emerging_fraud",
            "Show week by week how soon a new kind of fraud is found, in a simulation.",
        ),
    },
    "Serve": {
        "score": ("serve.score:score", "Decide a file once: a line of JSON for each row."),
        "run": ("serve.run:run", "Decide a stream, with durable state in one SQLite file."),
        "serve": ("serve.serve:serve", "Decide payments over HTTP while the customer waits."),
        "state": ("serve.state:state", "Create a state file."),
        "api-key": ("serve.api_key:api_key", "Make an API key for `fraud serve` and print it, once."),
        "label": ("serve.labels:label", "Import labels of historical payments."),
        "schema-report": (
            "serve.schema_report:schema_report",
            "Report schema drift: what differs, since when, in what share of events.",
        ),
    },
    "Release": {
        "release": ("release.release:release", "Release changes, canaries and shadows; show the releases."),
        "rollback": ("release.release:rollback", "Roll back to the previous release."),
        "backtest": (
            "release.backtest:backtest",
            "Backtest a change on history: frauds, customers, reviews and money.",
        ),
        "shadow": (
            "release.shadow:shadow",
            "Run the shadows: decide every live payment, without effect.",
        ),
        "compare": (
            "release.compare:compare",
            "Compare a shadow with the champion on live traffic, in money.",
        ),
        "promote": ("release.promote:promote", "Promote a challenger if it passes the gate."),
        "retrain": (
            "release.retrain:retrain",
            "Train a challenger on matured labels, and put it into shadow mode.",
        ),
    },
    "Look back": {
        "explain": (
            "look_back.explain:explain",
            "Explain a past decision, and redecide it bit-identically.",
        ),
        "audit": ("look_back.audit:audit", "Verify that the log of decisions is intact."),
        "parity": (
            "look_back.parity:parity",
            "Compare served and replayed features: they must be bit-identical.",
        ),
    },
    "AWS": {
        "deploy": ("aws.deploy:deploy", "Deploy, update and remove the system on AWS."),
        "status": ("aws.status:status", "Print the status of the system on AWS."),
        "logs": ("aws.status:logs", "Print the decisions of the system on AWS."),
    },
}
"""Group -> command -> where it is, and the first line of its help: that of its docstring, says a test."""


class Fraud(click.Group):
    """Lists its commands by group."""

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group with the first lines of its commands."""
        for title, group in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, first_line) for name, (_, first_line) in group.items()])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 when all went as asked, 2 when it was refused."""
    return run(fraud, "fraud", arguments)


def print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's call
    """Print the version, and whether the hot modules are compiled; worked out only when it is asked for."""
    if wanted and not ctx.resilient_parsing:
        from fraud_detection.cli.extras import installed

        sys.stdout.write(f"{installed()}\n")
        ctx.exit()


@click.group(
    cls=Fraud,
    invoke_without_command=True,
    context_settings=WIDE,
    commands={
        name: Deferred(name, where, first_line)
        for group in COMMANDS.values()
        for name, (where, first_line) in group.items()
    },
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the version, and whether it is compiled.",
)
@click.pass_context
def fraud(ctx: click.Context) -> None:
    """Detect payment fraud in real time."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
