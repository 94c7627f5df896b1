"""Names for the Python API: errors name its arguments where the commands have options."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding import Overrides
from fraud_detection.project.yaml_file import MAKE_ONE

OVERRIDES = tuple(field.name for field in dataclasses.fields(Overrides))
_SINGULAR = {"entities": "entity", "numbers": "number", "categories": "category"}
PROPOSE = {f"--{_SINGULAR.get(name, name).replace('_', '-')}": f"`{name}`" for name in OVERRIDES}
LOAD_PROJECT = {MAKE_ONE: "make one with `fd.propose(payments).save(path)`, or name another with `path`"}
# Of options without an argument the error names the command that has them.
FEATURES = TRAIN = {f"--{name}": f"`fraud features --{name}`" for name in ("labels", "as-of")}
BACKTEST = {
    **{f"--{name}": f"`fraud backtest --{name}`" for name in ("labels", "as-of", "features", "from", "to")},
    "--data": "`payments`",
    "--bundle": "`bundle`",
}

_COMMAND_OR_OPTION = re.compile(r"`fraud [^`]*`|(?<![\w-])--[a-z]+(?:-[a-z]+)*")


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return a message with arguments in the place of options; commands in backticks stay as they are.

    >>> renamed("--label-delay: expected a duration; see `fraud init --label-delay`", PROPOSE)
    '`label_delay`: expected a duration; see `fraud init --label-delay`'
    >>> renamed("give later payments, another --bundle, or --from DAY", BACKTEST)
    'give later payments, another `bundle`, or `fraud backtest --from` DAY'
    """
    if MAKE_ONE in names:
        text = text.replace(MAKE_ONE, names[MAKE_ONE])
    return _COMMAND_OR_OPTION.sub(lambda found: names.get(found[0], found[0]), text)


@contextmanager
def naming_arguments(names: Mapping[str, str]) -> Iterator[None]:
    """Let every ConfigError that is raised within name arguments instead of options."""
    try:
        yield
    except ConfigError as error:
        error.args = (renamed(str(error), names),)
        raise


def check_overrides(given: Mapping[str, object]) -> None:
    """Raise TypeError for an argument that `propose` does not have, with the nearest one that it has."""
    for wrong in given:
        if wrong in OVERRIDES:
            continue
        near = difflib.get_close_matches(wrong, OVERRIDES, 1)
        advice = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(OVERRIDES)}"
        raise TypeError(f"propose() got an unexpected keyword argument {wrong!r}; {advice}")
