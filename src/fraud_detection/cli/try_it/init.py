"""`fraud init`: look at a file and propose the project file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target

if TYPE_CHECKING:
    from fraud_detection.onboarding.column_assignment import Question


@command("init")
@click.option("--data", type=options.PATH, required=True, help="CSV, Parquet or JSON Lines.")
@click.option("--out", type=options.PATH, default=options.PROJECT_FILE, help="Where to write it.")
@click.option("--force", is_flag=True, help="Overwrite an existing project file.")
@click.option("--yes", is_flag=True, help="Never prompt: take the best proposal, or fail.")
@click.option("--id", "id_column", help="Column of the transaction's id.")
@click.option("--time", "time_column", help="Column of the event time.")
@click.option("--time-format", help="auto, number, or a strptime pattern.")
@click.option("--time-unit", type=click.Choice(["s", "m", "h", "d"]), help="Unit of a time in numbers.")
@click.option("--amount", help="Column of the amount.")
@click.option("--label", help="Column that says fraud or not.")
@click.option("--label-known-at", help="Column of the time the label became known.")
@click.option("--label-delay", help="How long until labels are known, such as 7d.")
@click.option("--place", help="Columns LATITUDE,LONGITUDE.")
@click.option("--test-from", help="First day of the test slice, YYYY-MM-DD.")
@click.option(
    "--entity",
    multiple=True,
    help="NAME=COLUMN of an id that payments share, repeatable; the first one orders the stream.",
)
@click.option("--number", multiple=True, help="Column of a numeric attribute, repeatable.")
@click.option("--category", multiple=True, help="Column of a categorical attribute, repeatable.")
@click.option("--label-positive", multiple=True, help="Value of the label that means fraud, repeatable.")
@click.option("--label-negative", multiple=True, help="Value that means legitimate, repeatable.")
@click.option("--ignore", multiple=True, help="Column to leave out, repeatable.")
@click.option("--no-entities", is_flag=True, help="The payments share no ids.")
@click.option("--no-label", is_flag=True, help="No column says fraud or not.")
def init(
    output: Output,
    *,
    data: Path,
    out: Path,
    force: bool,
    yes: bool,
    id_column: str | None,
    time_column: str | None,
    time_format: str | None,
    time_unit: Literal["s", "m", "h", "d"] | None,
    amount: str | None,
    label: str | None,
    label_known_at: str | None,
    label_delay: str | None,
    place: str | None,
    test_from: str | None,
    entity: tuple[str, ...],
    number: tuple[str, ...],
    category: tuple[str, ...],
    label_positive: tuple[str, ...],
    label_negative: tuple[str, ...],
    ignore: tuple[str, ...],
    no_entities: bool,
    no_label: bool,
) -> None:
    """Propose a project file (params.yaml) for a file of payments."""
    from fraud_detection.adapters.files.tables import open_table
    from fraud_detection.onboarding.column_assignment import Overrides
    from fraud_detection.onboarding.propose import propose

    _check_out(out, replace=force)
    overrides = Overrides(
        id=id_column,
        time=time_column,
        time_format=time_format,
        time_unit=time_unit,
        amount=amount,
        entities=_pairs(entity),
        no_entities=no_entities,
        numbers=number,
        categories=category,
        label=label,
        no_label=no_label,
        label_positive=label_positive,
        label_negative=label_negative,
        label_known_at=label_known_at,
        label_delay=label_delay,
        ignore=ignore,
        place=_place(place),
        test_from=test_from,
    )
    asks = sys.stdin.isatty() and not (yes or output.plain)
    proposal = propose(open_table(data), overrides, _ask if asks else None)
    for finding in proposal.findings:
        output.screen.print(str(finding))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(proposal.yaml_text, encoding="utf-8")
    output.screen.print(f"\nwrote {out}: read it, change what is wrong, then `fraud train --config {out}`")
    output.write(
        {
            "columns_ignored": len(proposal.ignored),
            "findings": [str(finding) for finding in proposal.findings],
        }
    )


def _check_out(out: Path, *, replace: bool) -> None:
    """Refuse a path where no project file can be written, before any long work."""
    check_target(out, f"--out {out}")
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file in it, such as {out / 'params.yaml'}")
    if out.exists() and not replace:
        raise ConfigError(f"{out} is there already; replace it with --force, or name another with --out")


def _ask(question: Question) -> str:
    options = f" [{', '.join(question.options)}]" if question.options else ""
    default = f" (enter for {question.default})" if question.default is not None else ""
    while True:
        try:
            answer = input(f"{question.text}{options}{default}: ").strip()
        except EOFError:
            raise ConfigError(f"{question.text}: no answer; give {question.flag}") from None
        if (
            not question.options
            or answer in question.options
            or (not answer and question.default is not None)
        ):
            return answer
        print_line(f"{answer!r} is none of {', '.join(question.options)}")


def _pairs(entities: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in entities]
    for name, separator, column in pairs:
        if not (name and separator and column):
            raise ConfigError(f"--entity {name}: expected NAME=COLUMN, such as card=card_id")
        if [next_pair for next_pair, _, _ in pairs].count(name) > 1:
            raise ConfigError(f"--entity {name}: is given twice; entity names are unique")
    return {name: column for name, _, column in pairs}


def _place(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    latitude, separator, longitude = text.partition(",")
    if not separator:
        raise ConfigError(f"--place {text}: expected two columns, LATITUDE,LONGITUDE")
    return latitude, longitude
