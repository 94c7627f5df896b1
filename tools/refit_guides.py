"""Fit the diffs of the guides to sources that have changed around them.

    python -m tools.refit_guides [PAGE...]

The diff of a page fits the commit that changed the page last.  It is applied there, the result is merged into
the sources of the current commit, and the blocks of the page are written anew.  Where a merge conflicts, the
page stays as it is, and the files in conflict are named: that block is mended by hand.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GUIDES = Path("docs/guides")
BLOCK = re.compile(r"(?<=^```diff\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"^\+\+\+ b/(\S+)$", re.MULTILINE)
HEADER = re.compile(r"^(?:diff --git|index|new file mode) .*\n", re.MULTILINE)
SECTION = re.compile(r"^(@@ .+? @@).*", re.MULTILINE)
QUIET = ("-c", "user.name=guides", "-c", "user.email=guides@localhost", "-c", "core.hooksPath=/dev/null")


def refit(page: Path, root: Path = ROOT) -> list[str]:
    """Write the diff blocks of a page anew; return the files in conflict, where there are any.

    page: its path below `root`, a checkout whose current commit counts.  Raises CalledProcessError where the
    diff did not even fit the commit that changed the page last.
    """
    text = (root / page).read_text(encoding="utf-8")
    fitted = _git(root, "log", "-1", "--format=%H", "--", str(page)).strip()
    head = _git(root, "rev-parse", "HEAD").strip()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        _git(tree, "clone", "--quiet", "--shared", "--no-checkout", str(root), ".")
        _git(tree, "checkout", "--quiet", "--detach", fitted)
        for block in BLOCK.findall(text):
            _git(tree, "apply", "-", text=block)
        _git(tree, "add", "--all")
        _git(tree, "commit", "--quiet", "--message", page.stem)
        change = _git(tree, "rev-parse", "HEAD").strip()
        _git(tree, "checkout", "--quiet", "--detach", head)
        try:
            _git(tree, "cherry-pick", change)
        except subprocess.CalledProcessError:
            return _git(tree, "diff", "--name-only", "--diff-filter=U").split()
        written = BLOCK.sub(lambda block: _block_of(FILE.findall(block.group()), tree), text)
    (root / page).write_text(written, encoding="utf-8")
    return []


def _block_of(names: Sequence[str], tree: Path) -> str:
    """Return what the last commit does to some files, without what only git needs; blanks end no line."""
    diffs = [_git(tree, "diff", "--unified=1", "HEAD~1", "HEAD", "--", name) for name in names]
    return re.sub(r"^ $", "", SECTION.sub(r"\1", HEADER.sub("", "".join(diffs))), flags=re.MULTILINE)


def _git(folder: Path, *words: str, text: str | None = None) -> str:
    return subprocess.run(  # noqa: S603 - our own words
        ["git", *QUIET, *words],  # noqa: S607
        cwd=folder,
        input=text,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Refit some pages, or all; return 1 where a page has to be mended by hand."""
    parser = argparse.ArgumentParser(prog="python -m tools.refit_guides")
    parser.add_argument("page", nargs="*", type=Path, help="such as docs/guides/add-a-feature.md (all)")
    pages = parser.parse_args(arguments).page
    code = 0
    for page in pages or sorted(path.relative_to(ROOT) for path in (ROOT / GUIDES).glob("*.md")):
        conflicts = refit(page)
        code = 1 if conflicts else code
        outcome = f"conflicts in {', '.join(conflicts)}" if conflicts else "fits"
        sys.stdout.write(f"{page}: {outcome}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
