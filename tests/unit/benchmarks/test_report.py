"""The report: what stands between the markers is renewed, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suite.page import BENCH, between
from fraud_detection.core.errors import ConfigError

BEGIN, END = BENCH
TEXTS = st.text("abc \n|<>-", max_size=40)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_a_page_is_renewed_between_the_markers_and_nowhere_else(
    before: str, old: str, after: str, new: str
) -> None:
    page = f"{before}{BEGIN}{old}{END}{after}"
    renewed = between(page, BENCH, new)
    assert renewed == f"{before}{BEGIN}\n{new}\n{END}{after}"
    assert between(renewed, BENCH, new) == renewed


@pytest.mark.parametrize("page", ["nothing", BEGIN, f"{END} then {BEGIN}"])
def test_a_page_without_markers_is_refused(page: str) -> None:
    with pytest.raises(ConfigError, match="go between them"):
        between(page, BENCH, "new")
