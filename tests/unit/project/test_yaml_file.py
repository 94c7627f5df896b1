"""Files of settings that say more than settings can, or are damaged: one sentence with the line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.errors import ConfigError
from fraud_detection.project.yaml_file import parse_yaml, read_yaml

LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "a key of many values": ("project: x\n? [a, b]\n: 1\n", "a key has to be text - in line 2, column 3"),
    "a date that is none": ("at: !!timestamp soon\n", "cannot be read as timestamp - in line 1, column 5"),
    "a month that is none": ("\nat: 2026-13-45\n", "month must be in 1..12 - in line 2, column 5"),
    "a boolean that is none": ("a: !!bool maybe\n", "cannot be read as bool - in line 1, column 4"),
    "half of an emoji": ('name: "caf\\ud83d"\n', "invalid Unicode character escape code - in line 1"),
    "a thousand brackets": ("a: " + "[" * 1000, "nested more than 50 deep - in line 1"),
    "a million dashes": ("- " * 1_000_000, "nested more than 50 deep - in line 1"),
    "itself": ("a: &x [*x]\n", "an alias inside its own anchor - in line 1"),
    "billions of laughs": (LAUGHS, "aliases repeat more than 100,000 values"),
    "a hundred thousand digits": ("a: " + "9" * 100_000, "cannot be read as int"),
    "a key twice": ("a: 1\na: 2\n", "the key `a` appears twice - in line 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_settings_need_is_refused_in_a_sentence_with_its_line(name: str, tmp_path: Path) -> None:
    text, message = REFUSED[name]
    file = tmp_path / "params.yaml"
    file.write_text(text)
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"params\.yaml: is not valid YAML") as refused:
        read_yaml(file)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert time.process_time() - began < 3


@given(st.text(alphabet="ab:-[]{}&*!?|>'\"#%@,\n \t01.~<=", max_size=60))
def test_any_text_is_values_or_one_sentence(text: str) -> None:
    values = message = None
    try:
        values = parse_yaml(text, "params.yaml")
    except ConfigError as refusal:
        message = str(refusal)
    if message is None:
        assert values == yaml.load(text, yaml.CSafeLoader)
    else:
        assert message.startswith("params.yaml: is not valid YAML: ")


def test_a_list_of_many_entries_is_read_in_bounded_time(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("entries:\n" + "".join(f"- {{value: c{number}}}\n" for number in range(20_000)))
    began = time.process_time()
    values = read_yaml(file)
    assert time.process_time() - began < 2
    assert values == {"entries": [{"value": f"c{number}"} for number in range(20_000)]}


def test_anchors_and_merges_are_read_as_yaml_means_them(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: &a {x: 1}\nb: {<<: *a, y: 2}\n")
    assert read_yaml(file) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}
