"""`fraud explain`: a past decision, redecided and explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.audit.explain import Undecided
    from fraud_detection.audit.explanation_record import ExplanationRecord, FeatureView, LabelView, RuleView

OTHERWISE = 1
HEADINGS = {"approve": "approved", "review": "sent to review", "decline": "declined"}


@command("explain")
@click.argument("transaction_id", metavar="ID")
@options.all_states
@click.option(
    "--bundle",
    "bundles",
    type=options.PATH,
    multiple=True,
    default=[options.BUNDLE],
    metavar="PATH",
    help="Where to look for the bundle that decided, repeatable.",
)
@click.option(
    "--registry", type=options.PATH, metavar="DIR", help="Release registry to look for that bundle."
)
@click.option("--replay", is_flag=True, help="Recompute the features too, from the log.")
@click.option("--history", type=options.PATH, help="History that the state file began with, for --replay.")
@click.option("--top", type=int, default=5, help="Number of features to show for and against.")
@click.option("--all-features", is_flag=True, help="Show every feature.")
def explain(
    output: Output,
    *,
    transaction_id: str,
    state: Path,
    bundles: tuple[Path, ...],
    registry: Path | None,
    replay: bool,
    history: Path | None,
    top: int,
    all_features: bool,
) -> int:
    """Explain a past decision, and redecide it bit-identically.

    ID is that of the transaction.  Exit code 1 where the decision differs, or the payment was never seen.
    """
    from fraud_detection.audit import explain as auditing
    from fraud_detection.core.id_text import canonical_id
    from fraud_detection.serving.workers.ownership import state_files_of

    if top < 0:
        raise ConfigError("--top: expected at least 0")
    where = auditing.Where(bundles, registry, replay, history)
    states, progress = state_files_of(state), output.screen.progress
    explanation = auditing.explain(canonical_id(transaction_id.strip()), states, where, progress)
    output.screen.finish()
    output.write_exact(explanation)
    if isinstance(explanation, auditing.Undecided):
        for line in _undecided(explanation):
            print_line(line)
        return 0 if explanation.is_known else OTHERWISE
    for line in _lines(explanation, top, every=all_features):
        print_line(line)
    return 0 if explanation.same else OTHERWISE


def _undecided(explanation: Undecided) -> Iterator[str]:
    transaction_id = explanation.transaction_id
    if not explanation.is_known:
        yield f"Payment {transaction_id} was never seen: not decided, not quarantined, not in the history."
        return
    if explanation.is_history:
        yield (
            f"Payment {transaction_id} is of the history that was loaded before the stream: it was not "
            "decided here."
        )
    else:
        yield f"Payment {transaction_id} was not decided."
    for quarantined in explanation.quarantined:
        location = f"number {quarantined.number:,} of {quarantined.state}"
        came = f"came {quarantined.first_at}"
        if quarantined.count > 1:
            came = f"came {quarantined.count:,} times, {quarantined.first_at} to {quarantined.last_at}"
        yield f"  quarantined: {quarantined.reason} - at `{quarantined.path}` ({location}; {came})"
        yield f"    {quarantined.event}"
    if explanation.labels and not explanation.is_history:
        yield "  Labels have come, and wait for the payment:"
    for label in explanation.labels:
        yield f"  {label.verdict}, by {label.source}{_key(label)}, known at {label.known_at}"


def _lines(explanation: ExplanationRecord, top: int, *, every: bool) -> Iterator[str]:
    yield from _head(explanation)
    yield from _payment(explanation)
    yield from _reasons(explanation)
    yield from _score(explanation, top)
    if every:
        yield from (
            "",
            "What every feature said",
            *(f"  {feature.name}: {feature.message}" for feature in explanation.features),
        )
    yield from _rules(explanation)
    yield from _limits(explanation)
    yield from _labels(explanation)
    yield from _made_by(explanation)


def _head(explanation: ExplanationRecord) -> Iterator[str]:
    control_group = (
        f" as control group, instead of {explanation.counterfactual_action}"
        if explanation.counterfactual_action
        else ""
    )
    payment = explanation.payment
    heading = f"{HEADINGS[explanation.action]}{control_group}"
    yield f"Payment {payment.transaction_id} of {payment.event_time}: {heading}"
    yield f"  number {explanation.number:,} of {explanation.state}"
    if explanation.same:
        yield "  decided again from what was stored: bit-identical"
    else:
        yield "  decided again from what was stored: DIFFERENT"
    for difference in explanation.differences:
        yield f"    {difference.what}: stored {difference.stored}, recomputed {difference.recomputed}"
    for stored_input in explanation.taken:
        yield f"  taken as it is stored: {stored_input}"
    if explanation.recomputed_features is not None:
        features = explanation.recomputed_features
        same = f"{features.values - len(features.differences):,} of {features.values:,} bit-identical"
        yield (
            f"  features recomputed from {features.history:,} payments of history and {features.events:,} "
            f"events "
            f"of its entities: {same}"
        )


def _payment(explanation: ExplanationRecord) -> Iterator[str]:
    payment = explanation.payment
    yield from ("", "The payment")
    if payment.amount is not None:
        yield f"  amount {payment.amount:,.2f}"
    attributes = payment.entities | payment.categories | payment.numbers
    for name, value in attributes.items():
        yield f"  {name}: {'(missing)' if value is None else value}"
    if payment.place is not None:
        yield f"  place: {payment.place[0]}, {payment.place[1]}"
    if explanation.caller:
        yield f"  sent by the key {explanation.caller}"
    for note in explanation.notes:
        yield f"  note: {note}"


def _reasons(explanation: ExplanationRecord) -> Iterator[str]:
    yield from ("", "Why")
    if not explanation.reasons:
        yield "  nothing spoke against it"
    for reason in explanation.reasons:
        yield f"  {reason.action}: {reason.message} ({reason.code})"


def _score(explanation: ExplanationRecord, top: int) -> Iterator[str]:
    score = explanation.score
    yield from ("", "The score")
    if score.score is None:
        yield f"  none was stored; the model says {score.probability:.6g} today"
    else:
        cutoffs = f"review from {score.review_at:.6g}, decline from {score.decline_at:.6g}"
        yield f"  fraud probability {score.score:.6g}: {cutoffs} (chosen by {score.origin})"
    yield (
        f"  log-odds {score.log_odds:+.4f}, calibrated: 1 / (1 + exp(-({score.slope:.6g} * log-odds "
        f"{score.intercept:+.6g})))"
    )
    yield f"  base log-odds {score.base:+.4f}; contribution of each feature:"
    strongest = sorted(explanation.features, key=lambda feature: -abs(feature.contribution))
    yield from _contributions(
        "for fraud", [feature for feature in strongest if feature.contribution > 0], top
    )
    yield from _contributions(
        "against fraud", [feature for feature in strongest if feature.contribution < 0], top
    )


def _contributions(heading: str, features: Sequence[FeatureView], top: int) -> Iterator[str]:
    yield f"  {heading}"
    for feature in features[:top]:
        yield f"    {feature.contribution:+.4f}  {feature.message} ({feature.name})"
    rest = features[top:]
    if rest:
        yield f"    {sum(feature.contribution for feature in rest):+.4f}  {len(rest):,} more"
    if not features:
        yield "    nothing"


def _rules(explanation: ExplanationRecord) -> Iterator[str]:
    yield from ("", "Rules and lists")
    if not explanation.rules:
        yield "  there were none"
    for rule in sorted(explanation.rules, key=lambda rule: not rule.fired):
        yield f"  {rule.name} ({_rule_kind(rule)}): {rule.status}: {rule.what}"
        if rule.fired and (rule.owner or rule.reason):
            yield f"    owner: {rule.owner or '(none)'}; reason: {rule.reason or '(none)'}"


def _rule_kind(rule: RuleView) -> str:
    version = "" if rule.version is None else f", version {rule.version}"
    return f"{rule.kind}, {rule.action}{version}"


def _limits(explanation: ExplanationRecord) -> Iterator[str]:
    cap = explanation.decline_cap
    if cap is not None:
        agreed = {True: "; its counts say the same", False: "; its counts say otherwise", None: ""}
        yield from ("", "Decline cap")
        yield f"  {cap.did}{agreed[cap.agrees]}"
        yield f"  in its interval before: {cap.declines:,} declines of {cap.payments:,} payments"
    if explanation.counterfactual_action is not None and explanation.sampling_rate is not None:
        yield from ("", "Control group")
        yield (
            f"  {100 * explanation.sampling_rate:.3g} % of such payments are approved at random, to observe "
            f"their outcome; without that: {explanation.counterfactual_action}"
        )


def _labels(explanation: ExplanationRecord) -> Iterator[str]:
    yield from ("", "What became of it")
    for label in explanation.labels:
        happened = "" if label.happened_at is None else f", happened at {label.happened_at}"
        note = f" ({label.note})" if label.note else ""
        yield f"  {label.verdict}, by {label.source}{_key(label)}, known at {label.known_at}{happened}{note}"
    yield f"  assessment: {explanation.assessment}"


def _key(label: LabelView) -> str:
    return f" (sent by the key {label.caller})" if label.caller else ""


def _made_by(explanation: ExplanationRecord) -> Iterator[str]:
    by = explanation.made_by
    yield from ("", "What decided")
    yield f"  configuration {by.config_id}: policy {by.policy}, bundle {by.bundle} of {by.project}"
    yield f"  trained on payments from {by.train_from} to {by.train_until}, labels as of {by.labels_as_of}"
