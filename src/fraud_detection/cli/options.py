"""The options that several commands share, and what their values are read as."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click

BUNDLE = Path("build/bundle")
STATE = Path("build/state.db")
REGISTRY = Path("build/registry")
PROJECT_FILE = Path("params.yaml")
FEATURES = Path("build/features.parquet")
PATH = click.Path(path_type=Path)

UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


class Parsed(click.ParamType[object, str]):
    """What a function reads from text, and refuses by ValueError."""

    def __init__(self, name: str, read: Callable[[str], object]) -> None:
        """Know how help calls it."""
        self.name = name
        self._read = read

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Return the value, or report why it is none."""
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def moment(text: str) -> int:
    """Return the time that ISO 8601 names, in ms since 1970; without a zone it is UTC.

    >>> moment("1970-01-02"), moment("1970-01-01T01:00+01:00")
    (86400000, 0)
    """
    try:
        named = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a day or a time such as 2026-03-01T12:00Z, got {text!r}") from None
    zoned = named if named.tzinfo else named.replace(tzinfo=dt.UTC)
    return round(zoned.timestamp() * 1000)


def duration(text: str) -> int:
    """Return a length of time such as 7d, in ms.

    >>> duration("2h")
    7200000
    """
    from fraud_detection.core.decoding import Duration

    return Duration.parse(text).ms


def size(text: str) -> int:
    """Return a number of bytes such as 4GB.

    >>> size("1.5GB"), size("800 MB")
    (1500000000, 800000000)
    """
    named = re.fullmatch(r"(\d+(?:\.\d+)?) ?([MGT]B)", text.strip().upper())
    if named is None:
        raise ValueError(f"expected a size such as 800MB or 4GB, got {text!r}")
    return round(float(named[1]) * UNITS[named[2]])


class DefaultOption(click.Option):
    """An option whose `show_default` is a text; help shows it as it shows the value of any other default."""

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """Return what follows the help; click alone would put the text into parentheses."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        return extra


class HistoryOptions(NamedTuple):
    """Historical payments, more labels, logged decisions, and the moment as of which labels count."""

    data: Path | None
    labels: tuple[Path, ...]
    as_of: int | None
    state: tuple[Path, ...]


class DecidedBy(NamedTuple):
    """What decides: a bundle, with the project file of today where one is named; or what is released."""

    bundle: Path | None
    registry: Path | None
    config: Path | None


class ReleaseRequest(NamedTuple):
    """A change of what is released: in which registry, who wants it and why, and whether MLflow gets it."""

    registry: Path
    author: str | None
    reason: str
    no_tracking: bool


class Simulated(NamedTuple):
    """The payments that are simulated; None where the simulator has its own default."""

    seed: int
    cards: int | None
    days: int | None


MOMENT = Parsed("time", moment)
DURATION = Parsed("duration", duration)
SIZE = Parsed("size", size)

config = click.option("--config", type=PATH, default=PROJECT_FILE, metavar="FILE", help="The project file.")
own_config = click.option(
    "--config", type=PATH, metavar="FILE", help="Project file to decide by, instead of the bundle's own."
)
bundle = click.option("--bundle", type=PATH, default=BUNDLE, help="The bundle.")
any_bundle = click.option(
    "--bundle", cls=DefaultOption, type=PATH, show_default=str(BUNDLE), help="The bundle."
)
registry = click.option(
    "--registry", type=PATH, metavar="DIR", help="Decide by this release registry, and follow its releases."
)
own_registry = click.option(
    "--registry", type=PATH, default=REGISTRY, metavar="DIR", help="The release registry."
)
state = click.option("--state", type=PATH, default=STATE, help="The state file.")
all_states = click.option(
    "--state",
    type=PATH,
    default=STATE,
    help="The state file, or the common name of the workers' state files.",
)
data = click.option(
    "--data",
    cls=DefaultOption,
    type=PATH,
    show_default="`history` of the project file",
    help="File of historical payments.",
)
labels = click.option(
    "--labels", type=PATH, multiple=True, metavar="FILE", help="File of more labels, repeatable."
)
as_of = click.option(
    "--as-of",
    type=MOMENT,
    metavar="TIME",
    help="Label cut-off, such as 2026-03-01 or 2026-03-01T12:00Z.",
)

logged_states = click.option(
    "--state",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="State file whose logged decisions and labels follow --data, repeatable.",
)
author = click.option(
    "--author",
    cls=DefaultOption,
    metavar="NAME",
    show_default="the user of this process",
    help="Author of the release.",
)
service_states = click.option(
    "--state",
    type=PATH,
    multiple=True,
    default=[STATE],
    metavar="FILE",
    help="State file of a running service, repeatable.",
)
log_format = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Format of the log.",
)
synchronous = click.option(
    "--synchronous",
    type=click.Choice(["normal", "full"]),
    default="normal",
    help="Durability: `full` survives a loss of power.",
)
profile_memory = click.option(
    "--profile-memory",
    type=click.IntRange(min=1),
    default=2000,
    metavar="MB",
    help="Memory for profiles, of each process; the others are read from the state file.",
)
accept_loss = click.option(
    "--accept-loss", is_flag=True, help="Open a state file although decisions are lost from it."
)
settings = click.option(
    "--settings", type=PATH, default=Path("deploy.yaml"), help="Settings of the environment."
)
memory = click.option(
    "--memory",
    cls=DefaultOption,
    type=SIZE,
    metavar="SIZE",
    show_default="half of what is available",
    help="Memory to fit in, such as 4GB; features that take more are kept on disk meanwhile.",
)
no_tracking = click.option("--no-tracking", is_flag=True, help="Do not log to MLflow.")
drift = click.option("--drift", multiple=True, help="A drift of fields or behaviour, see docs/simulator.md.")


def workers(help_text: str) -> Decorator:
    """Let a command say how many processes there are."""
    return click.option("--workers", type=click.IntRange(1, 64), default=1, metavar="N", help=help_text)


def gathered(name: str, kind: Callable[..., object], *several: Decorator) -> Decorator:
    """Let a function take what several options say as one value, a tuple of that kind."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def call(output: object, **options: object) -> object:
            value = kind(**{field: options.pop(field) for field in kind.__annotations__})
            return function(output, **options, **{name: value})

        for option in reversed(several):
            option(call)  # notes the option at the function
        return call

    return decorate


def simulated(days: int | None = None) -> Decorator:
    """Let a command say what is simulated; days: of history, where not the simulator's own default."""
    return gathered(
        "simulated",
        Simulated,
        click.option("--seed", type=int, default=7, help="Seed of the simulation."),
        click.option(
            "--cards", cls=DefaultOption, type=int, show_default="5000", help="Number of simulated cards."
        ),
        click.option(
            "--days",
            cls=DefaultOption,
            type=int,
            default=days,
            show_default=str(days or 90),
            help="Days of history.",
        ),
    )


def compared(function: Function) -> Function:
    """Let a command say which shadow is compared with the champion, on which decisions."""
    config_id = click.option(
        "--config-id",
        cls=DefaultOption,
        metavar="NAME",
        show_default="the only shadow",
        help="Configuration of the shadow.",
    )
    return config_id(service_states(as_of(function)))


history_options = gathered("history_options", HistoryOptions, data, labels, as_of, logged_states)
decided_by = gathered("by", DecidedBy, any_bundle, registry, own_config)
releasing = gathered(
    "request",
    ReleaseRequest,
    own_registry,
    author,
    click.option("--reason", required=True, metavar="TEXT", help="Reason of the release."),
    no_tracking,
)
