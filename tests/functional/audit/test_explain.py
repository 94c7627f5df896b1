"""A past decision is decided again, bit-identical; one that was changed is reported."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch, is_object
from fraud_detection.audit.explain import Undecided, Where, explain
from fraud_detection.audit.explanation_record import ExplanationRecord
from fraud_detection.audit.verify import verify
from fraud_detection.cli.main import main
from fraud_detection.core.decision_settings import (
    ControlGroupSettings,
    DeclineCapSettings,
    ListEntry,
    ListSettings,
    PolicySettings,
    RuleSettings,
)
from fraud_detection.core.decoding import Duration, Moment
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import pack, read_bundle
from fraud_detection.engine.engine import Configuration, Engine
from fraud_detection.history.load import read_history
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.workers.ownership import Ownership, state_files_of
from fraud_detection.serving.workers.replica import WorkerService
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import served
from tests.functional.workers.test_replica import open_workers, owner_of, replicate_all
from tests.root import ROOT
from tests.smaller import third_of_cards
from tests.states import made as new_file
from tests.states import opened

PARTS = 3
OFTEN = RuleSettings(
    name="often", when="amount >= 30", action="decline", owner="ann", reason="a trial", version=4
)
DECLINE_CAP = DeclineCapSettings(interval=Duration.parse("30d"), share=0.15, min_payments=50)
LONG_AGO, FUTURE = Moment.parse("2020-01-01"), Moment.parse("2090-01-01")


def quiet(*_: object) -> None:
    """Show no progress."""


class DecidedState(msgspec.Struct):
    """A state in which everything happened that can happen to a payment, and the engines that decided."""

    small: SmallSimulation
    state: Path
    engines: list[Engine]
    events: list[bytes]

    def explain(self, transaction_id: str, *bundles: Path, **more: Any) -> ExplanationRecord:  # noqa: ANN401 - of Where
        explanation = explain(
            transaction_id, state_files_of(self.state), Where(bundles or (self.small.bundle,), **more), quiet
        )
        assert isinstance(explanation, ExplanationRecord)
        return explanation

    def rows(self, where: str) -> list[tuple[str, str]]:
        """Return id and config_id of decisions, in order."""
        with closing(sqlite3.connect(self.state)) as db:
            query = f"SELECT transaction_id, config_id FROM decisions WHERE {where} ORDER BY seq"  # noqa: S608 - ours
            return db.execute(query).fetchall()


def entries(*values: str, **more: Any) -> tuple[ListEntry, ...]:  # noqa: ANN401 - of ListEntry
    return tuple(ListEntry(value=value, **more) for value in values)


def lists(cards: list[str]) -> tuple[ListSettings, ...]:
    return (
        ListSettings(
            name="bad", kind="deny", of="card", owner="bob", entries=entries(*cards[:3], reason="x")
        ),
        ListSettings(name="ours", kind="allow", of="card", entries=entries(*cards[2:6])),
        ListSettings(name="over", kind="deny", of="card", entries=entries(*cards[6:40], expires=LONG_AGO)),
        ListSettings(name="quiet", kind="watch", of="card", entries=entries(*cards, snoozed_until=FUTURE)),
        ListSettings(name="seen", kind="watch", of="channel", entries=entries("nowhere")),
    )


def serve(service: EmbeddedService, events: list[bytes], size: int = 40) -> None:
    for start in range(0, len(events), size):
        service.take(Batch(events[start : start + size], None, 0), "test")
        service.run_deferred_work()


@pytest.fixture(scope="module")
def decided_state(
    small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DecidedState]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAUD_CONTROL_GROUP_KEY", "a key of the tests")
        root = tmp_path_factory.mktemp("explain")
        history = third_of_cards(small_simulation.history, root / "history.parquet")
        yield made(msgspec.structs.replace(small_simulation, history=history), root / "state.db")


def made(small: SmallSimulation, state: Path) -> DecidedState:
    """Serve by one configuration, then by another with a canary beside it, with restarts, over a history."""
    events = small.events(1_500, late_share=0.05, duplicate_share=0.02, malformed_share=0.02)
    explanation = [json.loads(event) for event in events if is_object(event)]
    cards = sorted({one["card_id"] for one in explanation if isinstance(one.get("card_id"), str)})
    random.Random(1).shuffle(cards)
    small_share = ControlGroupSettings(sampling_rate=0.2, max_amount=60.0)
    first = msgspec.structs.replace(
        small.project, rules=(OFTEN,), decline_cap=DECLINE_CAP, lists=lists(cards)
    )
    second = msgspec.structs.replace(
        small.project,
        policy=PolicySettings(name="strict", review_at=0.02, decline_at=0.3),
        rules=(
            msgspec.structs.replace(OFTEN, name="snoozed", snoozed_until=FUTURE),
            msgspec.structs.replace(OFTEN, name="expired", expires=LONG_AGO),
            RuleSettings(name="unknown", when="card_amount_mean_5m > 0", action="review"),
        ),
        control_group=small_share,
    )
    engines = [load_engine(small.bundle, project) for project in (first, second, small.project)]
    service = service_over(engines[0], state)
    service.preload_history(read_history(small.project, small.history, quiet).payments, lambda: None)
    serve(service, events[:800])
    service.state_file.close()
    service = service_over(engines[0], state)
    serve(service, events[800:1_400])
    service.decide_with(engines[1], engines[2], 0.3)
    serve(service, events[1_400:])
    service.close()
    return DecidedState(small, state, engines, events)


def service_over(engine: Engine, state: Path) -> EmbeddedService:
    state_file = opened(state)
    service = EmbeddedService(engine.pipeline(state_file, state_file.dedup_index), state_file)
    service.decide_with(engine)
    return service


KINDS = {
    "approved": "action = 0 AND score IS NOT NULL AND reasons = '[]'",
    "reviewed": "action = 1 AND reasons NOT LIKE '%decline_cap%'",
    "declined": "action = 2",
    "capped": 'reasons LIKE \'[["review","decline_cap"%\'',
    "denied by a list": "action = 2 AND reasons LIKE '%\"bad\"%'",
    "allowed by a list": "action = 0 AND reasons LIKE '%\"ours\"%'",
    "control group": "counterfactual_action IS NOT NULL",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_decision_of_any_kind_comes_out_again(decided_state: DecidedState, kind: str) -> None:
    rows = decided_state.rows(KINDS[kind])
    assert len(rows) >= PARTS
    for transaction_id, config_id in rows[:: max(len(rows) // PARTS, 1)][:PARTS]:
        explanation = decided_state.explain(transaction_id)
        assert (explanation.same, explanation.differences, explanation.made_by.config_id) == (
            True,
            [],
            config_id,
        )
        assert explanation.score.score == explanation.score.probability
        added = sum(feature.contribution for feature in explanation.features)
        assert explanation.score.base + added == pytest.approx(explanation.score.log_odds)
        assert (explanation.counterfactual_action is not None) == (kind == "control group")


def test_the_deciding_configuration_is_shown_also_after_another_took_over(
    decided_state: DecidedState,
) -> None:
    names = {engine.configuration.config_id for engine in decided_state.engines}
    assert {config_id for _, config_id in decided_state.rows("1")} == names
    for engine in decided_state.engines:
        transaction_id, _ = decided_state.rows(f"config_id = '{engine.configuration.config_id}'")[-1]
        explanation = decided_state.explain(transaction_id)
        assert explanation.same
        assert explanation.made_by.policy == engine.strategy.policy.name
        policy = engine.strategy.policy
        assert (explanation.score.review_at, explanation.score.decline_at) == (
            policy.review_at,
            policy.decline_at,
        )


def test_the_decline_cap_is_counted_again_from_the_log(decided_state: DecidedState) -> None:
    explanations = [
        decided_state.explain(transaction_id)
        for transaction_id, _ in decided_state.rows(KINDS["capped"])[::150]
    ]
    explanations += [
        decided_state.explain(transaction_id)
        for transaction_id, _ in decided_state.rows(f"{KINDS['declined']} AND seq < 1000")[::25]
    ]
    assert len(explanations) > 4
    for explanation in explanations:
        assert explanation.decline_cap is not None
        assert (explanation.decline_cap.decline_requested, explanation.decline_cap.agrees) == (True, True)
        assert explanation.taken == []
    quarantined = [
        explanation for explanation in explanations if explanation.reasons[0].code == "decline_cap"
    ]
    assert 0 < len(quarantined) < len(explanations)


def test_rules_and_lists_report_why_they_fired_or_not(decided_state: DecidedState) -> None:
    first, second, _ = (engine.configuration.config_id for engine in decided_state.engines)
    listed = decided_state.explain(decided_state.rows(KINDS["denied by a list"])[0][0])
    rules_by_name = {rule.name: rule for rule in listed.rules}
    assert rules_by_name["bad"].fired
    assert (rules_by_name["bad"].owner, rules_by_name["bad"].reason, rules_by_name["bad"].kind) == (
        "bob",
        "x",
        "deny list",
    )
    assert rules_by_name["quiet"].status == f"snoozed until {FUTURE}"
    assert rules_by_name["seen"].status == "not on it"
    fired = decided_state.explain(
        decided_state.rows(f"config_id = '{first}' AND reasons LIKE '%\"often\"%'")[0][0]
    )
    often = next(rule for rule in fired.rules if rule.name == "often")
    assert (often.status, often.owner, often.reason, often.version) == ("fired", "ann", "a trial", 4)
    later = decided_state.explain(decided_state.rows(f"config_id = '{second}'")[0][0])
    rules_by_name = {rule.name: rule for rule in later.rules}
    assert rules_by_name["snoozed"].status == f"snoozed until {FUTURE}"
    assert rules_by_name["expired"].status == f"expired on {LONG_AGO}"
    means = {feature.name: feature.value for feature in later.features}
    known = means["card_amount_mean_5m"] is not None
    assert rules_by_name["unknown"].status == ("fired" if known else "not known, because a value is missing")
    denied = [
        decided_state.explain(transaction_id)
        for transaction_id, _ in decided_state.rows(KINDS["denied by a list"])
    ]
    allowing = {rule.status for explanation in denied for rule in explanation.rules if rule.name == "ours"}
    assert allowing == {"not on it", "outvoted by a list that denies"}
    expired = [
        decided_state.explain(transaction_id) for transaction_id, _ in decided_state.rows("action = 0")[:40]
    ]
    messages = {rule.status for explanation in expired for rule in explanation.rules if rule.name == "over"}
    assert f"expired on {LONG_AGO}" in messages


def test_labels_that_came_show_whether_the_decision_was_right(decided_state: DecidedState) -> None:
    query = (
        "transaction_id IN (SELECT transaction_id FROM labels WHERE fraud AND NOT redundant) AND action = {}"
    )
    stopped, missed = (
        decided_state.explain(decided_state.rows(query.format(action))[0][0]) for action in (2, 0)
    )
    assert stopped.assessment == "right: a fraud was stopped"
    assert missed.assessment == "wrong: a fraud was let pass"
    assert {label.verdict for label in stopped.labels} == {"fraud"}
    assert stopped.labels[-1].stands
    unknown = decided_state.rows("transaction_id NOT IN (SELECT transaction_id FROM labels)")[0][0]
    assert decided_state.explain(unknown).assessment == "unknown: no label yet"


def test_features_come_out_again_from_history_and_the_log(decided_state: DecidedState) -> None:
    rows = decided_state.rows("1")
    for transaction_id, _ in [*random.Random(2).sample(rows, 4), rows[0], rows[-1]]:
        explanation = decided_state.explain(transaction_id, history=decided_state.small.history)
        assert explanation.recomputed_features is not None
        assert explanation.recomputed_features.differences == []
        assert explanation.recomputed_features.values == len(explanation.features)
        assert explanation.same
    with pytest.raises(ConfigError, match="payments of history"):
        decided_state.explain(rows[0][0], replay=True)


def tampered(decided_state: DecidedState, tmp_path: Path, change: str, *parameters: object) -> DecidedState:
    copy = tmp_path / "changed.db"
    shutil.copyfile(decided_state.state, copy)
    with closing(sqlite3.connect(copy)) as db, db:
        db.execute(change, parameters)
    return DecidedState(decided_state.small, copy, decided_state.engines, decided_state.events)


CHANGES = {
    "score": ("score = score / 2", {"score", "chain"}),
    "action": ("action = 1", {"action", "chain"}),
    "reasons": ('reasons = \'[["decline","score","because"]]\'', {"reasons", "chain"}),
    "entities": ("entities = x'94a161c0c0c0'", {"entities", "chain"}),
    "event_time": ("event_time = event_time + 1", {"event_time", "chain"}),
    "sampling_rate": (
        "counterfactual_action = 2, sampling_rate = 0.5",
        {"counterfactual_action", "sampling_rate", "chain"},
    ),
    "chain": ("chain = x'00'", {"chain"}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_since_is_reported_and_nothing_else(
    decided_state: DecidedState, tmp_path: Path, what: str
) -> None:
    transaction_id = decided_state.rows(f"{KINDS['declined']} AND counterfactual_action IS NULL")[3][0]
    change, expected = CHANGES[what]
    query = f"UPDATE decisions SET {change} WHERE transaction_id = ?"  # noqa: S608 - ours
    explanation = tampered(decided_state, tmp_path, query, transaction_id).explain(transaction_id)
    assert not explanation.same
    assert {difference.what for difference in explanation.differences} == expected
    assert all(difference.stored != difference.recomputed for difference in explanation.differences)


def test_a_feature_that_was_changed_since_is_reported_by_name_when_it_is_recomputed(
    decided_state: DecidedState, tmp_path: Path
) -> None:
    transaction_id = decided_state.rows("action = 0")[9][0]
    with closing(sqlite3.connect(decided_state.state)) as db:
        query = "SELECT features FROM decisions WHERE transaction_id = ?"
        features = bytearray(db.execute(query, (transaction_id,)).fetchone()[0])
    features[8 * 3] ^= 1
    query = "UPDATE decisions SET features = ? WHERE transaction_id = ?"
    tampered_state = tampered(decided_state, tmp_path, query, bytes(features), transaction_id)
    explanation = tampered_state.explain(transaction_id, history=decided_state.small.history)
    assert explanation.recomputed_features is not None
    assert [difference.what for difference in explanation.recomputed_features.differences] == [
        f"feature {explanation.features[3].name}"
    ]
    assert not explanation.same


def test_a_decline_cap_that_should_have_decided_otherwise_is_reported(
    decided_state: DecidedState, tmp_path: Path
) -> None:
    transaction_id = decided_state.rows(KINDS["capped"])[-1][0]
    query = "UPDATE decisions SET action = 1 WHERE action = 2 AND transaction_id <> ?"
    explanation = tampered(decided_state, tmp_path, query, transaction_id).explain(transaction_id)
    assert "decline_cap" in {difference.what for difference in explanation.differences}
    assert explanation.decline_cap is not None
    assert explanation.decline_cap.agrees is False


def test_without_the_key_the_random_draw_is_read_as_it_is_stored_and_all_else_is_checked(
    decided_state: DecidedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FRAUD_CONTROL_GROUP_KEY")
    transaction_id = decided_state.rows(KINDS["control group"])[0][0]
    explanation = decided_state.explain(transaction_id)
    assert explanation.same
    assert "FRAUD_CONTROL_GROUP_KEY" in explanation.taken[0]
    monkeypatch.setenv("FRAUD_CONTROL_GROUP_KEY", "another key")
    assert {difference.what for difference in decided_state.explain(transaction_id).differences} >= {
        "action",
        "counterfactual_action",
    }


def test_a_decision_without_a_score_comes_out_again_without_one(
    decided_state: DecidedState, tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    engine = decided_state.engines[2]
    unavailable = msgspec.structs.replace(
        engine, strategy=msgspec.structs.replace(engine.strategy, scorer=None)
    )
    service = service_over(unavailable, state)
    serve(service, decided_state.events[:80])
    service.close()
    state_without_score = DecidedState(decided_state.small, state, [engine], decided_state.events)
    explanation = state_without_score.explain(state_without_score.rows("score IS NULL")[5][0])
    assert explanation.same
    assert explanation.taken == ["that the model did not answer"]
    assert explanation.reasons[0].code == "no_score"
    assert explanation.score.score is None


def test_a_bundle_is_found_among_those_kept_and_its_absence_is_said(
    decided_state: DecidedState, tmp_path: Path
) -> None:
    transaction_id = decided_state.rows("1")[5][0]
    with pytest.raises(
        ConfigError, match="name it with --bundle, or the folder of kept bundles with --registry"
    ):
        decided_state.explain(transaction_id, tmp_path / "none")
    bundle = read_bundle(decided_state.small.bundle)
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / f"{bundle.name}.tar.gz").write_bytes(pack(bundle.files()))
    assert decided_state.explain(transaction_id, tmp_path / "none", registry=tmp_path).same


def test_a_setup_is_read_as_it_was_written_with_the_order_of_its_entities(
    decided_state: DecidedState,
) -> None:
    for engine in decided_state.engines:
        name, project = engine.configuration.read()
        assert (name, project) == (engine.bundle.name, engine.project)
        assert list(project.schema.entities) == list(engine.project.schema.entities)
        assert Configuration.of(name, project) == engine.configuration
        assert engine.configuration.is_intact
        assert (
            load_engine(decided_state.small.bundle, project).configuration.config_id
            == engine.configuration.config_id
        )


def undecided(decided_state: DecidedState, transaction_id: str) -> Undecided:
    explanation = explain(
        transaction_id, state_files_of(decided_state.state), Where([decided_state.small.bundle]), quiet
    )
    assert isinstance(explanation, Undecided)
    return explanation


def test_what_was_never_decided_is_reported_as_what_it_is(
    decided_state: DecidedState, tmp_path: Path
) -> None:
    assert not undecided(decided_state, "nobody").is_known
    historical = read_history(decided_state.small.project, decided_state.small.history, quiet).payments[7]
    assert undecided(decided_state, historical.payment.transaction_id).is_history
    state = tmp_path / "state.db"
    service = service_over(decided_state.engines[2], state)
    quarantined = (
        b'{"transaction_id": "r1", "event_time": "2026-03-16T12:00:00Z", "amount": "much", "card_id": "c"}'
    )
    waiting = b'{"type": "label", "transaction_id": "w1", "is_fraud": 1, "label_known_at": "2026-03-16"}'
    serve(service, [quarantined, b'{"transaction_id": "r2"', waiting])
    for transaction_id in ("r1", "r2"):
        explanation = undecided(DecidedState(decided_state.small, state, [], []), transaction_id)
        assert explanation.is_known
        assert len(explanation.quarantined) == 1
        assert transaction_id in explanation.quarantined[0].event
    label = undecided(DecidedState(decided_state.small, state, [], []), "w1").labels[0]
    assert (label.verdict, label.source) == ("fraud", "feed")
    service.close()


def route(
    services: list[WorkerService], ownership: Ownership, events: list[bytes], chance: random.Random
) -> None:
    """Let each event be decided by its owner, and the others follow now and then."""
    for start in range(0, len(events), 20):
        for event in events[start : start + 20]:
            service = services[owner_of(ownership, event, services)]
            service.take(Batch([event], None, 0), "test")
        if chance.random() < 0.5:
            replicate_all(services)


def test_of_several_workers_the_one_that_decided_is_found_with_what_it_had_followed(
    decided_state: DecidedState, tmp_path: Path
) -> None:
    engine, state = load_engine(decided_state.small.bundle), tmp_path / "state.db"
    new_state(state, 2)
    services = open_workers(engine, state)
    ownership = Ownership(engine.project.schema, 2)
    historical_payments = read_history(
        decided_state.small.project, decided_state.small.history, quiet
    ).payments
    for service in services:
        service.decide_with(engine)
        service.preload_own_history(historical_payments, ownership)
    route(services, ownership, decided_state.events[:300], random.Random(4))
    for service in services:
        service.close()
    both = DecidedState(decided_state.small, state, [engine], decided_state.events)
    assert len(state_files_of(state)) == 2
    for path in state_files_of(state):
        assert verify(path, [], quiet).is_intact
        with closing(sqlite3.connect(path)) as db:
            ids = [
                transaction_id
                for (transaction_id,) in db.execute("SELECT transaction_id FROM decisions ORDER BY seq")
            ]
        for transaction_id in (ids[len(ids) // 2], ids[-1]):
            explanation = both.explain(transaction_id, history=decided_state.small.history)
            assert explanation.recomputed_features is not None
            assert explanation.recomputed_features.differences == []
            assert explanation.same


def test_the_commands_report_in_words_and_by_their_exit_codes(
    decided_state: DecidedState, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transaction_id = decided_state.rows(KINDS["capped"])[2][0]
    common = [f"--state={decided_state.state}", "--plain"]
    command = [
        "explain",
        transaction_id,
        *common,
        f"--bundle={decided_state.small.bundle}",
        f"--json={tmp_path / 'one.json'}",
    ]
    assert main([*command, "--all-features"]) == 0
    output = capsys.readouterr().out
    for text in (
        f"Payment {transaction_id} of ",
        "sent to review",
        "decided again from what was stored: bit-identical",
        "often (rule, decline, version 4): fired: amount >= 30",
        "owner: ann; reason: a trial",
        "refused the decline",
        "its counts say the same",
        "payments on this card in the last hour",
        "trained on payments from",
    ):
        assert text in output
    written = json.loads((tmp_path / "one.json").read_bytes())
    assert (written["same"], written["payment"]["transaction_id"]) == (True, transaction_id)
    changed = tampered(
        decided_state, tmp_path, "UPDATE decisions SET score = 0.5 WHERE transaction_id = ?", transaction_id
    )
    assert main(["explain", transaction_id, f"--state={changed.state}", "--plain", command[4]]) == 1
    assert "DIFFERENT" in capsys.readouterr().out
    assert main(["explain", "nobody", *common]) == 1
    assert "was never seen" in capsys.readouterr().out
    anchor = f"--anchor={tmp_path / 'anchors.jsonl'}"
    for count in (0, 1, 2):
        assert main(["audit", "verify", *common, anchor]) == 0
        output = capsys.readouterr().out
        assert "OK" in output
        assert (f"{count} anchors match" in output) is (count > 0)
    assert main(["audit", "verify", f"--state={changed.state}", "--plain"]) == 1
    assert f"decision: {transaction_id}" in capsys.readouterr().out
    assert main(["audit", "verify", f"--state={tmp_path / 'none.db'}"]) == 2
    assert not (tmp_path / "none.db").exists()


def test_after_a_kill_in_the_middle_the_chain_is_whole_and_goes_on(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state, events = (
        tmp_path / "state.db",
        small_simulation.events(600, duplicate_share=0.03, malformed_share=0.02),
    )
    command = [sys.executable, "-m", "fraud_detection.cli", "run", "--plain", "--source=-"]
    command += [f"--bundle={small_simulation.bundle}", f"--state={new_file(state)}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
    assert process.stdin is not None
    process.stdin.write(b"\n".join(events[:500]) + b"\n")
    process.stdin.flush()
    until = time.monotonic() + 200
    while not decisions_in(state):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert verify(state, [], quiet).is_intact
    audit = ["audit", "verify", f"--state={state}", "--plain"]
    assert main([*audit, f"--anchor={tmp_path / 'anchor'}"]) == 0
    before = decisions_in(state)
    all_of_them = b"\n".join(events)
    ended = subprocess.run(command, input=all_of_them, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - ours
    assert ended.returncode == 0
    assert decisions_in(state) > before
    assert main([*audit, f"--verify-against={tmp_path / 'anchor'}"]) == 0


def decisions_in(state: Path) -> int:
    if not state.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM decisions").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_a_server_at_work_and_one_that_was_killed_are_audited_and_explained(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    events = small_simulation.events(12, labels="none", late_share=0, duplicate_share=0, malformed_share=0)
    latest = json.loads(events[-1])["transaction_id"]
    with served(small_simulation, state) as server:
        for number, event in enumerate(events, start=1):
            assert server.decide(event)[0] == 200
            verified = verify(state, [], quiet)
            assert (verified.is_intact, verified.rows["decision"]) == (True, number)
        explanation = explain(latest, [state], Where([small_simulation.bundle], replay=True), quiet)
        assert isinstance(explanation, ExplanationRecord)
        assert explanation.same
        server.stop(signal.SIGKILL)
    # What it answered last is in the journal alone.
    verified = verify(state, [], quiet)
    assert (verified.is_intact, verified.rows["decision"]) == (True, len(events))
    again = explain(latest, [state], Where([small_simulation.bundle]), quiet)
    assert isinstance(again, ExplanationRecord)
    assert again.same


def test_the_picture_of_the_readme_has_the_phrases_that_the_command_prints(
    decided_state: DecidedState, capsys: pytest.CaptureFixture[str]
) -> None:
    one = decided_state.rows(KINDS["capped"])[2][0]
    command = [
        "explain",
        one,
        f"--state={decided_state.state}",
        "--plain",
        f"--bundle={decided_state.small.bundle}",
    ]
    assert main([*command, "--replay", "--history", str(decided_state.small.history)]) == 0
    said = capsys.readouterr().out
    kept = (ROOT / "docs/pictures/explain.txt").read_text(encoding="utf-8").splitlines()
    own = [
        line for line in kept if not line.startswith(("$", "    ", "Payment", "  decline:", "  ...", "..."))
    ]
    phrases = {re.split(r"[-\d:(]", line)[0].strip() for line in own}
    assert len(phrases) > 10
    assert [phrase for phrase in phrases if phrase not in said] == []
