"""Draw which package imports which: docs/pictures/module-map.svg, from the imports themselves.

    python -m tools.module_map [--output FILE]

A package is one that lies directly in `fraud_detection`.  Rows are the layers of the import contract;
arrows lead from a package to one that it imports.  An arrow that a chain of others implies is left out, so
that the picture can be read; the caption counts both.

A long arrow gets a waypoint in each row that it passes.  Packages and waypoints move toward the
middle of what they are joined to, row by row, down and up again, and keep their distance: the layered
drawing of Sugiyama, Tagawa and Toda (1981).
"""

from __future__ import annotations

import argparse
import statistics
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.package_graph import Dependencies, package_imports, without_implied
from fraud_detection.evaluation.report import svg

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs/pictures/module-map.svg"
WIDTH, HEIGHT, ROW, GAP, EDGE = 124.0, 30.0, 76.0, 22.0, 14.0
HEAD, SERIES, SWEEPS = 5.0, 6, 24
Node = tuple[str, ...]
"""A package is `(name,)`; a waypoint is `(from, to, row)`, a point of an arrow between packages."""


def layers(root: Path = ROOT) -> list[list[str]]:
    """Return the packages of each layer, the highest first, as the import contract has them."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (packages,) = (
        contract["layers"] for contract in contracts if contract.get("containers") == ["fraud_detection"]
    )
    return [[name.strip() for name in layer.split("|")] for layer in packages]


def picture(rows: Sequence[Sequence[str]], imports: Dependencies) -> str:
    """Return the map as SVG; equal rows and imports give equal text."""
    edges = without_implied(imports)
    level = {package: number for number, row in enumerate(rows) for package in row}
    routes = {(package, imported): _route(package, imported, level) for package, imported in sorted(edges)}
    positions = _columns_of(rows, routes)
    left = min(x - _width(node) / 2 for node, x in positions.items()) - EDGE
    x = {node: round(position - left, 1) for node, position in positions.items()}
    right = max(position + _width(node) / 2 for node, position in x.items()) + EDGE
    parts = [part for route in routes.values() for part in _arrow(route, x, level)]
    parts += [part for package in level for part in _package(package, x[package,], level[package])]
    bottom = _top(len(rows))
    caption = f"{len(edges)} of {len(imports)} imports between packages; the others follow from these"
    parts.append(svg.text(EDGE, bottom, caption))
    return svg.file("Which package imports which", right, bottom + EDGE, parts)


def _route(package: str, imported: str, level: Mapping[str, int]) -> list[Node]:
    passed = range(level[package] + 1, level[imported])
    return [(package,), *((package, imported, str(row)) for row in passed), (imported,)]


def _columns_of(
    rows: Sequence[Sequence[str]], routes: Mapping[tuple[str, str], list[Node]]
) -> dict[Node, float]:
    """Return the middle of each package and waypoint, from left to right."""
    levels: list[list[Node]] = [[(package,) for package in row] for row in rows]
    for route in routes.values():
        for waypoint in route[1:-1]:
            levels[int(waypoint[-1])].append(waypoint)
    joined = {(start, end) for route in routes.values() for start, end in pairwise(route)}
    near = {node: _neighbours(node, joined) for nodes in levels for node in nodes}
    positions = {node: position for nodes in levels for node, position in _apart(nodes, [0.0] * len(nodes))}
    for _ in range(SWEEPS):
        for nodes in [*levels, *reversed(levels)]:
            wanted = {
                node: statistics.fmean(positions[neighbour] for neighbour in near[node] or [node])
                for node in nodes
            }
            ordered = sorted(nodes, key=lambda node: (wanted[node], node))
            positions.update(_apart(ordered, [wanted[node] for node in ordered]))
    return positions


def _neighbours(node: Node, joined: Iterable[tuple[Node, Node]]) -> list[Node]:
    return sorted(start if node == end else end for start, end in joined if node in {start, end})


def _apart(nodes: Sequence[Node], wanted: Sequence[float]) -> Iterator[tuple[Node, float]]:
    """Yield positions in this order, none too near the next, as close to the wanted ones as squares can be.

    With the distances taken off, the positions must only not fall from left to right.  Neighbours that
    would are pooled at their mean: the least-squares answer, isotonic regression by pooling adjacent
    violators.
    """
    offsets, offset = list[float](), 0.0
    for node, following in zip(nodes, [*nodes[1:], nodes[-1]], strict=True):
        offsets.append(offset)
        offset += (_width(node) + _width(following)) / 2 + GAP
    pools: list[list[float]] = []
    for position, start in zip(wanted, offsets, strict=True):
        pools.append([position - start])
        while len(pools) > 1 and statistics.fmean(pools[-2]) > statistics.fmean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    pooled = [statistics.fmean(pool) for pool in pools for _ in pool]
    for node, position, start in zip(nodes, pooled, offsets, strict=True):
        yield node, position + start


def _width(node: Node) -> float:
    return WIDTH if len(node) == 1 else 0.0


def _top(row: int) -> float:
    return EDGE + row * ROW


def _package(name: str, x: float, row: int) -> list[str]:
    middle = _top(row) + HEIGHT / 2
    return [
        svg.box("grid", x - WIDTH / 2, _top(row), WIDTH, HEIGHT),
        svg.text(x, middle + 4, name, "middle", kind="title"),
    ]


def _arrow(route: Sequence[Node], x: Mapping[Node, float], level: Mapping[str, int]) -> list[str]:
    """Return a line through the waypoints, upright where it passes a row, and its head."""
    row, (end, last) = level[route[0][0]], (x[route[-1]], _top(level[route[-1][0]]))
    points = [(x[route[0]], _top(row) + HEIGHT)]
    for waypoint in route[1:-1]:
        top = _top(int(waypoint[-1]))
        points += [(x[waypoint], top), (x[waypoint], top + HEIGHT)]
    kind = f"series{row % SERIES}"
    head = [(end - HEAD, last - 2 * HEAD), (end, last), (end + HEAD, last - 2 * HEAD)]
    return [svg.polyline(kind, [*points, (end, last)]), svg.polyline(kind, head)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the map of this checkout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the picture [%(default)s]")
    chosen = parser.parse_args(arguments)
    chosen.output.write_text(current(), encoding="utf-8")


def current(root: Path = ROOT) -> str:
    """Return the map of a checkout."""
    return picture(layers(root), package_imports(root / "src"))


if __name__ == "__main__":
    main()
