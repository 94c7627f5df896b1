"""`fraud promote`: a challenger becomes the champion, if it passes the gate."""

from __future__ import annotations

from pathlib import Path

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.paths import check_states
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.cli.release.compare import lines
from fraud_detection.core.errors import ConfigError


@command("promote")
@options.compared
@click.option("--force", is_flag=True, help="Promote although it fails the gate; the release records it.")
@options.releasing
def promote(
    output: Output,
    *,
    config_id: str | None,
    state: tuple[Path, ...],
    as_of: int | None,
    force: bool,
    request: options.ReleaseRequest,
) -> None:
    """Promote a challenger if it passes the gate."""
    import msgspec

    from fraud_detection.challengers import promotion
    from fraud_detection.cli.release.announce import announce, author
    from fraud_detection.releases.registry import ReleaseRegistry

    screen, registry = output.screen, ReleaseRegistry(request.registry)
    challenger = promotion.chosen(registry, config_id)
    check_states(state)
    screen.progress("comparing", 0.0)
    comparison = promotion.compare_shadow(registry, state, challenger, as_of)
    screen.finish()
    for line in lines(comparison):
        print_line(line)
    released = promotion.promote(registry, comparison, author(request), force=force)
    if released is None:
        output.write(msgspec.to_builtins(comparison))
        raise ConfigError(
            "the challenger fails the gate, and nothing is changed; wait for more labels, or promote "
            "it with --force"
        )
    announce(output, request, released)
