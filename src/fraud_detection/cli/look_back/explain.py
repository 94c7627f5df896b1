"""`fraud explain`: a past decision, made again and told in words."""

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
    from fraud_detection.audit.explanation_record import FeatureTold, LabelTold, RuleTold, Story

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
@click.option("--registry", type=options.PATH, metavar="DIR", help="Release registry to look for it.")
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
    from fraud_detection.core.id_text import whole
    from fraud_detection.serving.workers.ownership import state_files_of

    if top < 0:
        raise ConfigError("--top: expected at least 0")
    where = auditing.Where(bundles, registry, replay, history)
    states, progress = state_files_of(state), output.screen.progress
    told = auditing.explain(whole(transaction_id.strip()), states, where, progress)
    output.screen.finish()
    output.write_exact(told)
    if isinstance(told, auditing.Undecided):
        for line in _undecided(told):
            print_line(line)
        return 0 if told.is_known else OTHERWISE
    for line in _lines(told, top, every=all_features):
        print_line(line)
    return 0 if told.same else OTHERWISE


def _undecided(told: Undecided) -> Iterator[str]:
    one = told.transaction_id
    if not told.is_known:
        yield f"Payment {one} was never seen: neither decided, nor refused, nor of history."
        return
    if told.is_history:
        yield f"Payment {one} is of the history that was taken in before the stream: it was not decided here."
    else:
        yield f"Payment {one} was not decided."
    for refused in told.refused:
        place = f"number {refused.number:,} of {refused.state}"
        came = f"came {refused.first_at}"
        if refused.count > 1:
            came = f"came {refused.count:,} times, {refused.first_at} to {refused.last_at}"
        yield f"  refused: {refused.reason} - at `{refused.path}` ({place}; {came})"
        yield f"    {refused.event}"
    if told.labels and not told.is_history:
        yield "  Labels have come, and wait for the payment:"
    for label in told.labels:
        yield f"  {label.verdict}, by {label.source}{_key(label)}, known at {label.known_at}"


def _lines(told: Story, top: int, *, every: bool) -> Iterator[str]:
    yield from _head(told)
    yield from _payment(told)
    yield from _reasons(told)
    yield from _score(told, top)
    if every:
        yield from ("", "What every feature said", *(f"  {one.name}: {one.message}" for one in told.features))
    yield from _rules(told)
    yield from _limits(told)
    yield from _labels(told)
    yield from _made_by(told)


def _head(told: Story) -> Iterator[str]:
    let = f" as control group, instead of {told.counterfactual_action}" if told.counterfactual_action else ""
    yield f"Payment {told.payment.transaction_id} of {told.payment.event_time}: {HEADINGS[told.action]}{let}"
    yield f"  number {told.number:,} of {told.state}"
    if told.same:
        yield "  made again from what was stored: the same to the last bit"
    else:
        yield "  made again from what was stored: NOT THE SAME"
    for one in told.differences:
        yield f"    {one.what}: stored {one.stored}, comes out as {one.rebuilt}"
    for taken in told.taken:
        yield f"  taken as it is stored: {taken}"
    if told.replayed is not None:
        again = told.replayed
        same = f"{again.values - len(again.differences):,} of {again.values:,} the same to the bit"
        yield (
            f"  features made again from {again.history:,} payments of history and {again.events:,} events "
            f"of its entities: {same}"
        )


def _payment(told: Story) -> Iterator[str]:
    payment = told.payment
    yield from ("", "The payment")
    if payment.amount is not None:
        yield f"  amount {payment.amount:,.2f}"
    attributes = payment.entities | payment.categories | payment.numbers
    for name, value in attributes.items():
        yield f"  {name}: {'(missing)' if value is None else value}"
    if payment.place is not None:
        yield f"  place: {payment.place[0]}, {payment.place[1]}"
    if told.caller:
        yield f"  sent by the key {told.caller}"
    for note in told.notes:
        yield f"  noted: {note}"


def _reasons(told: Story) -> Iterator[str]:
    yield from ("", "Why")
    if not told.reasons:
        yield "  nothing spoke against it"
    for one in told.reasons:
        yield f"  {one.action}: {one.message} ({one.code})"


def _score(told: Story, top: int) -> Iterator[str]:
    score = told.score
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
    yield f"  without any feature the log-odds are {score.base:+.4f}; what was known before added:"
    strongest = sorted(told.features, key=lambda one: -abs(one.contribution))
    yield from _contributions("for fraud", [one for one in strongest if one.contribution > 0], top)
    yield from _contributions("against fraud", [one for one in strongest if one.contribution < 0], top)


def _contributions(side: str, features: Sequence[FeatureTold], top: int) -> Iterator[str]:
    yield f"  {side}"
    for one in features[:top]:
        yield f"    {one.contribution:+.4f}  {one.message} ({one.name})"
    rest = features[top:]
    if rest:
        yield f"    {sum(one.contribution for one in rest):+.4f}  {len(rest):,} more"
    if not features:
        yield "    nothing"


def _rules(told: Story) -> Iterator[str]:
    yield from ("", "Rules and lists")
    if not told.rules:
        yield "  there were none"
    for one in sorted(told.rules, key=lambda rule: not rule.fired):
        yield f"  {one.name} ({_rule_kind(one)}): {one.said}: {one.what}"
        if one.fired and (one.owner or one.reason):
            yield f"    owner: {one.owner or '(none)'}; reason: {one.reason or '(none)'}"


def _rule_kind(one: RuleTold) -> str:
    version = "" if one.version is None else f", version {one.version}"
    return f"{one.kind}, {one.action}{version}"


def _limits(told: Story) -> Iterator[str]:
    cap = told.decline_cap
    if cap is not None:
        agreed = {True: "; its counts say the same", False: "; its counts say otherwise", None: ""}
        yield from ("", "Decline cap")
        yield f"  {cap.did}{agreed[cap.agrees]}"
        yield f"  in its interval before: {cap.declines:,} declines of {cap.payments:,} payments"
    if told.counterfactual_action is not None and told.sampling_rate is not None:
        yield from ("", "Control group")
        yield (
            f"  {100 * told.sampling_rate:.3g} % of such payments are approved at random, to observe their "
            f"outcome; without that: {told.counterfactual_action}"
        )


def _labels(told: Story) -> Iterator[str]:
    yield from ("", "What became of it")
    for one in told.labels:
        happened = "" if one.happened_at is None else f", happened at {one.happened_at}"
        note = f" ({one.note})" if one.note else ""
        yield f"  {one.verdict}, by {one.source}{_key(one)}, known at {one.known_at}{happened}{note}"
    yield f"  as known now: {told.judgement}"


def _key(label: LabelTold) -> str:
    return f" (sent by the key {label.caller})" if label.caller else ""


def _made_by(told: Story) -> Iterator[str]:
    by = told.made_by
    yield from ("", "What decided")
    yield f"  configuration {by.config_id}: policy {by.policy}, bundle {by.bundle} of {by.project}"
    yield f"  trained on payments from {by.train_from} to {by.train_until}, labels as of {by.labels_as_of}"
