"""The beginning of a CSV file: its separator, and its names of columns; what lacks names is refused."""

from __future__ import annotations

import csv
import io
import itertools
import re
from pathlib import Path

from fraud_detection.core.errors import ConfigError

_DELIMITERS = (",", ";", "\t", "|")
_HEAD_ROWS = 20
_TIME = re.compile(r"\d{4}[-/.]\d\d?[-/.]\d\d?\b.*|\d\d?[-/.]\d\d?[-/.]\d{2,4}\b.*|\d{10,19}(\.\d*)?")
_JSON = re.compile(r'\s*(\[\s*)?\{\s*"')


def delimiter(head: str) -> str:
    r"""Return the separator that cuts the first rows into equally many, and most, values.

    >>> delimiter("a;b\n1,5;2\n"), delimiter("a\tb\n"), delimiter("alone\n1\n")
    (';', '\t', ',')
    """

    def fitness(separator: str) -> tuple[bool, int]:
        reader = csv.reader(io.StringIO(head, newline=""), delimiter=separator)
        widths = [len(row) for row in itertools.islice(reader, _HEAD_ROWS) if row]
        whole = widths[:-1] or widths or [0]  # the last row may be cut off
        return len(set(whole)) == 1 and whole[0] > 1, whole[0]

    return max(_DELIMITERS, key=fitness)


def header(names: list[str], path: Path) -> tuple[str, ...]:
    """Return the names of columns, with one made for those that have none.

    >>> from pathlib import Path
    >>> header(["", " amount "], Path("f.csv"))
    ('column_1', 'amount')
    >>> header(["a", "b", "a"], Path("f.csv"))
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.ConfigError: f.csv: two columns are named 'a'; rename one of them
    """
    if not names:
        raise ConfigError(f"{path}: holds no text; it needs named columns and at least one row")
    if _looks_like_data(names):
        raise ConfigError(
            f"{path}: the first line looks like data, not like names; put a line of names on top"
        )
    cleaned = tuple(name.strip() or f"column_{index}" for index, name in enumerate(names, 1))
    for name in cleaned:
        if cleaned.count(name) > 1:
            raise ConfigError(f"{path}: two columns are named {name!r}; rename one of them")
    return cleaned


def check_not_json(head: str, path: Path) -> None:
    """Raise ConfigError where a file that should be CSV begins with JSON."""
    if _JSON.match(head):
        raise ConfigError(
            f"{path}: holds JSON, not CSV; name it {path.stem}.jsonl, with one JSON object a line"
        )


def _looks_like_data(names: list[str]) -> bool:
    """Return whether one name is a time, or most are numbers, unless they only number the columns."""
    if any(_TIME.fullmatch(name.strip()) for name in names):
        return True
    numbers = [name for name in names if _is_number(name)]
    if [name.strip() for name in names] in (_numbered(0, len(names)), _numbered(1, len(names))):
        return False
    return 2 * len(numbers) > len(names)


def _numbered(first: int, count: int) -> list[str]:
    return [str(number) for number in range(first, first + count)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
