"""`fraud compare`: a shadow beside the champion on live traffic, and what the gate would say."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

import msgspec

from fraud_detection.challengers.live_comparison import OTHERS
from fraud_detection.challengers.promotion import Compared, chosen, compared
from fraud_detection.cli.arguments import STATE
from fraud_detection.cli.printing import print_line, terminal, write_figures
from fraud_detection.cli.release.backtest import lines_of
from fraud_detection.releases.registry import ReleaseRegistry


def compare(arguments: Namespace) -> None:
    """Print agreement, differences, money, latency, and each question of the gate."""
    screen, registry = terminal(arguments), ReleaseRegistry(arguments.live)
    screen.progress("comparing", 0.0)
    config_id = chosen(registry, arguments.setup)
    found = compared(registry, arguments.state or [STATE], config_id, arguments.as_of)
    screen.finish()
    for line in lines(found):
        print_line(line)
    write_figures(arguments, msgspec.to_builtins(found))


def lines(found: Compared) -> Iterator[str]:
    """Yield what was found as a screen shows it."""
    yield f"shadow {found.config_id} (bundle {found.bundle}) beside the champion"
    yield f"left out: {found.left_out:,} payments that {OTHERS} has answered"
    yield from lines_of(found.comparison)
    champion, challenger = found.facts.p99_us
    yield f"p99 of scoring and deciding a payment: champion {champion:,.0f} us, shadow {challenger:,.0f} us"
    for check in found.verdict.checks:
        yield f"  {'passed' if check.passed else 'FAILED'}  {check.name}: {check.message}"
    yield "the gate is open" if found.verdict.passed else "the gate is shut"
