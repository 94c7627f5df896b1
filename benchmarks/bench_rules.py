"""Measure what three rules on a payment cost: here, and with those libraries of rules that are installed.

    python -m benchmarks.bench_rules

For a library the values that the rules name are put into a dictionary first, as it needs them.  Prints
microseconds a payment, medians.
"""

from __future__ import annotations

import importlib
import timeit
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.suite.machine import machine
from fraud_detection.core.decide.rules import compile_rules
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.events import Transaction
from fraud_detection.core.project_schema import AmountSource, Schema, TimeSource

ROUNDS, ROUND_S = 15, 0.02
FEATURES = ("card_count_5m", "device_card_distinct_1d")
RULES = (
    "card_count_5m >= 6 and amount < 20",
    "device_card_distinct_1d >= 5",
    "amount > 500 and not (card_count_5m == 1)",
)
SCHEMA = Schema(event_time=TimeSource(field="t"), amount=AmountSource(field="amount", decimals=2))
PAYMENT, VALUES = Transaction("t1", 0, 1_999), [7.0, 2.0]

Evaluate = Callable[[], object]


def named() -> dict[str, float]:
    """Return the values by name, in major units."""
    return {
        "amount": PAYMENT.amount / 100 if PAYMENT.amount else 0.0,
        **dict(zip(FEATURES, VALUES, strict=True)),
    }


def own() -> Evaluate:
    """Return a question to the rules of this package."""
    settings = [RuleSettings(name=f"r{n}", when=when, action="review") for n, when in enumerate(RULES)]
    rules = compile_rules(settings, SCHEMA, FEATURES)
    return lambda: rules.fired(PAYMENT, VALUES)


def in_cel(when: str) -> str:
    """Return the condition in CEL."""
    return when.replace(" and ", " && ").replace("not ", "!")


def celpy(celpy: Any) -> Evaluate:  # noqa: ANN401 - a module
    """Return a question to cel-python."""
    environment = celpy.Environment()
    programs = [environment.program(environment.compile(in_cel(when))) for when in RULES]
    double = celpy.celtypes.DoubleType

    def evaluate() -> object:
        values = {name: double(value) for name, value in named().items()}
        return [program.evaluate(values) for program in programs]

    return evaluate


def cel(cel: Any) -> Evaluate:  # noqa: ANN401 - a module
    """Return a question to common-expression-language."""
    programs = [cel.compile(in_cel(when)) for when in RULES]
    return lambda: [program.execute(values) for values in (named(),) for program in programs]


def rule_engine(rule_engine: Any) -> Evaluate:  # noqa: ANN401 - a module
    """Return a question to rule-engine."""
    rules = [rule_engine.Rule(when) for when in RULES]
    return lambda: [rule.matches(values) for values in (named(),) for rule in rules]


def simpleeval(simpleeval: Any) -> Evaluate:  # noqa: ANN401 - a module
    """Return a question to simpleeval."""
    evaluator = simpleeval.SimpleEval()
    trees = [evaluator.parse(when) for when in RULES]

    def evaluate() -> object:
        evaluator.names = named()
        return [evaluator.eval(when, tree) for when, tree in zip(RULES, trees, strict=True)]

    return evaluate


def main() -> None:
    """Measure and print."""
    print(machine().describe())
    methods: dict[str, Evaluate] = {"here": own()}
    for library in (celpy, cel, rule_engine, simpleeval):
        try:
            module = importlib.import_module(library.__name__)
        except ImportError:
            continue
        methods[library.__name__] = library(module)
    for name, evaluate in methods.items():
        times = max(1, int(ROUND_S / timeit.timeit(evaluate, number=1)))
        seconds = median(timeit.timeit(evaluate, number=times) / times for _ in range(ROUNDS))
        print(f"{name:12} {1e6 * seconds:7.1f} us a payment")


if __name__ == "__main__":
    main()
