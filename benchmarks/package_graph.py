"""The graph of packages: how many there are, which imports which, and how deep they stand on one another.

It is counted twice.  `top`: a package is what lies directly in the root package, a folder with all below it
or a module.  `folders`: a package is a folder that holds modules, at any depth; a module directly in the root
belongs to no such folder and is one of its own.  A folder without `__init__.py` is no package.

A dependency is a pair of packages of which the first imports the second, inside functions too, but not under
TYPE_CHECKING.  The depth is the number of packages on the longest chain of dependencies, where packages that
import one another in a circle count once, together.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import grimp
import msgspec

PACKAGE = "fraud_detection"
Dependencies = set[tuple[str, str]]


class Imports(msgspec.Struct, frozen=True):
    """The graph of packages.  chain: the longest one, with the packages of a circle joined by `+`."""

    packages: int
    dependencies: int
    depth: int
    circles: int
    chain: list[str]


def import_figures(source: Path, package: str = PACKAGE) -> dict[str, Imports]:
    """Measure the imports of a package that lies in the folder `source`, counted in both ways."""
    graph = _graph(source, package)
    folders = {module for module in graph.modules if graph.find_children(module)}
    return {
        "top": _figures(graph, _packages(graph)),
        "folders": _figures(graph, {module: _folder(module, folders) for module in graph.modules}),
    }


def package_imports(source: Path, package: str = PACKAGE) -> Dependencies:
    """Return which packages directly in the root package import which, by their own names."""
    graph = _graph(source, package)
    pairs = _dependencies(graph, _packages(graph))
    return {(importer.rpartition(".")[2], imported.rpartition(".")[2]) for importer, imported in pairs}


def without_implied(dependencies: Dependencies) -> Dependencies:
    """Leave out what a chain of other dependencies says; there are no circles.

    >>> sorted(without_implied({("a", "b"), ("b", "c"), ("a", "c")}))
    [('a', 'b'), ('b', 'c')]
    """
    reached = {package: _reached(package, dependencies) for pair in dependencies for package in pair}
    return {
        (importer, imported)
        for importer, imported in dependencies
        if not any(imported in reached[between] for start, between in dependencies if start == importer)
    }


def _graph(source: Path, package: str) -> grimp.ImportGraph:
    sys.path.insert(0, str(source))
    importlib.invalidate_caches()
    try:
        return grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    finally:
        sys.path.remove(str(source))


def _packages(graph: grimp.ImportGraph) -> dict[str, str]:
    return {module: ".".join(module.split(".")[:2]) for module in graph.modules}


def _dependencies(graph: grimp.ImportGraph, home: Mapping[str, str]) -> Dependencies:
    pairs = {
        (home[module], home[imported])
        for module in home
        for imported in graph.find_modules_directly_imported_by(module) & home.keys()
    }
    return {(importer, imported) for importer, imported in pairs if importer != imported}


def _figures(graph: grimp.ImportGraph, home: Mapping[str, str]) -> Imports:
    """Measure a graph whose modules belong to the packages that `home` returns."""
    dependencies = _dependencies(graph, home)
    chain = longest_chain(dependencies)
    return Imports(
        packages=len({home[module] for module in home if not graph.find_children(module)}),
        dependencies=len(dependencies),
        depth=len(chain),
        circles=len(circles(dependencies)),
        chain=chain,
    )


def _folder(module: str, folders: set[str]) -> str:
    """Return the package of a module; a package is its own, and so is a module directly in the root."""
    parent = module.rpartition(".")[0]
    return module if module in folders or "." not in parent else parent


def circles(dependencies: Dependencies) -> list[frozenset[str]]:
    """Return the groups of packages that all reach one another.

    >>> [sorted(one) for one in circles({("a", "b"), ("b", "c"), ("c", "b")})]
    [['b', 'c']]
    """
    reached = {package: _reached(package, dependencies) for pair in dependencies for package in pair}
    groups = {
        frozenset(member for member in reachable if package in reached[member])
        for package, reachable in reached.items()
    }
    return [group for group in groups if group]


def longest_chain(dependencies: Dependencies) -> list[str]:
    """Return the packages on the longest chain, a circle as one.

    >>> longest_chain({("a", "b"), ("a", "c"), ("b", "c"), ("c", "d"), ("d", "c")})
    ['a', 'b', 'c+d']
    """
    joined = {package: "+".join(sorted(group)) for group in circles(dependencies) for package in group}
    edges = {
        (joined.get(importer, importer), joined.get(imported, imported))
        for importer, imported in dependencies
    }

    @cache
    def longest(package: str) -> tuple[str, ...]:
        return (
            package,
            *_longest(
                longest(imported) for importer, imported in sorted(edges) if importer == package != imported
            ),
        )

    return list(_longest(longest(importer) for importer, _ in sorted(edges)))


def _longest(chains: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return max(chains, key=len, default=())


def _reached(start: str, dependencies: Dependencies) -> set[str]:
    reachable, waiting = set[str](), [start]
    while waiting:
        package = waiting.pop()
        new = {imported for importer, imported in dependencies if importer == package} - reachable
        reachable |= new
        waiting += new
    return reachable
