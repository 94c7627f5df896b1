"""Every code block of the README and of the pages, where it stands, and what it is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.root import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
READER_PAGES = ("docs/ml-engineer.md", "docs/fraud-analyst.md", "docs/platform-engineer.md")
"""Pages whose blocks are run one after another, in one folder."""
GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))
"""Pages whose blocks are one diff and the commands that try it: `test_guides.py` runs them."""
SERVICES = (
    "fraud serve",
    "fraud shadow",
    "fraud generate stream --rate 1000 --to kinesis",
    "python -m fraud_detection.cli.container serve",
)
"""What goes on until it is told to end; what stands below it is asked meanwhile."""


class Block(msgspec.Struct, frozen=True):
    """One block: its page from the top of the project, its line, its language, and its text."""

    page: str
    line: int
    language: str
    text: str

    def commands(self) -> Iterator[str]:
        """Return the commands of a shell block, one a line, without comments."""
        for line in self.text.replace("\\\n", " ").splitlines():
            command = shlex.join(shlex.split(line, comments=True))
            if command:
                yield line.strip()


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    blocks, lines = [], enumerate(page.read_text(encoding="utf-8").splitlines(keepends=True), start=1)
    for number, line in lines:
        if line.startswith("```"):
            inside = iter(lambda: next(lines)[1], "```\n")
            language = line.removeprefix("```").strip()
            blocks.append(Block(str(page.relative_to(ROOT)), number, language, "".join(inside)))
    return blocks


def indented(page: Path) -> list[str]:
    """Return blocks that are made by four spaces alone: they cannot say what they are."""
    outside = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^[^\s*-].*\n\n {4}(\S.*)$", outside, flags=re.MULTILINE)


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
