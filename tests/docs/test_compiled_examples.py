"""The examples of a compiled module run on the compiled module.

mypyc drops docstrings, so pytest finds no examples there; they are read from the source instead.
"""

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

from tests.root import ROOT

LISTED = re.findall(r'^    "(src/.*\.py)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
HOT = [path for path in LISTED if (ROOT / path).exists()]


def docstrings(source: str) -> list[tuple[str, int]]:
    nodes = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
    ]
    return [(ast.get_docstring(node) or "", getattr(node, "lineno", 0)) for node in nodes]


@pytest.mark.parametrize("path", HOT)
def test_the_examples_in_a_hot_module_hold_however_it_runs(path: str) -> None:
    module = importlib.import_module(".".join(Path(path).with_suffix("").parts[1:]))
    runner, parser = doctest.DocTestRunner(), doctest.DocTestParser()
    for text, line in docstrings((ROOT / path).read_text()):
        runner.run(parser.get_doctest(text, dict(vars(module)), path, path, line))
    assert runner.summarize(verbose=False).failed == 0
