from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.decision_settings import (
    DeclineCapSettings,
    ListEntry,
    ListSettings,
    PolicySettings,
    RuleSettings,
)
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.demo.demo import demo_project
from fraud_detection.project.change_set import Change, PolicyChange, apply_change, described, load_change

PROJECT = demo_project()


def rule(name: str, when: str = "amount > 1") -> RuleSettings:
    return RuleSettings(name=name, when=when, action="review")


def with_rules(*rules: RuleSettings) -> Project:
    return msgspec.structs.replace(PROJECT, rules=rules)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_key_of_the_policy_can_be_changed() -> None:
    def keys(kind: type[msgspec.Struct]) -> list[str]:
        return [field.encode_name for field in msgspec.structs.fields(kind)]

    assert keys(PolicyChange) == keys(PolicySettings)


def test_only_the_keys_that_are_given_change(tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "name: stricter\npolicy: {review_at: 0.2, decline_at: 0.4}\n")
    changed = apply_change(PROJECT, load_change(path))
    assert (changed.policy.review_at, changed.policy.decline_at) == (0.2, 0.4)
    assert changed.policy.review_capacity_per_day == PROJECT.policy.review_capacity_per_day
    back = msgspec.structs.replace(changed, policy=PROJECT.policy)
    assert back == PROJECT


def test_what_is_null_is_removed_and_what_is_absent_stays(tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "name: no-limit\npolicy: {review_capacity_per_day: null}\n")
    assert apply_change(PROJECT, load_change(path)).policy.review_capacity_per_day is None
    assert PROJECT.policy.review_capacity_per_day is not None


names = st.lists(st.sampled_from("abcde"), unique=True)


@given(names, names, st.data())
def test_rules_replace_those_of_their_name_where_they_stand_and_new_ones_come_last(
    current: list[str], given_: list[str], data: st.DataObject
) -> None:
    without = data.draw(st.lists(st.sampled_from(current or ["a"]), unique=True)) if current else []
    without = [name for name in without if name not in given_]
    project = with_rules(*map(rule, current))
    change = Change(
        name="c", rules=tuple(rule(n, "amount > 2") for n in given_), without_rules=tuple(without)
    )
    merged = [(merged_rule.name, merged_rule.when) for merged_rule in apply_change(project, change).rules]
    remaining = [n for n in current if n not in without]
    assert [name for name, _ in merged] == [*remaining, *(n for n in given_ if n not in current)]
    assert all((when == "amount > 2") is (name in given_) for name, when in merged)


def test_an_empty_change_changes_nothing() -> None:
    assert apply_change(PROJECT, Change(name="nothing")) == PROJECT
    assert list(described(PROJECT, Change(name="nothing"))) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: c\npolcy: {review_at: 0.2}\n", r"unknown field `polcy`.*did you mean `policy`"),
        ("name: c\npolicy: {review: 0.2}\n", r"unknown field `review` - at `\$\.policy`"),
        ("name: c\npolicy: {review_at: 2}\n", r"at `\$\.policy\.review_at`"),
        (
            "name: c\nwithout_rules: [brust]\n",
            r"no `brust` to take away \(there are: card_testing, device_farm\)",
        ),
        ("name: c\npolicy: {review_at: 0.2}\n", "give both `review_at` and `decline_at`"),
        ("name: c\npolicy: {review_at: 0.6, decline_at: 0.4}\n", "need review_at <= decline_at"),
        (
            "name: c\nwithout_rules: [device_farm]\nrules: [{name: device_farm, when: a, action: review}]",
            "given and taken away at once",
        ),
        (
            "name: c\nrules:\n" + "- {name: a, when: 'True', action: review}\n" * 2,
            r"`a` appears twice - at `\$\.rules\[1\]`",
        ),
        ("rules: []\n", "missing required field `name`"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_with_what_to_do(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_change(PROJECT, load_change(written(tmp_path / "c.yaml", text)))


def test_a_bundle_is_named_as_seen_from_the_file_of_its_change(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    path = written(tmp_path / "deep" / "c.yaml", "name: c\nbundle: ../bundle\n")
    assert load_change(path).bundle == str(tmp_path / "deep" / "../bundle")


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; a change is a YAML file"):
        load_change(tmp_path / "c.yaml")


def test_an_entry_comes_onto_a_list_and_another_goes_without_repeating_the_list() -> None:
    stolen = ListSettings(
        name="stolen", kind="deny", of="card", entries=(ListEntry(value="c1"), ListEntry(value="c2"))
    )
    project = msgspec.structs.replace(PROJECT, lists=(stolen,))
    new = ListEntry(value="c3", owner="ann")
    change = Change(name="c", entries={"stolen": (new,)}, without_entries={"stolen": ("c1",)})
    (changed_list,) = apply_change(project, change).lists
    assert changed_list.entries == (ListEntry(value="c2"), new)
    assert (changed_list.kind, changed_list.of) == ("deny", "card")
    assert list(described(project, change)) == ["onto the list stolen: c3", "off the list stolen: c1"]


def test_a_decline_cap_comes_whole_and_null_removes_it(tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "name: c\ndecline_cap: {share: 0.3}\n")
    capped = apply_change(PROJECT, load_change(path))
    assert capped.decline_cap == DeclineCapSettings(share=0.3)
    assert apply_change(capped, Change(name="same")).decline_cap == capped.decline_cap
    path = written(tmp_path / "c.yaml", "name: c\ndecline_cap: null\n")
    assert apply_change(capped, load_change(path)).decline_cap is None
