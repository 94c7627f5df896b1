"""`fraud compare`: a shadow beside the champion on live traffic, and what the gate would say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.paths import check_states
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.cli.release.backtest import lines_of

if TYPE_CHECKING:
    from fraud_detection.challengers.promotion import ShadowComparison


@command("compare")
@options.compared
@options.own_registry
def compare(
    output: Output, *, config_id: str | None, state: tuple[Path, ...], as_of: int | None, registry: Path
) -> None:
    """Compare a shadow with the champion on live traffic, in money."""
    import msgspec

    from fraud_detection.challengers.promotion import chosen, compare_shadow
    from fraud_detection.releases.registry import ReleaseRegistry

    released = ReleaseRegistry(registry)
    challenger = chosen(released, config_id)
    check_states(state)
    output.screen.progress("comparing", 0.0)
    comparison = compare_shadow(released, state, challenger, as_of)
    output.screen.finish()
    for line in lines(comparison):
        print_line(line)
    output.write(msgspec.to_builtins(comparison))


def lines(comparison: ShadowComparison) -> Iterator[str]:
    """Yield what was found as a screen shows it."""
    from fraud_detection.challengers.live_comparison import OTHERS

    yield f"shadow {comparison.config_id} (bundle {comparison.bundle}) beside the champion"
    yield f"left out: {comparison.left_out:,} payments that {OTHERS} has answered"
    yield from lines_of(comparison.comparison)
    champion, challenger = comparison.gate_inputs.p99_us
    yield f"p99 of scoring and deciding a payment: champion {champion:,.0f} us, shadow {challenger:,.0f} us"
    for check in comparison.gate_result.checks:
        yield f"  {'passed' if check.passed else 'FAILED'}  {check.name}: {check.message}"
    yield (
        "the challenger passes the gate" if comparison.gate_result.passed else "the challenger fails the gate"
    )
