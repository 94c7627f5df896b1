"""A metric that a page names is one that the server has."""

from __future__ import annotations

import re

from tests.root import ROOT

NAMED = re.compile(r"`(fraud_[a-z_]+_(?:total|seconds|events|up|warning|info))\b")
DEFINED = re.compile(r"\"(fraud_[a-z_]+)\"")


def test_a_page_names_no_metric_that_is_gone() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    defined = {name for source in sources for name in DEFINED.findall(source)}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {(path.name, name) for path in pages for name in NAMED.findall(path.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert sorted((page, name) for page, name in named if name not in defined) == []
