"""Words of an older vocabulary that may not come back: a data file names them, this finds them.

    python -m tools.banned_words [ROOT]

`tests/docs/banned_words.tsv` has a line a word: the word, the field's term, and where it is looked for.
`name`: as a part of an identifier, option, metric, key or file name, in Python and in file names.
`prose`: as words, in Python and in pages.  The changelog and decisions keep the words of their day.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import msgspec

LIST = Path("tests/docs/banned_words.tsv")
FOLDERS = ("", ".github", "src", "tests", "benchmarks", "tools", "docs", "examples")
"""With all below each; of the root its own files alone."""
EXEMPT = ("docs/adr", "build", str(LIST))
HISTORY = "## Before 0.1.0"
"""From here on the changelog keeps the words of its day."""
PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
KEY = re.compile(r"[rbf]?['\"][\w.-]+['\"]")
NAMES_IN_TEXT = {
    ".md": re.compile(r"`([\w.-]+)`"),
    ".yaml": re.compile(r"([\w.-]+):(?= |$)"),
    ".yml": re.compile(r"([\w.-]+):(?= |$)"),
    ".json": re.compile(r'"([\w.-]+)":'),
}
"""What is a name in a text that is no Python: code that is one word, and keys."""
TEXT = {"", ".py", ".toml", ".html", *NAMES_IN_TEXT}


class Banned(msgspec.Struct, frozen=True):
    """A word that is banned, and the term that stands for it."""

    word: str
    term: str
    where: str


class Hit(msgspec.Struct, frozen=True):
    """Where a banned word stands."""

    path: str
    line: int
    banned: Banned

    def __str__(self) -> str:
        """Return it as an editor takes it."""
        return f"{self.path}:{self.line}: `{self.banned.word}`: say {self.banned.term}"


def banned_words(root: Path) -> list[Banned]:
    """Return the list; empty where a checkout has none."""
    path = root / LIST
    if not path.exists():
        return []
    rows = [line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [Banned(*row) for row in rows]


def hits(root: Path, banned: list[Banned]) -> Iterator[Hit]:
    """Yield every line in which a banned word stands."""
    by_part = {banned_word.word: banned_word for banned_word in banned if banned_word.where == "name"}
    phrases = [banned_word for banned_word in banned if banned_word.where == "prose"]
    prose = [(re.compile(rf"(?<![\w-]){phrase.word}(?![\w-])", re.IGNORECASE), phrase) for phrase in phrases]
    for path in files(root):
        name = str(path.relative_to(root))
        yield from (Hit(name, 0, by_part[part]) for part in parts(path.stem) if part in by_part)
        text = path.read_text(encoding="utf-8").partition(HISTORY)[0]
        for number, name_found in names_in(text, path.suffix):
            yield from (Hit(name, number, by_part[part]) for part in parts(name_found) if part in by_part)
        for number, line in enumerate(text.splitlines(), start=1):
            yield from (Hit(name, number, phrase) for pattern, phrase in prose if pattern.search(line))


def names_in(text: str, suffix: str = ".py") -> Iterator[tuple[int, str]]:
    r"""Yield the identifiers of a file, and the texts that are one word: keys, options, metrics.

    >>> list(names_in("row['told_at'] = say('two words')"))
    [(1, 'row'), (1, "'told_at'"), (1, 'say')]
    >>> list(names_in("Set `told_at`, and say\n`why it is told`.", ".md"))
    [(1, 'told_at')]
    >>> list(names_in("told_at: 1", ".yaml"))
    [(1, 'told_at')]
    """
    if suffix in NAMES_IN_TEXT:
        for number, line in enumerate(text.splitlines(), start=1):
            yield from ((number, name) for name in NAMES_IN_TEXT[suffix].findall(line))
        return
    if suffix != ".py":
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_key = token.type == tokenize.STRING and KEY.fullmatch(token.string)
        if token.type == tokenize.NAME or is_key:
            yield token.start[0], token.string


def files(root: Path) -> Iterator[Path]:
    """Yield the files in which words count."""
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("**/*" if folder else "*")):
            exempt = str(path.relative_to(root)).startswith(EXEMPT)
            if path.suffix in TEXT and path.is_file() and not exempt and path.name != ".git":
                yield path


@lru_cache(maxsize=100_000)
def parts(identifier: str) -> tuple[str, ...]:
    """Return the words that an identifier is made of.

    >>> parts("HTTPLine_read2"), parts("MAX_EVENTS")
    (('http', 'line', 'read', '2'), ('max', 'events'))
    """
    return tuple(part.lower() for part in PARTS.findall(identifier))


def main() -> int:
    """Print every hit; return 1 where there is one."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    all_hits = list(hits(root, banned_words(root)))
    for hit in all_hits:
        sys.stdout.write(f"{hit}\n")
    return int(bool(all_hits))


if __name__ == "__main__":
    sys.exit(main())
