"""The docs site has every page, and a browser that reads it loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.root import ROOT
from tools.docs_site import Nav, expanded

CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
SMALL = ("index.md", "reference/errors.md", "assets/iframe-worker.js")
MKDOCS = str(Path(sys.executable).parent / "mkdocs")
OPTIONS = re.findall(r"^DOCS = .*/mkdocs (.+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
LINKS_NOT_LOADED = {"canonical", "next", "prev", "alternate", "edit"}


class Loads(HTMLParser):
    """The addresses that a browser loads to show a page: not those that a reader may follow."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        if tag == "link" and not LINKS_NOT_LOADED & set((own.get("rel") or "").split()):
            self.found.append(own.get("href") or "")
        if tag != "a":
            self.found += [own[name] or "" for name in ("src", "data", "poster", "background") if name in own]
            self.found += [part.split()[0] for part in (own.get("srcset") or "").split(",") if part.strip()]
        self.found += addresses(own.get("style") or "")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style":
            self.found += addresses(data)


def addresses(style: str) -> list[str]:
    """Return what a style sheet loads, but for what stands in it as data."""
    urls = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", style)
    return [
        quoted or unquoted for quoted, unquoted in urls if not (quoted or unquoted).startswith(("data:", "#"))
    ]


def build(folder: Path, config: Path) -> subprocess.CompletedProcess[str]:
    """Build a site as `make docs` does."""
    return subprocess.run(  # noqa: S603 - our own pages
        [MKDOCS, *OPTIONS, "--config-file", str(config), "--site-dir", str(folder / "site")],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def small(folder: Path) -> Path:
    """Write two pages of the site, and return the settings that build them."""
    for name in SMALL:
        (folder / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "docs" / name, folder / "docs" / name)
    for name in ("src", "tools"):
        (folder / name).symlink_to(ROOT / name)
    page = folder / "docs/index.md"
    page.write_text(re.sub(r"\(\S+\.md\)", "(reference/errors.md)", page.read_text(encoding="utf-8")))
    settings = folder / "mkdocs.yml"
    settings.write_text(CONFIG.partition("\nnav:")[0] + "\nnav: [index.md, reference/errors.md]\n")
    return settings


@pytest.fixture(scope="module", params=["small", pytest.param("whole", marks=pytest.mark.long)])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder, ROOT / "mkdocs.yml" if request.param == "whole" else small(folder))
    assert done.returncode == 0, done.stderr
    return folder / "site"


def loaded(site: Path) -> Iterator[tuple[Path, str]]:
    for path in site.rglob("*.html"):
        yield from ((path, address) for address in Loads(path.read_text(encoding="utf-8")).found)
    for path in site.rglob("*.css"):
        yield from ((path, address) for address in addresses(path.read_text(encoding="utf-8")))


def test_a_browser_loads_nothing_but_files_of_the_site(site: Path) -> None:
    addresses_loaded = list(loaded(site))
    assert {Path(address).suffix for _, address in addresses_loaded} >= {".css", ".js", ".png"}
    for page, address in addresses_loaded:
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc) in {("", ""), ("data", "")}, f"{page}: {address}"
        if not parts.scheme and page.name != "404.html":  # which is shown at any depth
            assert (page.parent / unquote(parts.path)).exists(), f"{page}: {address}"


@pytest.mark.parametrize(
    "link", ["nowhere.md", pytest.param("reference/errors.md#none", marks=pytest.mark.long)]
)
def test_make_docs_refuses_a_dead_link(tmp_path: Path, link: str) -> None:
    settings = small(tmp_path)
    with (tmp_path / "docs/index.md").open("a") as page:
        page.write(f"\n[there]({link})\n")
    done = build(tmp_path, settings)
    assert done.returncode != 0
    assert link.partition("#")[0] in done.stderr


def test_no_page_has_what_the_theme_would_fetch_a_library_for(site: Path) -> None:
    assert [
        page for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text(encoding="utf-8")
    ] == []


def test_the_search_finds_what_the_sources_hold(site: Path) -> None:
    index = (site / "search/search_index.js").read_text(encoding="utf-8")
    assert "A record that can never be decided" in index


def test_what_a_browser_would_load_from_elsewhere_is_found() -> None:
    page = """<link rel="stylesheet" href="//a/x.css"><link rel="canonical" href="https://b"><a href="https://c">c</a>
    <script src="https://d/x.js"></script><img srcset="https://e/1.png 1x, 2.png 2x"><style>@import "https://f";</style>
    <p style="background: url('https://g')"></p><iframe src="https://h"></iframe>"""
    hosts = "".join(urlsplit(address).netloc for address in Loads(page).found)
    assert hosts == "adefgh"


def test_the_navigation_has_every_page_once() -> None:
    config = yaml.load(CONFIG, yaml.BaseLoader)  # noqa: S506 - text alone
    docs = ROOT / "docs"

    def pages(nav: Nav) -> Iterator[str]:
        for entry in nav:
            for inner in entry.values() if isinstance(entry, dict) else [entry]:
                yield from pages(inner) if isinstance(inner, list) else [inner]

    listed = sorted(pages(expanded(config["nav"], docs)))
    assert listed == sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
