"""The options that say what replays history, for all commands that make a table of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from fraud_detection.cli import options

if TYPE_CHECKING:
    from fraud_detection.training.tables.engines import EngineSettings


class EngineOptions(NamedTuple):
    """What replays history: which engine, on how many processes or which cluster; None where it decides."""

    engine: Literal["local", "spark"]
    jobs: int | None
    master: str | None

    def settings(self) -> EngineSettings:
        """Return the engine."""
        from fraud_detection.training.tables.engines import EngineSettings

        return EngineSettings(self.engine, self.jobs, self.master)


engine_options = options.gathered(
    "engine_options",
    EngineOptions,
    click.option(
        "--engine",
        type=click.Choice(["local", "spark"]),
        default="local",
        help="What replays history; the table is the same.",
    ),
    click.option(
        "--jobs",
        cls=options.DefaultOption,
        type=click.IntRange(1, 256),
        metavar="N",
        show_default="one a core, one for a small file",
        help="Processes that replay history.",
    ),
    click.option(
        "--master",
        cls=options.DefaultOption,
        metavar="URL",
        show_default="local[*]",
        help="Spark's cluster, such as spark://host:7077.",
    ),
)
