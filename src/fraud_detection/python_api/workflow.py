"""From a frame of payments to a project, a table of features, a bundle, and a change tried on history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from fraud_detection import onboarding
from fraud_detection.adapters.files.frames import as_file, as_given
from fraud_detection.adapters.files.tables import open_table
from fraud_detection.backtesting.report import BacktestSettings
from fraud_detection.backtesting.report import backtest as try_changes
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.evaluation.comparison import Report
from fraud_detection.evaluation.report.page import page
from fraud_detection.history.load import Progress, check_not_empty, read_history
from fraud_detection.project.checks import open_project
from fraud_detection.python_api import arguments
from fraud_detection.python_api.arguments import naming_arguments
from fraud_detection.python_api.bundle import Bundle
from fraud_detection.python_api.display import framed, pictures, table
from fraud_detection.training.stages import (
    make_features,
    store_table,
    train_and_evaluate,
    train_evaluate_and_refit,
)
from fraud_detection.training.tables.build import feature_table

SHOWN = (
    "average_precision",
    "average_precision_low",
    "average_precision_high",
    "auc",
    "recall_at_0_1_percent_false_positives",
    "recall_at_1_percent_false_positives",
    "precision",
    "money_saved_major_units",
)
"""Figures of a training that a notebook shows first."""
FRAME_FILE = "payments.parquet"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A project file proposed for a frame of payments.

    project: decoded.  text: of params.yaml.  findings: what was inferred and why, a sentence each.
    """

    project: Project
    text: str
    findings: tuple[str, ...]

    def save(self, path: Path | str = "params.yaml") -> Path:
        """Write the project file; return its path."""
        target = Path(path)
        target.write_text(self.text, encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        return table(["what was inferred"], [(finding,) for finding in self.findings])


@dataclass(frozen=True, slots=True)
class Training:
    """A trained bundle and its quality on the test slice.

    bundle: ready to decide.  metrics: name -> value, see docs/training.md.  pictures: PNG files.
    warnings: what should be looked at before the bundle is used, a sentence each.
    """

    bundle: Bundle
    metrics: Mapping[str, float]
    pictures: tuple[Path, ...]
    warnings: tuple[str, ...]

    def _repr_html_(self) -> str:
        rows = [
            (name.replace("_", " "), f"{self.metrics[name]:,.4g}") for name in SHOWN if name in self.metrics
        ]
        warning_rows = [("warning", warning) for warning in self.warnings]
        return table(["on the test slice", self.bundle.name], [*rows, *warning_rows]) + pictures(
            self.pictures
        )


@dataclass(frozen=True, slots=True)
class Backtest:
    """A change set tried on history: `report` has all figures, money with 95 % intervals."""

    report: Report

    def _repr_html_(self) -> str:
        return framed(page(self.report))


def propose(payments: object, **overrides: Any) -> Proposal:  # noqa: ANN401 - the options of `fraud init`
    """Propose a project file for a frame or a file of payments.

    overrides: what is known already: `id`, `time`, `time_format`, `time_unit`, `amount`, `label`, `no_label`,
    `label_positive`, `label_negative`, `label_known_at`, `label_delay`, `entities` (name to column),
    `no_entities`, `numbers`, `categories`, `ignore`, `place`, `test_from`; see the options of `fraud init`.
    The proposal of a frame names payments.parquet as its history: write the frame there for the commands.
    Raises ConfigError with the argument to use where nothing can be inferred, TypeError for an unknown one.

    >>> proposal = fd.propose(payments, label_delay="7d", entities={"card": "card_id", "device": "device_id"})
    >>> print(proposal.findings[0])
    schema.event_time: `event_time`: times, by the file's own declaration, to the second
    >>> list(proposal.project.schema.entities)
    ['card', 'device']
    >>> path = proposal.save("params.yaml")  # read it, and change what is wrong
    """
    arguments.check_overrides(overrides)
    with naming_arguments(arguments.PROPOSE), TemporaryDirectory(prefix="fraud-") as folder:
        file = as_file(payments, Path(folder), "payments")
        proposal = onboarding.propose(open_table(file), onboarding.Overrides(**overrides))
    findings = tuple(arguments.renamed(str(finding), arguments.PROPOSE) for finding in proposal.findings)
    if file.parent != Path(folder):
        return Proposal(proposal.project, proposal.yaml_text, findings)
    # The file that the frame made for a moment is gone, and nobody could train from it.
    project = msgspec.structs.replace(proposal.project, history=FRAME_FILE)
    return Proposal(project, proposal.yaml_text.replace(str(file), FRAME_FILE), findings)


def load_project(path: Path | str) -> Project:
    """Read and check a project file; raise ConfigError with the key that is wrong.

    >>> project = fd.load_project("params.yaml")
    >>> list(project.schema.entities)
    ['card', 'customer', 'device', 'merchant', 'terminal']
    """
    with naming_arguments(arguments.LOAD_PROJECT):
        return open_project(Path(path))


def features(
    payments: object, project: Project, bundle: Bundle | None = None, progress: Progress | None = None
) -> Any:  # noqa: ANN401 - a frame of the caller's library
    """Replay payments through the code that serves; return every feature of each, as it was then.

    bundle: whose category encoding is used; without one it is learned from these payments.
    progress: called with the stage and the share of it that is done, 0 to 1; so in the other functions.
    Returns one row a payment in order of event time.  The columns of features are named `feature.NAME`;
    beside them are the id, the time in ms, the amount, the label (1, 0, -1 unknown), and when it was known.

    >>> table = fd.features(payments[:100], project, bundle)
    >>> table.num_rows
    100
    >>> table["feature.card_count_7d"][-3:].to_pylist()  # earlier payments on the same card
    [7.0, 1.0, 2.0]
    """
    report_progress = progress or _silent
    encoding = None if bundle is None else bundle.category_encoding
    with naming_arguments(arguments.FEATURES), TemporaryDirectory(prefix="fraud-") as folder:
        file, out = as_file(payments, Path(folder), "payments"), Path(folder) / "features.parquet"
        history = read_history(project, file, report_progress)
        check_not_empty(file, history.empty)
        end = max(historical.payment.event_time for historical in history.payments) + 1
        dataset, _ = feature_table(
            project, history, report_progress, end, category_encoding=encoding, exact=True
        )
        store_table(out, project, dataset, history, [])
        return as_given(out, payments)


def train(
    payments: object,
    project: Project,
    directory: Path | str = "build/bundle",
    *,
    refit: bool = False,
    progress: Progress | None = None,
) -> Training:
    """Train a bundle on payments with labels, and evaluate it on the latest slice, which it has not seen.

    directory: where the bundle is written; the feature table and the evaluation are written beside it.
    refit: fit once more on all matured labels after the evaluation.  Raises ConfigError without labels.

    >>> training = fd.train(payments, project, "build/bundle")
    >>> training.metrics["auc"] > 0.6
    True
    >>> training.bundle.features == bundle.features
    True
    """
    target = Path(directory)
    target.parent.mkdir(parents=True, exist_ok=True)
    report_progress, out = progress or _silent, target.parent / "features.parquet"
    work = train_evaluate_and_refit if refit else train_and_evaluate
    with naming_arguments(arguments.TRAIN):
        with TemporaryDirectory(prefix="fraud-") as folder:
            make_features(project, as_file(payments, Path(folder), "payments"), out, report_progress)
        trained, evaluation = work(
            project, out, target, target.parent / "evaluation", report_progress, tracking=False
        )
    return Training(Bundle(target), evaluation.metrics, evaluation.pictures, trained.warnings)


def backtest(
    payments: object,
    project: Project,
    bundle: Bundle,
    change: Mapping[str, object] | Path | str,
    progress: Progress | None = None,
) -> Backtest:
    """Try a change set on history: both answers to the same payments, in frauds, customers and money.

    change: a change set as a file or as its keys, `{"name": "stricter", "policy": {"decline_at": 0.3}}`.
    Raises ConfigError for a change or payments that do not fit.

    >>> change = {"name": "stricter", "policy": {"review_at": 0.05, "decline_at": 0.2}}
    >>> tried = fd.backtest(payments, project, bundle, change)
    >>> total = tried.report.variants[0].comparison.total
    >>> total.variant.declined > total.baseline.declined
    True
    >>> saved = total.difference.money_saved  # in major units, with its 95 % interval
    >>> saved.low <= saved.value <= saved.high
    True
    """
    with naming_arguments(arguments.BACKTEST), TemporaryDirectory(prefix="fraud-") as folder:
        file = as_file(payments, Path(folder), "payments")
        settings = BacktestSettings(
            changes=(_change_file(change, Path(folder)),),
            bundle=bundle.path,
            features=Path(folder) / "features.parquet",
            data=file,
        )
        return Backtest(try_changes(project, settings, progress or _silent, lambda _: None))


def _change_file(change: Mapping[str, object] | Path | str, folder: Path) -> Path:
    if isinstance(change, (str, Path)):
        return Path(change)
    path = folder / "change.yaml"
    try:
        path.write_bytes(msgspec.json.encode(dict(change)))  # JSON is YAML
    except (TypeError, ValueError) as error:
        raise ConfigError(f"change: holds what no file can: {error}") from None
    return path


def _silent(_: str, __: float) -> None:
    """Show nothing: a program asks for progress where it wants some."""
