"""`fraud init`: look at a file and propose the project file."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from fraud_detection.adapters.files.tables import open_table
from fraud_detection.cli.printing import print_line, terminal, write_figures
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target
from fraud_detection.onboarding.column_assignment import Ask, Overrides, Question
from fraud_detection.onboarding.propose import propose

UNITS = ("s", "m", "h", "d")


def init(arguments: Namespace) -> None:
    """Propose a project file, say what was guessed and why, and write it."""
    out, screen = arguments.out, terminal(arguments)
    _check_out(out, replace=arguments.force)
    overrides = _overrides(arguments)
    proposal = propose(open_table(arguments.data), overrides, _asker(arguments))
    for remark in proposal.remarks:
        screen.say(str(remark))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(proposal.yaml_text, encoding="utf-8")
    screen.say(f"\nwrote {out}: read it, change what is wrong, then `fraud train --config {out}`")
    write_figures(
        arguments, {"columns_ignored": len(proposal.ignored), "remarks": [str(r) for r in proposal.remarks]}
    )


def _check_out(out: Path, *, replace: bool) -> None:
    """Refuse a place where no project file can be written, before any long work."""
    check_target(out, f"--out {out}")
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file in it, such as {out / 'params.yaml'}")
    if out.exists() and not replace:
        raise ConfigError(f"{out} is there already; replace it with --force, or name another with --out")


def _asker(arguments: Namespace) -> Ask | None:
    return _ask if sys.stdin.isatty() and not (arguments.yes or arguments.headless) else None


def _ask(question: Question) -> str:
    options = f" [{', '.join(question.options)}]" if question.options else ""
    default = f" (enter for {question.default})" if question.default is not None else ""
    while True:
        try:
            answer = input(f"{question.words}{options}{default}: ").strip()
        except EOFError:
            raise ConfigError(f"{question.words}: nobody answered; say it with {question.flag}") from None
        if (
            not question.options
            or answer in question.options
            or (not answer and question.default is not None)
        ):
            return answer
        print_line(f"{answer!r} is none of {', '.join(question.options)}")


def _overrides(arguments: Namespace) -> Overrides:
    unit = arguments.time_unit
    if unit is not None and unit not in UNITS:
        raise ConfigError(f"--time-unit {unit}: expected one of {', '.join(UNITS)}")
    return Overrides(
        id=arguments.id,
        time=arguments.time,
        time_format=arguments.time_format,
        time_unit=unit,
        amount=arguments.amount,
        entities=_pairs(arguments.entity),
        no_entities=arguments.no_entities,
        numbers=tuple(arguments.number),
        categories=tuple(arguments.category),
        label=arguments.label,
        no_label=arguments.no_label,
        label_positive=tuple(arguments.label_positive),
        label_negative=tuple(arguments.label_negative),
        label_known_at=arguments.label_known_at,
        label_delay=arguments.label_delay,
        ignore=tuple(arguments.ignore),
        place=_place(arguments.place),
        test_from=arguments.test_from,
    )


def _pairs(entities: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in entities]
    for name, mark, column in pairs:
        if not (name and mark and column):
            raise ConfigError(f"--entity {name}: expected NAME=COLUMN, such as card=card_id")
        if [other for other, _, _ in pairs].count(name) > 1:
            raise ConfigError(f"--entity {name}: is given twice; give each entity a name of its own")
    return {name: column for name, _, column in pairs}


def _place(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    latitude, mark, longitude = text.partition(",")
    if not mark:
        raise ConfigError(f"--place {text}: expected two columns, LATITUDE,LONGITUDE")
    return latitude, longitude
