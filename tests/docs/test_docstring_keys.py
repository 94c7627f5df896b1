"""A docstring explains what is there: each `name:` in it is an attribute or a parameter."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.root import ROOT

KEYS = re.compile(r"(?:^|\.  |\n)[ \n]*([a-z_]\w*(?:, [a-z_]\w*)*): ")
RETURNED = {("count", "capped"), ("count", "control_group")}
"""Keys of a dictionary that a function returns."""


def explained(docstring: str) -> list[str]:
    """Return the names that a docstring explains, before its examples."""
    text = docstring.split(">>>", maxsplit=1)[0]
    return [key for match in KEYS.finditer(text) for key in match[1].split(", ")]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    arguments = function.args
    variadic = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return {
        argument.arg
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *variadic)
    }


def attributes(node: ast.ClassDef) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (part.name, *parameters(part))


def unknown_keys(source: str) -> list[tuple[str, str]]:
    """Return what is explained and does not exist: the name of the class or function, and the key."""
    unknown = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            names = set(attributes(node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = parameters(node)
        else:
            continue
        keys = explained(ast.get_docstring(node) or "")
        unknown += [(node.name, key) for key in keys if key not in names]
    return unknown


def test_a_docstring_explains_no_name_that_is_gone() -> None:
    gone = [
        f"{path.relative_to(ROOT)}: {owner}: `{key}`"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for owner, key in unknown_keys(path.read_text(encoding="utf-8"))
        if (owner, key) not in RETURNED
    ]
    assert not gone, "\n".join(gone)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('class A:\n    """Text.\n\n    old: in ms.  new: in s.\n    """\n    new: int\n', [("A", "old")]),
        ('def f(a, *, b):\n    """Text.\n\n    a, c: numbers.  b: more.\n    """\n', [("f", "c")]),
        ('def f(a):\n    """Say: this is a sentence.\n\n    >>> {"x": 1}\n    """\n', []),
    ],
)
def test_a_name_that_is_gone_is_found(source: str, found: list[tuple[str, str]]) -> None:
    assert unknown_keys(source) == found
