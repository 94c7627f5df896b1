"""Compile one condition, such as `amount > 500 and missing(device)`; refuse what is not one.

Python's own parser reads the text, but nothing is ever run as Python: only the nodes that
`_Compiler.term` lists are understood.  Numbers, texts and conditions are distinguished here,
once, so that evaluation cannot fail.
"""

from __future__ import annotations

import ast
import difflib
import operator
import re
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from fraud_detection.core.decide import rule_terms
from fraud_detection.core.decide.rule_functions import FUNCTIONS, SIGNATURES, Kind
from fraud_detection.core.decide.rule_terms import (
    Condition,
    Field,
    GroundTruth,
    Number,
    ReadNumber,
    Term,
    Text,
)
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.id_text import canonical_id

if TYPE_CHECKING:
    from collections.abc import Mapping

DEEPEST: Final = 50
QUOTED: Final = 240
"""Characters of a condition, and of its error, that are quoted in a refusal."""
PLAIN_TEXT: Final = re.compile(r""""[^"\\]*"|'[^'\\]*'""")
SAYABLE: Final = (
    "names, numbers, text in quotes, and, or, not, == != < <= > >=, in [...], not in [...], + - * /, "
    f"{SIGNATURES}"
)


def compile_condition(text: str, fields: Mapping[str, Field], where: str) -> Condition:
    """Compile the condition in `text`; raise ConfigError that ends in the path `where`.

    >>> from fraud_detection.core.events import Transaction
    >>> fields = {"risk": Number(lambda payment, values: values[0])}
    >>> condition = compile_condition("0.5 < risk <= 0.9", fields, "$")
    >>> payment = Transaction("t1", 0, None)
    >>> condition(payment, [0.7]), condition(payment, [0.2]), condition(payment, [float("nan")])
    (True, False, None)
    >>> compile_condition("rsik > 1", fields, "$.rules[0].when")
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.ConfigError: `rsik > 1`: no payment field or feature is called `rsik`; \
nearest: `risk` - at `$.rules[0].when`
    """
    compiler = _Compiler(text, fields, where)
    return compiler.condition(compiler.parse())


class _Compiler:
    """Compiles the nodes of one text into closures, and writes its error messages."""

    def __init__(self, text: str, fields: Mapping[str, Field], where: str) -> None:
        self.text = re.sub(r"[\r\n]+", " ", text).strip()
        self.encoded = self.text.encode()
        self.fields = fields
        self.where = where

    def refusal(self, problem: str, hint: str = "") -> ConfigError:
        return ConfigError(f"`{_cut(self.text)}`: {_cut(problem)}{hint} - at `{self.where}`")

    def unsayable(self, node: ast.expr) -> ConfigError:
        return self.refusal(f"{self.quoted(node)} is not part of the language", f", which is: {SAYABLE}")

    def segment(self, node: ast.expr) -> str:
        # One line, and the parser counts its bytes; `ast.get_source_segment` would look for lines each time.
        return self.encoded[node.col_offset : node.end_col_offset].decode()

    def quoted(self, node: ast.expr) -> str:
        return f"`{self.segment(node)}`"

    def rest(self, offset: int | None) -> str:
        # The parser counts characters from 1, and returns 0 for the end.
        rest = self.text[offset - 1 :] if offset else ""
        return f"`{rest}`" if rest else "its end"

    def parse(self) -> ast.expr:
        if "#" in PLAIN_TEXT.sub("", self.text):
            # To the parser, `a > 1 # why and b > 2` is half a rule.
            raise self.refusal("# would hide what follows it; put remarks into `message`")
        try:
            tree = ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            raise self.refusal(f"not a condition: {error.msg} at {self.rest(error.offset)}") from None
        except ValueError as error:
            raise self.refusal(f"not a condition: {error}") from None
        except (RecursionError, MemoryError):
            raise self.refusal("not a condition: nested too deep for the parser") from None
        if _is_deep(tree):
            raise self.refusal(f"nested more than {DEEPEST} deep; make it several rules")
        return tree

    def term(self, node: ast.expr) -> Term:
        term: Term
        match node:
            case ast.Name():
                term = self.field(node)
            case ast.Constant():
                term = self.constant(node)
            case ast.BoolOp():
                parts = [self.condition(part) for part in node.values]
                term = GroundTruth(rule_terms.junction(parts, decisive=isinstance(node.op, ast.Or)))
            case ast.UnaryOp(op=ast.Not()):
                term = GroundTruth(rule_terms.negation(self.condition(node.operand)))
            case ast.UnaryOp(op=ast.USub()):
                term = Number(rule_terms.applied(operator.neg, self.number(node.operand)))
            case ast.Compare():
                term = self.comparison(node)
            case ast.BinOp():
                term = self.arithmetic(node)
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                term = self.call(name, node)
            case ast.Tuple():
                raise self.refusal("a comma outside of brackets; write 1000, not 1,000")
            case _:
                raise self.unsayable(node)
        return term

    def condition(self, node: ast.expr) -> Condition:
        term = self.term(node)
        if isinstance(term, GroundTruth):
            return term.read
        raise self.refusal(f"{self.quoted(node)} is {term.kind}, not a condition; compare it with something")

    def number(self, node: ast.expr) -> ReadNumber:
        term = self.term(node)
        if isinstance(term, Number):
            return term.read
        raise self.refusal(f"{self.quoted(node)} is {term.kind}, where a number is needed")

    def field(self, node: ast.expr) -> Field:
        if not isinstance(node, ast.Name):
            raise self.refusal(f"{self.quoted(node)} is not a name; only a field or a feature can be missing")
        if node.id in self.fields:
            return self.fields[node.id]
        near = [f"`{name}`" for name in difflib.get_close_matches(node.id, self.fields, n=3, cutoff=0.0)]
        nearest = ", ".join(near) or "none"
        raise self.refusal(f"no payment field or feature is called `{node.id}`; nearest: {nearest}")

    def constant(self, node: ast.Constant) -> Term:
        if isinstance(node.value, bool):
            return GroundTruth(rule_terms.always(node.value))
        value = self.literal(node)
        return Text(rule_terms.always(value)) if isinstance(value, str) else Number(rule_terms.always(value))

    def literal(self, node: ast.expr) -> float | str:
        match node:
            case ast.Constant(value=bool()):
                pass  # to Python, True is the number 1
            case ast.Constant(value=int() | float() as number) if number <= sys.float_info.max:
                return float(number)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float()) as operand):
                return -float(self.literal(operand))
            case ast.Constant(value=str() as text):
                # Python joins `"a" "b"`: a list with a forgotten comma would match neither.
                if PLAIN_TEXT.fullmatch(self.segment(node)):
                    return canonical_id(text)
                raise self.refusal(
                    f"{self.quoted(node)} is not one text in plain quotes; is a comma missing?"
                )
        raise self.unsayable(node)

    def comparison(self, node: ast.Compare) -> GroundTruth:
        steps = zip(node.ops, pairwise([node.left, *node.comparators]), strict=True)
        parts = [self.pair(left, op, right) for op, (left, right) in steps]
        return GroundTruth(parts[0] if len(parts) == 1 else rule_terms.junction(parts, decisive=False))

    def pair(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Condition:
        if isinstance(op, ast.In | ast.NotIn):
            return self.membership(left, right, wanted=isinstance(op, ast.In))
        if type(op) not in rule_terms.COMPARISONS:
            raise self.refusal("`is` is not part of the language; use == or missing(name)")
        match self.term(left), self.term(right):
            case Number(a), Number(b):
                return rule_terms.comparison(a, rule_terms.COMPARISONS[type(op)], b)
            case Text(c), Text(d) if isinstance(op, ast.Eq | ast.NotEq):
                return rule_terms.sameness(c, d, wanted=isinstance(op, ast.Eq))
            case Text(), Text():
                raise self.refusal(
                    f"{self.quoted(left)} and {self.quoted(right)} are text, which has no order"
                )
            case first, second:
                kinds = f"{self.quoted(left)} is {first.kind} and {self.quoted(right)} is {second.kind}"
                raise self.refusal(f"{kinds}; they cannot be compared")

    def membership(self, left: ast.expr, right: ast.expr, *, wanted: bool) -> Condition:
        if not isinstance(right, ast.List | ast.Tuple) or not right.elts:
            raise self.refusal(f"{self.quoted(right)} is not a list of values, such as [1, 2] or ['a', 'b']")
        members = frozenset(self.literal(item) for item in right.elts)
        term = self.term(left)
        needed = str if isinstance(term, Text) else float
        if isinstance(term, GroundTruth) or not all(isinstance(member, needed) for member in members):
            raise self.refusal(f"{self.quoted(left)} is {term.kind}, which cannot be in {self.quoted(right)}")
        return rule_terms.membership(term, members, wanted=wanted)

    def arithmetic(self, node: ast.BinOp) -> Number:
        if type(node.op) not in rule_terms.ARITHMETIC:
            raise self.unsayable(node)
        operation = rule_terms.ARITHMETIC[type(node.op)]
        return Number(rule_terms.applied(operation, self.number(node.left), self.number(node.right)))

    def call(self, name: str, node: ast.Call) -> Term:
        function = FUNCTIONS.get(name)
        kinds = None if function is None else function.kinds(len(node.args))
        if function is None or kinds is None:
            raise self.unsayable(node)
        return function.make(*map(self.argument, kinds, node.args))

    def argument(self, kind: Kind, node: ast.expr) -> Field | ReadNumber:
        return self.field(node) if kind == "name" else self.number(node)


def _is_deep(tree: ast.expr) -> bool:
    layer: list[ast.AST] = [tree]
    for _ in range(DEEPEST):
        layer = [child for node in layer for child in ast.iter_child_nodes(node)]
    return bool(layer)


def _cut(text: str) -> str:
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."
