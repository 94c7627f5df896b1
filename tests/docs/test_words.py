"""Words of an older vocabulary do not come back."""

from __future__ import annotations

from pathlib import Path

from tests.root import ROOT
from tools.banned_words import Banned, banned_words, hits


def test_no_banned_word_is_left() -> None:
    assert [str(hit) for hit in hits(ROOT, banned_words(ROOT))] == []


def test_a_banned_word_is_found_wherever_it_stands(tmp_path: Path) -> None:
    for folder in ("src", "docs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "src/gadget_reader.py").write_text(
        '"""A gadget in prose is no name."""\nMOST_GADGETS = {"gadget": 1}\nraise_gadget = f(gadgetry)\n'
    )
    (tmp_path / "docs/page.md").write_text("A put live folder.\nPut  on.\nput live-folder\n")
    banned = [Banned("gadget", "shard", "name"), Banned("put live", "publish", "prose")]
    words_found = {(hit.path, hit.line, hit.banned.word) for hit in hits(tmp_path, banned)}
    assert words_found == {
        ("docs/page.md", 1, "put live"),
        ("src/gadget_reader.py", 0, "gadget"),
        ("src/gadget_reader.py", 2, "gadget"),
        ("src/gadget_reader.py", 3, "gadget"),
    }
