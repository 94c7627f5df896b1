"""What the docs site needs beyond mkdocs.yml: patterns in its navigation, links that leave it, examples.

Pages link to folders, and to files beside `docs`, which a site does not have: there they are named.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import griffe

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

Nav = list[Any]
LINK = re.compile(r"\[([^\]]+)\]\((\.\.[^)\s]*|[\w/]+/)\)")
DOCTEST = re.compile(r"^>>> .*\n(?:.+\n?)*", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take each pattern of the navigation for the pages that match it and are not named beside it."""
    config.nav = expanded(config.nav or [], Path(config.docs_dir))
    return config


def expanded(nav: Nav, docs: Path) -> Nav:
    """Return a navigation in which pages stand for patterns, sorted by name."""
    expanded_items: Nav = []
    for entry in nav:
        if isinstance(entry, dict):
            ((name, inner),) = entry.items()
            expanded_items.append({name: expanded(inner, docs) if isinstance(inner, list) else inner})
        elif "*" in entry:
            expanded_items += [page for page in _pages(entry, docs) if page not in nav]
        else:
            expanded_items.append(entry)
    return expanded_items


def _pages(pattern: str, docs: Path) -> list[str]:
    return sorted(path.relative_to(docs).as_posix() for path in docs.glob(pattern))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Name what lies outside of `docs`, where a page links to it."""
    return without_links_out(markdown, page.file.src_uri)


def without_links_out(markdown: str, page: str) -> str:
    """Return the text of a page, whose links that leave `docs` are names.

    >>> without_links_out("See [the code](../src/a.py) and [state](../state.md).", "adr/1.md")
    'See [the code](../src/a.py) and [state](../state.md).'
    >>> without_links_out("See [the code](../src/a.py), [src/b.py](../src/b.py).", "state.md")
    'See the code (`src/a.py`), `src/b.py`.'
    >>> without_links_out("They are in [adr/](adr/).", "architecture.md")
    'They are in `docs/adr`.'
    """

    def named(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
        if path.startswith("docs/") and not target.endswith("/"):
            return link.group()
        return f"`{path}`" if text.strip("`") in {path, target} else f"{text} (`{path}`)"

    return LINK.sub(named, markdown)


class Examples(griffe.Extension):
    """Shows the examples of a docstring as code: in Markdown their prompts would be quotations."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Fence the examples of one docstring."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    r"""Return a docstring with a fence around each example.

    >>> fenced("One.\n\n>>> 1 + 1\n2\n\nTwo.").splitlines()
    ['One.', '', '```pycon', '>>> 1 + 1', '2', '```', '', 'Two.']
    """
    return DOCTEST.sub(lambda match: f"```pycon\n{match.group().rstrip()}\n```\n", text)
