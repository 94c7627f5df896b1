"""The file of keys can be read after every `add_key`, and is as before after each that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.adapters.host.file_lock import FileLock
from fraud_detection.core.errors import ConfigError
from fraud_detection.serving.http.api_keys import Access, add_key, load_keys

YAML_KEYWORDS = [
    "null",
    "yes",
    "123",
    "1e3",
    "0x1",
    "2026-01-01",
    "a: b",
    "[x",
    "#c",
    "",
    "~",
    "-",
    "a\nb",
    "*a",
]


@pytest.mark.parametrize("name", YAML_KEYWORDS)
def test_a_key_is_added_whole_or_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    keys = tmp_path / "keys.yaml"
    first = add_key(keys, "till", ("decide",), 2.5)
    keys.write_text(f"# of the shops\n{keys.read_text().rstrip()}  # no line ends here")
    before = keys.read_bytes()
    try:
        second = add_key(keys, name, ("read",), None)
    except ConfigError:
        assert keys.read_bytes() == before
        return
    access = Access(load_keys(keys))
    callers = [access.caller(f"Bearer {key}") for key in (first, second)]
    assert [caller and caller.name for caller in callers] == ["till", name]
    assert keys.read_bytes().startswith(before)


@given(st.text(max_size=12))
def test_any_name_can_be_read_again_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    keys = tmp_path_factory.mktemp("keys") / "keys.yaml"
    try:
        add_key(keys, name, ("decide",), None)
    except ConfigError:
        assert not keys.exists()
    else:
        assert list(load_keys(keys)) == [name]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_no_key_can_have_is_refused_before_anything_is_written(
    tmp_path: Path, rate: float
) -> None:
    with pytest.raises(ConfigError, match="per_second"):
        add_key(tmp_path / "keys.yaml", "till", ("decide",), rate)
    assert not list(tmp_path.iterdir())


def test_of_two_that_add_a_key_at_once_none_is_lost(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    add_key(keys, "till", ("decide",), None)
    file_lock = FileLock(tmp_path / ".keys.yaml.lock", "adds a key too")
    with pytest.raises(ConfigError, match="another process is adding a key"):
        add_key(keys, "office", ("operate",), None)
    file_lock.release()
    add_key(keys, "office", ("operate",), None)
    assert list(load_keys(keys)) == ["till", "office"]
    assert [path.name for path in tmp_path.iterdir()] == ["keys.yaml"]
