"""Monotonic constraints of the model: which way the score may move with each feature.

They come from `model.monotone` of the project file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from fraud_detection.core.errors import ConfigError

SIGNS = {"up": 1, "down": -1}


def monotonic_constraints(monotone: Mapping[str, str], names: Sequence[str]) -> list[int]:
    """Return for each feature 1 (the score may only rise with it), -1 (only fall) or 0 (either).

    monotone: names of features, in which `*` matches any characters, to 'up' or 'down'.  Raises
    ConfigError for a name that no feature has, and for a feature that would have to do both.

    >>> monotonic_constraints({"terminal_fraud_rate_*": "up"}, ["amount", "terminal_fraud_rate_7d"])
    [0, 1]
    """
    constraints = [0] * len(names)
    for pattern, direction in monotone.items():
        positions = [index for index, name in enumerate(names) if fnmatchcase(name, pattern)]
        if not positions:
            raise ConfigError(f"`model.monotone`: no feature is called `{pattern}`{_near(pattern, names)}")
        for index in positions:
            if constraints[index] == -SIGNS[direction]:
                raise ConfigError(f"`model.monotone`: `{names[index]}` would have to go up and down")
            constraints[index] = SIGNS[direction]
    return constraints


def _near(pattern: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(pattern, names, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""
