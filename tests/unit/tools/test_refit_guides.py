"""The diff of a guide follows the sources, where git can merge it; else the page is left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.refit_guides import BLOCK, QUIET, refit

PAGE = Path("docs/guides/add.md")
TEXT = """# Add

```diff
--- a/code.py
+++ b/code.py
@@ -2,2 +2,3 @@
     first = 1
+    second = 2

```

```diff
--- /dev/null
+++ b/new.py
@@ -0,0 +1 @@
+made = True
```

The end.
"""
CODE = "def work():\n    first = 1\n\n    return first\n"


def git(folder: Path, *words: str, text: str | None = None) -> None:
    command = ["git", *QUIET, *words]
    subprocess.run(command, cwd=folder, check=True, input=text, capture_output=True, text=True)  # noqa: S603


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a checkout with a guide that fits its one source."""
    (tmp_path / PAGE).parent.mkdir(parents=True)
    (tmp_path / PAGE).write_text(TEXT)
    (tmp_path / "code.py").write_text(CODE)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a change")


def test_a_page_that_fits_stays_as_it_is(project: Path) -> None:
    assert refit(PAGE, project) == []
    assert (project / PAGE).read_text() == TEXT


def test_lines_that_moved_and_changed_nearby_are_followed(project: Path) -> None:
    (project / "code.py").write_text('"""Code."""\n\n\n' + CODE.replace("return first", "return first + 0"))
    commit(project)
    assert refit(PAGE, project) == []
    written = (project / PAGE).read_text()
    assert written == TEXT.replace("@@ -2,2 +2,3 @@", "@@ -5,2 +5,3 @@")
    for block in BLOCK.findall(written):
        git(project, "apply", "-", text=block)
    assert "    first = 1\n    second = 2\n" in (project / "code.py").read_text()


def test_a_conflict_is_named_and_nothing_is_written(project: Path) -> None:
    (project / "code.py").write_text(CODE.replace("first", "one"))
    commit(project)
    assert refit(PAGE, project) == ["code.py"]
    assert (project / PAGE).read_text() == TEXT
